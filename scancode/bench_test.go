package scancode

import (
	"fmt"
	"testing"
)

// typing is what a person types: mostly letters, some shifted, a few arrows and others with a prefix.
var typing = []struct {
	key     Key
	pressed bool
}{
	{KeyLeftShift, true},
	{KeyH, true},
	{KeyH, false},
	{KeyLeftShift, false},
	{KeyE, true},
	{KeyE, false},
	{KeyL, true},
	{KeyL, false},
	{KeyL, true},
	{KeyL, false},
	{KeyO, true},
	{KeyO, false},
	{KeySpace, true},
	{KeySpace, false},
	{KeyLeft, true},
	{KeyLeft, false},
	{KeyBackspace, true},
	{KeyBackspace, false},
	{KeyRightCtrl, true},
	{KeyS, true},
	{KeyS, false},
	{KeyRightCtrl, false},
	{KeyEnter, true},
	{KeyEnter, false},
}

func BenchmarkEncode(b *testing.B) {
	for _, set := range sets {
		b.Run(fmt.Sprintf("set%d", set), func(b *testing.B) {
			var enc Encoder
			enc.Reset(set)
			var buf [MaxLen]byte
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				enc.Append(buf[:0], typing[i].key, typing[i].pressed)
				if i++; i == len(typing) {
					i = 0
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, set := range sets {
		b.Run(fmt.Sprintf("set%d", set), func(b *testing.B) {
			var enc Encoder
			enc.Reset(set)
			var stream []byte
			for _, ev := range typing {
				stream = enc.Append(stream, ev.key, ev.pressed)
			}
			var dec Decoder
			dec.Reset(set)
			b.ReportAllocs()
			for b.Loop() { // a whole text; ns/event is what counts
				for _, c := range stream {
					dec.Decode(c)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(typing)), "ns/event")
		})
	}
}

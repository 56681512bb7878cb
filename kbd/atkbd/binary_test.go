package atkbd

import (
	"testing"

	"kbdd/scancode"
)

// TestKeyboardIsNotMadeOfNonsense cuts and changes the bytes of a keyboard: an error, or a keyboard that keeps its bounds.
func TestKeyboardIsNotMadeOfNonsense(t *testing.T) {
	k := New(NumLock)
	k.Write(mustHex("f003f9fb1c"))
	k.Key(epoch, scancode.KeyA, true)
	good, _ := k.AppendBinary(nil)
	try := func(data []byte) {
		var made Keyboard
		if made.UnmarshalBinary(data) != nil {
			return
		}
		made.Key(epoch, scancode.KeyB, true)
		made.Write(mustHex("fff2"))
		made.ReleaseAll()
		readAll(&made)
	}
	for n := range good {
		try(good[:n])
		for bit := range 8 {
			bad := append([]byte(nil), good...)
			bad[n] ^= 1 << bit
			try(bad)
		}
	}
	full := append([]byte(nil), good...)
	for range QueueSize + AnswerSize {
		full = append(full, 0x1e, byte(makeCode), 30, 1)
	}
	if new(Keyboard).UnmarshalBinary(full) == nil {
		t.Error("a keyboard was made with more in its queue than there is room for")
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	k := New(NumLock)
	k.Key(epoch, scancode.KeyA, true)
	buf := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		k.AppendBinary(buf)
	}
}

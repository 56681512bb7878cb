package scancode_test

import (
	"fmt"

	"kbdd/scancode"
)

func Example() {
	var enc scancode.Encoder
	var b []byte
	for _, key := range []scancode.Key{scancode.KeyH, scancode.KeyI} {
		b = enc.Append(b, key, true)
		b = enc.Append(b, key, false)
	}
	fmt.Printf("% x\n", b)
	// Output: 23 a3 17 97
}

func ExampleEncoder_Append_fakeShift() {
	var enc scancode.Encoder
	enc.Reset(scancode.Set2)
	fmt.Printf("% x\n", enc.Append(nil, scancode.KeyLeftShift, true))
	fmt.Printf("% x\n", enc.Append(nil, scancode.KeyHome, true))
	fmt.Printf("% x\n", enc.AppendRepeat(nil, scancode.KeyHome))
	fmt.Printf("% x\n", enc.Append(nil, scancode.KeyHome, false))
	fmt.Printf("% x\n", enc.Append(nil, scancode.KeyLeftShift, false))
	// Output:
	// 12
	// e0 f0 12 e0 6c
	// e0 6c
	// e0 f0 6c e0 12
	// f0 12
}

func ExampleDecoder() {
	var dec scancode.Decoder
	for _, b := range []byte{0xfa, 0x1e, 0x1e, 0x9e, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5} {
		ev, ok := dec.Decode(b)
		if !ok {
			continue
		}
		switch ev.Kind {
		case scancode.Press:
			fmt.Println(ev.Key, "pressed")
		case scancode.Repeat:
			fmt.Println(ev.Key, "repeats")
		case scancode.Release:
			fmt.Println(ev.Key, "released")
		case scancode.Answer:
			fmt.Printf("answer %02x\n", ev.Byte)
		}
	}
	// Output:
	// answer fa
	// KEY_A pressed
	// KEY_A repeats
	// KEY_A released
	// KEY_PAUSE pressed
}

func ExampleAppendMediumRaw() {
	fmt.Printf("% x\n", scancode.AppendMediumRaw(nil, scancode.KeyA, false))
	fmt.Printf("% x\n", scancode.AppendMediumRaw(nil, scancode.KeyStop, true))
	// Output:
	// 9e
	// 00 81 80
}

package scancode

import "testing"

var sets = []Set{Set1, Set2, Set3, MediumRaw}

// FuzzRoundTrip types: of each two bytes the first is a key that goes down or up, the second says if NumLock changes
// before it. What the encoder sends must be decoded to the same, at the latest with its last byte, with every break
// behind its make.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(0), []byte{30, 0, 30, 0})
	f.Add(uint8(0), []byte{42, 0, 102, 0, 54, 0, 42, 1, 102, 0, 54, 0})
	f.Add(uint8(1), []byte{56, 0, 99, 0, 56, 0, 99, 0, 29, 0, 119, 0, 119, 1})
	f.Add(uint8(2), []byte{122, 0, 122, 0, 65, 0, 187, 0})
	f.Add(uint8(0), []byte{174, 0, 123, 0, 174, 0, 123, 0, 121, 0, 121, 0, 84, 0, 99, 0})
	f.Add(uint8(3), []byte{128, 0, 128, 0, 248, 0})
	f.Fuzz(func(t *testing.T, s uint8, typed []byte) {
		set := sets[int(s)%len(sets)]
		var enc Encoder
		var dec Decoder
		enc.Reset(set)
		dec.Reset(set)
		down := map[Key]bool{}
		for i := 0; i+1 < len(typed); i += 2 {
			key := Key(typed[i])
			enc.SetNumLock(typed[i+1]&1 != 0)
			kind := Press
			if down[key] {
				kind = Release
				if typed[i+1]&2 != 0 {
					kind = Repeat
				}
			}
			down[key] = kind != Release
			b := send(&enc, kind, key)
			if len(b) > MaxLen {
				t.Fatalf("set %d: %v makes % x: more than %d bytes", set, key, b, MaxLen)
			}
			ev := readOne(t, &dec, b)
			switch alike, heard := alikes(set, key), heard(set, key, kind); {
			case alike != 0 && (ev.Key == key || ev.Key == alike || !heard && ev.Kind == 0):
			case heard && (ev.Kind != kind || ev.Key != key):
				t.Fatalf("set %d: %v, kind %d, is % x, which is %+v", set, key, kind, b, ev)
			case !heard && ev.Kind != 0:
				t.Fatalf("set %d: %v, kind %d, is % x, which is %+v, want nothing", set, key, kind, b, ev)
			}
		}
	})
}

func send(enc *Encoder, kind Kind, key Key) []byte {
	if kind == Repeat {
		return enc.AppendRepeat(nil, key)
	}
	return enc.Append(nil, key, kind == Press)
}

// readOne decodes bytes of which one event must come at the most.
func readOne(t *testing.T, dec *Decoder, b []byte) (one Event) {
	for _, c := range b {
		if ev, ok := dec.Decode(c); ok {
			if one.Kind != 0 {
				t.Fatalf("set %d: % x makes two events, %+v and %+v", dec.set, b, one, ev)
			}
			one = ev
		}
	}
	return one
}

// heard tells whether anything can be decoded at all.
func heard(set Set, key Key, kind Kind) bool {
	if key == KeyBassBoost && (set == Set1 || set == Set2) {
		return false // a fake shift
	}
	return set.Breaks(key) || set.Has(key) && kind == Press
}

// alikes lists the keys that a set cannot tell apart, or not when both are down.
func alikes(set Set, key Key) Key {
	for _, pair := range []struct {
		set  Set
		a, b Key
	}{
		{Set1, KeyKatakanaHiragana, KeyISO},
		{Set2, KeyKatakanaHiragana, KeyISO},
		{Set1, KeySysRq, 84},        // under Alt
		{Set1, KeyHanja, KeyExit},   // the break of Exit
		{Set1, KeyHangeul, KeyMove}, // the break of Move
	} {
		switch {
		case set == pair.set && key == pair.a:
			return pair.b
		case set == pair.set && key == pair.b:
			return pair.a
		}
	}
	return 0
}

// FuzzDecoder has a keyboard send garbage, and then the makes and breaks of two keys. After the first at the latest
// the decoder must be in step again.
func FuzzDecoder(f *testing.F) {
	f.Add(uint8(0), []byte{0xe1, 0x1d, 0xe0})
	f.Add(uint8(1), []byte{0xe1, 0xf0, 0x14, 0xf0, 0xe0, 0xf0})
	f.Add(uint8(2), []byte{0xf0, 0xab})
	f.Add(uint8(1), []byte{0xf0, 0xf1}) // a break of a key without one
	f.Add(uint8(3), []byte{0x80, 0x85})
	f.Fuzz(func(t *testing.T, s uint8, garbage []byte) {
		set := sets[int(s)%len(sets)]
		var enc Encoder
		var dec Decoder
		enc.Reset(set)
		dec.Reset(set)
		for _, b := range garbage {
			ev, ok := dec.Decode(b)
			if ok != (ev.Kind != 0) {
				t.Fatalf("% x: event %+v, complete %v", garbage, ev, ok)
			}
			if ev.Kind == Press || ev.Kind == Repeat || ev.Kind == Release {
				if !set.Has(ev.Key) {
					t.Fatalf("% x: %v has no code in set %d", garbage, ev.Key, set)
				}
			}
		}
		for _, kind := range []Kind{Press, Release} {
			for _, b := range send(&enc, kind, KeySpace) {
				dec.Decode(b)
			}
		}
		for _, kind := range []Kind{Press, Release} {
			ev := readOne(t, &dec, send(&enc, kind, KeyEnter))
			if ev.Key != KeyEnter || kind == Release && ev.Kind != Release || kind == Press && ev.Kind == Release {
				t.Fatalf("set %d: Enter behind % x is read as %+v, want kind %d", set, garbage, ev, kind)
			}
		}
	})
}

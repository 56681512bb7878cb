package scancode

// An Event is what a [Decoder] has read.
type Event struct {
	Kind Kind
	Key  Key  // of Press, Repeat and Release
	Byte byte // the byte that completed the event: the answer itself of Answer
}

// Kind says what an [Event] is.
type Kind uint8

const (
	Press   Kind = iota + 1
	Repeat       // a make of a key that is down
	Release      // also of a key that was not down
	Overrun      // keys were lost here
	Answer       // the keyboard's answer to a host command
	Unknown      // a byte, the last of a code perhaps, that means nothing
)

// A Decoder reads what a keyboard sends, a byte at a time. It passes over fake shifts, and over what is broken: a code cut
// short ends where the next one begins. The zero Decoder reads set 1.
//
//	idle -- E0 --> escaped -- code --> idle
//	idle -- E1 --> pause1 -- 1D --> pause2 -- 45 --> idle     (set 1's bytes)
//	idle -- AB --> identity -- 83 --> idle
//	idle -- 00, 80 --> high -- > 80 --> low --> idle          (MediumRaw)
//
// # What cannot be told apart
//
// In set 1 a break may be the byte of an answer: AA is that of the left Shift and the self-test passed, FE that of the
// keypad's comma and "resend", AB that of the backslash and the first of the keyboard's identity, F1 and F2 those of
// two keys of some multimedia keyboards and the makes of Hanja and Hangul. It is read as a break if the key is down.
//
// The number that answers the question F0 00 reads like a key; so whoever asks takes the byte behind the FA himself.
//
// The codes E0 2A and E0 36, in set 2 E0 12 and E0 59, are fake shifts; KEY_BASSBOOST, which Linux would have there, is
// passed over. KEY_ISO has the code of KEY_KATAKANAHIRAGANA. Key code 84 has in set 1 that of PrintScreen under Alt.
// Pause, Hangul and Hanja are pressed and never released, Pause under Ctrl likewise. Set 3 has two codes for the
// backslash, one of them for the 102-key keyboards.
type Decoder struct {
	set     Set
	state   state
	isBreak bool // after F0; in MediumRaw after 80
	high    byte // of a key code in MediumRaw
	down    [4]uint64
}

type state uint8

const (
	idle state = iota
	escaped
	pause1
	pause2
	identity
	high
	low
)

// Reset makes the decoder one of the given set, at the beginning of a code, with no key down.
func (d *Decoder) Reset(set Set) { *d = Decoder{set: set} }

// Decode takes the next byte. It returns the event that the byte completes, and whether it does.
func (d *Decoder) Decode(b byte) (Event, bool) {
	if d.set == MediumRaw {
		return d.mediumRaw(b)
	}
	switch d.state {
	case pause1, pause2:
		if ev, ok, taken := d.pause(b); taken {
			return ev, ok
		}
	case identity:
		if b == identity2 {
			d.state = idle
			return Event{Kind: Answer, Byte: b}, true
		}
	}
	switch {
	case b == prefixE0 && d.set != Set3:
		d.state, d.isBreak = escaped, false
	case b == prefixE1 && d.set != Set3:
		d.state, d.isBreak = pause1, false
	case b == prefixF0 && d.set > Set1:
		d.isBreak = true
		if d.state != escaped {
			d.state = idle
		}
	default:
		return d.code(b)
	}
	return Event{}, false
}

// pause takes a byte of E1 1D 45 or E1 9D C5, and F0 within those of set 2. Hardware sends the second behind the first;
// the console in K_RAW sends it at the release, which is nothing to us either way.
func (d *Decoder) pause(b byte) (ev Event, ok, taken bool) {
	want := codes[d.set][KeyLeftCtrl]
	if d.state == pause2 {
		want = codes[d.set][KeyNumLock]
	}
	if b == prefixF0 && d.set > Set1 {
		d.isBreak = true
		return ev, false, true
	}
	if d.codeOf(b) != byte(want) {
		d.state = idle // and an F0 before it holds good for it
		return ev, false, false
	}
	isBreak := d.isBreakOf(b)
	d.isBreak = false
	if d.state == pause1 {
		d.state = pause2
		return ev, false, true
	}
	d.state = idle
	if isBreak {
		return ev, false, true
	}
	return Event{Kind: Press, Key: KeyPause, Byte: b}, true, true
}

// code takes the byte that is a key's code, or an answer.
func (d *Decoder) code(b byte) (Event, bool) {
	table := &decodings[d.set]
	key := table.plain[d.codeOf(b)]
	if d.state == escaped {
		key = table.escaped[d.codeOf(b)]
	}
	isBreak := d.isBreakOf(b)
	ambiguous := d.set <= Set1 && d.state != escaped && isBreak && !d.isDown(key)
	d.state, d.isBreak = idle, false

	if key == 0 || ambiguous {
		switch kind := d.answer(b); {
		case kind != 0:
			return Event{Kind: kind, Byte: b}, true
		case ambiguous && (b == byte(set1[KeyHangeul])):
			return Event{Kind: Press, Key: KeyHangeul, Byte: b}, true
		case ambiguous && (b == byte(set1[KeyHanja])):
			return Event{Kind: Press, Key: KeyHanja, Byte: b}, true
		case key == 0:
			return Event{Kind: Unknown, Byte: b}, true
		}
	}
	if key == fakeShift {
		return Event{}, false
	}
	return d.event(b, key, isBreak)
}

// event makes an event of a key's code, and notes whether the key is down.
func (d *Decoder) event(b byte, key Key, isBreak bool) (Event, bool) {
	ev := Event{Kind: Press, Key: key, Byte: b}
	word, bit := &d.down[key/64], uint64(1)<<(key%64)
	switch {
	case !d.set.Breaks(key):
		if isBreak { // E0 C6 behind E0 46 is no release: Pause is held still
			return Event{}, false
		}
	case isBreak:
		ev.Kind = Release
		*word &^= bit
	case *word&bit != 0:
		ev.Kind = Repeat
	default:
		*word |= bit
	}
	return ev, true
}

func (d *Decoder) isDown(key Key) bool { return d.down[key/64]&(1<<(key%64)) != 0 }

// codeOf and isBreakOf take a byte apart, which in set 1 has the break in its bit 7.
func (d *Decoder) codeOf(b byte) byte {
	if d.set <= Set1 {
		return b & 0x7f
	}
	return b
}

func (d *Decoder) isBreakOf(b byte) bool {
	if d.set <= Set1 {
		return b&0x80 != 0
	}
	return d.isBreak
}

const (
	identity1 = 0xab
	identity2 = 0x83
)

// answer tells what the byte is if it is not of a key: Answer, Overrun or 0.
func (d *Decoder) answer(b byte) Kind {
	switch b {
	case 0xaa, 0xee, 0xfa, 0xfc, 0xfe: // self-test passed, echo, acknowledge, self-test failed, resend
		return Answer
	case identity1:
		d.state = identity
		return Answer
	case 0xff:
		if d.set <= Set1 {
			return Overrun
		}
	case 0x00:
		if d.set > Set1 {
			return Overrun
		}
	}
	return 0
}

// mediumRaw takes a byte of K_MEDIUMRAW. Keys above 255 come out as Unknown.
func (d *Decoder) mediumRaw(b byte) (Event, bool) {
	switch {
	case b&0x7f == 0 && (d.state == idle || b == 0):
		d.state, d.isBreak = high, b != 0
		return Event{}, false
	case d.state == high && b&0x80 != 0:
		d.state, d.high = low, b&0x7f
		return Event{}, false
	case d.state == low && b&0x80 != 0:
		d.state = idle
		key := Key(d.high)<<7 | Key(b&0x7f)
		if !MediumRaw.Has(key) {
			return Event{Kind: Unknown, Byte: b}, true
		}
		return d.event(b, key, d.isBreak)
	}
	d.state = idle
	return d.event(b, Key(b&0x7f), b&0x80 != 0)
}

// A decoding finds the key of a code of one set.
type decoding struct{ plain, escaped [256]Key }

// fakeShift stands for the two codes that are a Shift's behind an E0.
const fakeShift Key = 255

var decodings = [MediumRaw]decoding{
	0:    decodingOf(Set1),
	Set1: decodingOf(Set1),
	Set2: decodingOf(Set2),
	Set3: decodingOf(Set3),
}

func decodingOf(set Set) (d decoding) {
	for key := Key(len(codes[set]) - 1); key > 0; key-- { // of two keys with the same code the first
		switch c := codes[set][key]; {
		case c == 0 || set == Set1 && (key == KeyHangeul || key == KeyHanja):
		case c&e0 != 0:
			d.escaped[byte(c)] = key
		default:
			d.plain[byte(c)] = key
		}
	}
	if set == Set3 {
		d.plain[0x53] = KeyBackslash // key 42, which the 102-key keyboards have in the place of 29
		return d
	}
	d.plain[byte(sysRq[set])] = KeySysRq
	d.escaped[byte(codes[set][KeyLeftShift])] = fakeShift
	d.escaped[byte(codes[set][KeyRightShift])] = fakeShift
	return d
}

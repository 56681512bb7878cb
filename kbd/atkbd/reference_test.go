package atkbd

import (
	"bytes"
	"fmt"

	"kbdd/scancode"
)

// A host is the documents' side of the host commands.
type host struct {
	awaits byte
	leds   LEDs
	unread int
	full   bool
	took   bool
}

// answers tells what the keyboard must answer to a byte, nil for some one byte.
func (h *host) answers(c byte, set scancode.Set, room int) []byte {
	h.took = room > 3
	if !h.took {
		full := h.full
		h.full = true
		if full {
			return []byte{}
		}
		return []byte{0xfe}
	}
	h.full = false
	awaits := h.awaits
	if c != 0xfe {
		h.awaits = 0
	}
	switch {
	case c == 0xfe:
		return nil
	case c == 0xee:
		return []byte{0xee}
	case c == 0xf2:
		return []byte{0xfa, 0xab, 0x83}
	case c == 0xff:
		h.leds = NumLock
		return []byte{0xfa, 0xaa}
	case c == 0xef || c == 0xf1:
		return []byte{0xfe}
	case c >= 0xed:
		if bytes.IndexByte([]byte{0xed, 0xf0, 0xf3, 0xfb, 0xfc, 0xfd}, c) >= 0 {
			h.awaits = c
		}
	case awaits == 0xed:
		h.leds = LEDs(c & 7)
	case awaits == 0xf0 && c == 0:
		return []byte{0xfa, byte(set)}
	case awaits == 0xf0 && c > 3, awaits == 0:
		return []byte{0xfe}
	case awaits >= 0xfb:
		if bytes.IndexByte(set3Bytes, c) < 0 {
			return []byte{0xfe}
		}
		h.awaits = awaits
	}
	return []byte{0xfa}
}

// set3Bytes are all codes of set 3, gathered by hand from the tables of IBM, Linux and the Japanese keyboards.
var set3Bytes = mustHex("0708090a0b0c0d0e0f" + "10111213141516171819" + "1a1b1c1d1e1f" + "20212223242526272829" +
	"2a2b2c2d2e2f" + "30313233343536373839" + "3a3b3c3d3e3f" + "4142434445464749" + "4a4b4c4d4e4f" +
	"51525354555657" + "58595a5b5c5d5e5f" + "606162636465666769" + "6a6b6c6d6e6f" + "707172737475767779" +
	"7a7c7d7e7f" + "8081828384858687" + "8b8c8d8e" + "91929394959698999a9b9c9d9e9f" + "a0a1a2")

// A reader reads what the keyboard sends, as software on a PC of old.
type reader struct {
	set     scancode.Set
	down    map[scancode.Key]string // by the code of the make
	keyOf   map[string]scancode.Key // the codes seen
	code    []byte                  // of the code that is being read
	answers int                     // that were read
	sets    []setChange
}

// A setChange says which answer is the last in the set before.
type setChange struct {
	set    scancode.Set
	answer int
}

func (r *reader) reset(set scancode.Set) {
	r.set = set
	r.down = map[scancode.Key]string{}
	r.keyOf = map[string]scancode.Key{}
}

func (r *reader) setAfter(set scancode.Set, answer int) {
	r.sets = append(r.sets, setChange{set, answer})
}

// take reads a byte. Whether it is an answer is known to whoever wrote the command; and which keys have no break by their
// type in set 3, to whoever set it.
func (r *reader) take(s sent) error {
	if s.kind == answer {
		if len(r.code) != 0 {
			return fmt.Errorf("an answer within the code % x", r.code)
		}
		r.answers++
		for len(r.sets) > 0 && r.sets[0].answer == r.answers {
			if len(r.down) != 0 {
				return fmt.Errorf("down when the set changes: %v", r.down)
			}
			r.reset(r.sets[0].set)
			r.sets = r.sets[1:]
		}
		return nil
	}
	r.code = append(r.code, s.b)
	if !s.last {
		return nil
	}
	code := r.code
	r.code = nil
	return r.takeCode(code, scancode.Key(s.key), s.kind)
}

// takeCode takes what was sent in one piece: the makes and breaks in it one after the other.
func (r *reader) takeCode(piece []byte, key scancode.Key, kind kind) error {
	switch {
	case r.set == scancode.Set1 && bytes.Equal(piece, []byte{0xff}), r.set != scancode.Set1 && bytes.Equal(piece, []byte{0}):
		return nil // overrun
	case piece[0] == 0xe1, bytes.Equal(piece, []byte{0xf1}), bytes.Equal(piece, []byte{0xf2}):
		if kind != otherCode {
			return fmt.Errorf("% x is not owed a break", piece)
		}
		return nil // Pause, Hanja, Hangul
	}
	n := 0
	for rest := piece; len(rest) > 0; {
		var code string
		var isBreak bool
		code, isBreak, rest = r.split(rest)
		if fake(r.set, code) {
			continue
		}
		n++
		if was, ok := r.keyOf[code]; ok && was != key {
			return fmt.Errorf("set %d: % x is of %v, and was of %v", r.set, piece, key, was)
		}
		r.keyOf[code] = key
		made, isDown := r.down[key]
		switch {
		case isBreak && !isDown:
			return fmt.Errorf("set %d: % x: a break of %v, which is up", r.set, piece, key)
		case isBreak && made != code:
			return fmt.Errorf("set %d: % x: the make of %v was % x", r.set, piece, key, made)
		case isBreak:
			delete(r.down, key)
		case r.set == scancode.Set3 && kind == otherCode && !isDown:
			// of a type without breaks
		default:
			r.down[key] = code
		}
	}
	if n == 0 || n > 1 && key != scancode.KeyPause {
		return fmt.Errorf("set %d: % x has %d codes", r.set, piece, n)
	}
	return nil
}

// split takes one make or break off the bytes.
func (r *reader) split(b []byte) (code string, isBreak bool, rest []byte) {
	if b[0] == 0xe0 && r.set != scancode.Set3 {
		code, b = "e0 ", b[1:]
	}
	switch {
	case r.set == scancode.Set1:
		return code + fmt.Sprintf("%02x", b[0]&0x7f), b[0]&0x80 != 0, b[1:]
	case b[0] == 0xf0:
		isBreak, b = true, b[1:]
	}
	return code + fmt.Sprintf("%02x", b[0]), isBreak, b[1:]
}

func fake(set scancode.Set, code string) bool {
	switch set {
	case scancode.Set1:
		return code == "e0 2a" || code == "e0 36"
	case scancode.Set2:
		return code == "e0 12" || code == "e0 59"
	}
	return false
}

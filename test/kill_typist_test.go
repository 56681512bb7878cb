package test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"kbdd/scancode"
	"kbdd/test/machine"
)

// killChars are what a killTypist types, over and over, each time in another of these orders: in steps of so many. So any three
// characters tell which they are, of the last 400. No key is typed twice in three.
const killChars = "abcdefghijklmnopqrstuvwxyz0123456789"

var killSteps = [...]int{1, 5, 7, 11, 13, 17, 35, 29, 31, 25, 23, 19}

// killChar is the character of this number.
func killChar(number int) string {
	step := killSteps[number/len(killChars)%len(killSteps)]
	return killChars[number*step%len(killChars):][:1]
}

// A killTypist types characters with a number each, up to three at a time, so that what comes out anywhere tells from where to
// where it was heard, and if a key is missing or doubled in between.
type killTypist struct {
	rand     *rand.Rand
	keyboard *machine.Keyboard
	next     int          // the number of the next character
	group    []killStroke // those that are left until no key is down
}

type killStroke struct {
	key  machine.Key
	down bool
}

// stroke presses or releases the next key.
func (k *killTypist) stroke() {
	if len(k.group) == 0 {
		k.group = k.newGroup()
	}
	s := k.group[0]
	k.group = k.group[1:]
	if !s.down {
		k.keyboard.Release(s.key)
	} else {
		if s.key != machine.KeyLeftShift {
			k.next++
		}
		k.keyboard.Press(s.key)
	}
	pause := 2 * time.Millisecond
	if len(k.group) == 0 {
		pause += time.Duration(k.rand.IntN(6)) * time.Millisecond // a hand has more of these moments
	}
	time.Sleep(pause)
}

// finish types until no key is down.
func (k *killTypist) finish() {
	for len(k.group) > 0 {
		k.stroke()
	}
}

// newGroup is a few characters, typed as quick fingers do: the next key is pressed before the last one is released. Letters may be
// typed with Shift.
func (k *killTypist) newGroup() (group []killStroke) {
	var keys []machine.Key
	letters := true
	for i := range 1 + k.rand.IntN(3) {
		char := killChar(k.next + i)
		key, _, _ := machine.KeyFor(rune(char[0])) // there is one for each of them
		keys = append(keys, key)
		letters = letters && char >= "a"
	}
	shift := letters && k.rand.IntN(3) == 0
	if shift {
		group = append(group, killStroke{machine.KeyLeftShift, true})
	}
	for i, key := range keys {
		group = append(group, killStroke{key, true})
		if i > 0 {
			group = append(group, killStroke{keys[i-1], false})
		}
	}
	group = append(group, killStroke{keys[len(keys)-1], false})
	if shift {
		group = append(group, killStroke{machine.KeyLeftShift, false})
	}
	return group
}

// numbers checks that a text is characters in order, the first of them of this number. Where somebody gets the keyboard with
// Shift down, he does not know of the Shift.
func numbers(text string, first int) error {
	for i, char := range strings.ToLower(text) {
		if first < 0 || string(char) != killChar(first+i) {
			return fmt.Errorf("character %d of %q is not the one that was typed", i, text)
		}
	}
	return nil
}

// A killStream is what a reader has read.
type killStream struct {
	decoder scancode.Decoder
	text    string // the characters of the makes
	down    map[scancode.Key]bool
}

func (s *killStream) add(line string) error {
	bytes, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
	if err != nil {
		return fmt.Errorf("the reader says %q", line)
	}
	for _, b := range bytes {
		ev, ok := s.decoder.Decode(b)
		switch {
		case !ok:
		case ev.Kind == scancode.Press:
			if s.down == nil {
				s.down = map[scancode.Key]bool{}
			}
			s.down[ev.Key] = true
			s.text += killCharOf(ev.Key)
		case ev.Kind == scancode.Release:
			if !s.down[ev.Key] {
				return fmt.Errorf("the reader has a break of key %d without a make", ev.Key)
			}
			delete(s.down, ev.Key)
		case ev.Kind == scancode.Repeat: // a busy machine may hold a key for long
		default:
			return fmt.Errorf("the reader has a byte %02x that no key makes", b)
		}
	}
	return nil
}

// killCharOf is the character of a key, or "".
func killCharOf(key scancode.Key) string {
	for _, char := range killChars {
		if k, _, _ := machine.KeyFor(char); scancode.Key(k) == key {
			return string(char)
		}
	}
	return ""
}

package input

import (
	"iter"
	"math/bits"

	evdev "github.com/gvalkov/golang-evdev"
)

// A keySet is a set of key codes, laid out as the kernel's bitmaps are on a little-endian machine.
type keySet [(evdev.KEY_MAX + 1 + 63) / 64]uint64

func (s *keySet) has(code uint16) bool {
	return code <= evdev.KEY_MAX && s[code/64]&(1<<(code%64)) != 0
}

// add tells if code was not in s before.
func (s *keySet) add(code uint16) bool {
	if code > evdev.KEY_MAX || s.has(code) {
		return false
	}
	s[code/64] |= 1 << (code % 64)
	return true
}

// remove tells if code was in s before.
func (s *keySet) remove(code uint16) bool {
	if !s.has(code) {
		return false
	}
	s[code/64] &^= 1 << (code % 64)
	return true
}

func (s *keySet) empty() bool { return *s == keySet{} }

// all goes through a copy of s, from the lowest code up.
func (s keySet) all() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(uint16(64*i + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

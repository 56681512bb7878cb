package kbd

import (
	"iter"
	"math/bits"

	"kbdd/scancode"
)

// keyCount is one more than the largest key code that has a scancode.
const keyCount = 256

// A keySet is a set of keys that may have scancodes. Others are never in it.
type keySet [keyCount / 64]uint64

func (s *keySet) has(key scancode.Key) bool {
	return key < keyCount && s[key/64]&(1<<(key%64)) != 0
}

// add tells if the key was not in s before, and is now.
func (s *keySet) add(key scancode.Key) bool {
	if key >= keyCount || s.has(key) {
		return false
	}
	s[key/64] |= 1 << (key % 64)
	return true
}

// remove tells if the key was in s before.
func (s *keySet) remove(key scancode.Key) bool {
	if !s.has(key) {
		return false
	}
	s[key/64] &^= 1 << (key % 64)
	return true
}

func (s *keySet) empty() bool { return *s == keySet{} }

// all goes through a copy of s, from the lowest key up.
func (s keySet) all() iter.Seq[scancode.Key] {
	return func(yield func(scancode.Key) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(scancode.Key(64*i + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

func setOf(keys ...scancode.Key) (s keySet) {
	for _, key := range keys {
		s.add(key)
	}
	return s
}

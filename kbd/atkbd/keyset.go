package atkbd

import (
	"iter"
	"math/bits"

	"kbdd/scancode"
)

// keyCount is one more than the largest key code that has a scancode.
const keyCount = 256

// A keySet is a set of the keys that have scancodes.
type keySet [keyCount / 64]uint64

func (s *keySet) add(key scancode.Key)      { s[key/64] |= 1 << (key % 64) }
func (s *keySet) remove(key scancode.Key)   { s[key/64] &^= 1 << (key % 64) }
func (s *keySet) has(key scancode.Key) bool { return s[key/64]&(1<<(key%64)) != 0 }

// all yields the keys of the set as it is now.
func (s keySet) all() iter.Seq[scancode.Key] {
	return func(yield func(scancode.Key) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(scancode.Key(i*64 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

// keys yields every key that may have a scancode.
func keys() iter.Seq[scancode.Key] {
	return func(yield func(scancode.Key) bool) {
		for key := range scancode.Key(keyCount) {
			if !yield(key) {
				return
			}
		}
	}
}

package scancode

import (
	"errors"
	"math/bits"
)

// An Encoder as bytes: the set, NumLock, the modifiers that are held, and of each key that is held its code and how its
// make was sent. The modifiers follow from the keys but for those that a set has no break for.
const binaryHeader = 3

var errBinary = errors.New("scancode: these bytes are no encoder")

// AppendBinary implements [encoding.BinaryAppender]: it appends what makes an encoder of the same state with
// UnmarshalBinary. It never fails, and allocates nothing where dst has room for 3 bytes and two for each held key.
func (e *Encoder) AppendBinary(dst []byte) ([]byte, error) {
	numLock := byte(0)
	if e.numLock {
		numLock = 1
	}
	dst = append(dst, byte(e.set), numLock, byte(e.held))
	for i := range e.down { // not the words: that would copy them all
		for word := e.down[i]; word != 0; word &= word - 1 {
			key := 64*i + bits.TrailingZeros64(word)
			dst = append(dst, byte(key), byte(e.sent[key]))
		}
	}
	return dst, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (e *Encoder) UnmarshalBinary(data []byte) error {
	if len(data) < binaryHeader || len(data)%2 != binaryHeader%2 || Set(data[0]) > MediumRaw || data[1] > 1 {
		return errBinary
	}
	*e = Encoder{set: Set(data[0]), numLock: data[1] == 1, held: modifiers(data[2])}
	for keys := data[binaryHeader:]; len(keys) > 0; keys = keys[2:] {
		e.note(Key(keys[0]), how(keys[1]))
	}
	return nil
}

package test

import (
	"bytes"
	"fmt"
	"testing"
)

// check tells what is wrong with what a reader has heard of the typist: all of it, or for one who came late what was typed
// since, but for the releases of keys that were down. Of late is known that it was there before byte number there was typed;
// what it has heard before that is a matter of luck.
func (k *typist) check(stream []byte, late bool, there int) error {
	heard := k.heard(stream)
	if !late {
		if !bytes.Equal(heard, k.typed) {
			return fmt.Errorf("%d bytes were typed, %d were read: %w", len(k.typed), len(heard), differ(heard, k.typed))
		}
		return nil
	}
	const heldAtMost = 2
	for missed := range heldAtMost + 1 {
		from := len(k.typed) - len(heard) - missed
		if from >= 0 && from <= there && bytes.Equal(withoutLooseBreaks(k.typed[from:]), heard) {
			return nil
		}
	}
	return fmt.Errorf("%d bytes were read, which are not the last of the %d that were typed, from byte %d at the latest",
		len(heard), len(k.typed), there)
}

// differ tells where two streams begin to differ.
func differ(got, want []byte) error {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("from byte %d on % x, want % x", i, got[i:min(i+10, len(got))], want[i:min(i+10, len(want))])
		}
	}
	return fmt.Errorf("they are alike for as long as the shorter one goes")
}

// withoutLooseBreaks leaves out the breaks that have no make before them.
func withoutLooseBreaks(stream []byte) (rest []byte) {
	var down [128]bool
	for _, b := range stream {
		if b&0x80 == 0 || down[b&0x7f] {
			rest = append(rest, b)
			down[b&0x7f] = b&0x80 == 0
		}
	}
	return rest
}

func TestLateReadersMustHaveHeardAllSinceTheyWereThere(t *testing.T) {
	const q, w = "\x10", "\x11"
	const Q, W = "\x90", "\x91" // their releases
	k := &typist{keys: typistKeys[0], typed: []byte(q + w + Q + W + w + W)}
	for _, test := range []struct {
		heard string
		there int // before which byte
		ok    bool
	}{
		{q + w + Q + W + w + W, 0, true},
		{w + W, 4, true},
		{q + w + Q + W + w + W, 4, true}, // it was there before anybody knew
		{w + W, 2, true},                 // both keys were down: it owes nothing for the releases
		{w + W, 1, false},                // a press is missing
		{w + W, 0, false},
		{"", 6, true},
		{"", 5, true},
		{"", 4, false},
		{w, 4, false}, // the end is missing
		{Q + w + W, 1, false},
		{q + Q + w + W, 4, false}, // typed never
	} {
		if err := k.check([]byte(test.heard), true, test.there); (err == nil) != test.ok {
			t.Errorf("% x from byte %d on: %v", test.heard, test.there, err)
		}
	}
}

package test

import (
	"strings"
	"testing"
)

// TestGapMayBeginAndEndWithTheSameCharacter has the reader lose characters 1901 to 1908, where 1901 and 1909 are the same.
func TestGapMayBeginAndEndWithTheSameCharacter(t *testing.T) {
	k := &killing{attempt: &attempt{}, killStage: &killStage{typist: &killTypist{next: 1911}}, begun: 1891, struck: 1901}
	k.stream.text, k.typed = "5iv8lybo1er8", "r4hu7kxa"
	if err := k.checkGap(10, 1903); err != nil {
		t.Error(err)
	}
	if k.checkGap(11, 1903) == nil || k.checkGap(9, 1903) == nil {
		t.Error("the gap may be elsewhere")
	}
}

// TestNobodyMayHaveKeysWhereTheKeyboardIsTaken has characters 33 to 35 typed at the kernel's terminal, and nobody have 37 and 38, which
// kbdd could not tell if the console has.
func TestNobodyMayHaveKeysWhereTheKeyboardIsTaken(t *testing.T) {
	k := &killing{attempt: &attempt{}, killStage: &killStage{typist: &killTypist{next: 47}}, begun: 28, struck: 33}
	k.stream.text = "23456ejo"
	for typed, want := range map[string]bool{
		"apuz49":  true,
		"a49":     true,
		"a9":      false, // too many
		"aupz49":  false, // out of turn
		"apuz49e": false, // the reader has it too
	} {
		k.typed = typed
		if err := k.checkGap(5, -1); (err == nil) != want {
			t.Errorf("the console has %q: %v", typed, err)
		}
	}
}

// TestReaderMayLoseTheKeyboardTwice has the console get character 2429 while a terminal of the kernel's has the screen, and those from
// 2439 on while no kbdd runs.
func TestReaderMayLoseTheKeyboardTwice(t *testing.T) {
	newKilling := func() *killing {
		k := &killing{attempt: &attempt{}, killStage: &killStage{typist: &killTypist{next: 2497}}, begun: 2385, struck: 2426, twice: true}
		k.stream.text = "10zyxwvutsrqponmlkjihgfedcba3wpib4xqjc5yrkdzsle70tmf5uj8xm"
		k.typed = "681uNg92VOHa50VQlgb61wrmhc72xSnid83ytOJE94zupkfazod2rg"
		return k
	}
	const until, free = 43, 2440
	if k := newKilling(); k.checkGap(until, free) != nil {
		t.Error("it may not")
	}
	for name, change := range map[string]func(k *killing){
		"it loses a key between":           func(k *killing) { k.stream.text = strings.Replace(k.stream.text, "sle", "se", 1) },
		"the console has a key of its":     func(k *killing) { k.typed = "6z" + k.typed[1:] },
		"nobody has many keys":             func(k *killing) { k.typed = k.typed[:10] + k.typed[20:] },
		"it loses keys long before":        func(k *killing) { k.struck = 2450 },
		"it loses the keyboard but once":   func(k *killing) { k.twice = false },
		"the console has keys out of turn": func(k *killing) { k.typed = k.typed[1:] + "6" },
	} {
		k := newKilling()
		change(k)
		if k.checkGap(until, free) == nil {
			t.Errorf("all is well where %s", name)
		}
	}
}

// TestReaderMayLoseTheKeyboardButOnce has a kbdd that sees the kernel's terminal have the screen, and gives the keyboard back after
// the resume, when the reader has read two more characters.
func TestReaderMayLoseTheKeyboardButOnce(t *testing.T) {
	k := &killing{attempt: &attempt{}, killStage: &killStage{typist: &killTypist{next: 754}}, begun: 734, struck: 746}
	k.stream.text, k.typed = "c72xsnid83ytjezup", "4"
	if k.checkGap(12, -1) == nil {
		t.Error("it may lose it twice")
	}
	if k.twice = true; k.checkGap(12, -1) != nil {
		t.Error("it may not where that is allowed")
	}
}

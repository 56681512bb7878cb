package test

import "testing"

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

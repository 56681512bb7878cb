package input

import (
	"testing"

	evdev "github.com/gvalkov/golang-evdev"
)

// A collection of garbage makes keys wait, so that a key makes none.
func TestKeysAllocateNothing(t *testing.T) {
	key := func(value int32) evdev.InputEvent {
		return evdev.InputEvent{Type: evdev.EV_KEY, Code: evdev.KEY_A, Value: value}
	}
	report := evdev.InputEvent{Type: evdev.EV_SYN, Code: evdev.SYN_REPORT}
	tap := []evdev.InputEvent{key(1), report, key(2), report, key(0), report}
	delivered := 0
	s := stream{deliver: func(uint16, bool) { delivered++ }, lost: func() {}}
	if n := testing.AllocsPerRun(100, func() { s.take(tap) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if delivered == 0 {
		t.Error("no key was delivered")
	}
}

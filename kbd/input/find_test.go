package input

import (
	"testing"

	evdev "github.com/gvalkov/golang-evdev"

	"kbdd/test/devices"
)

func TestWhatCanBeTypedOnIsAKeyboard(t *testing.T) {
	all, err := devices.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Run(d.Name, func(t *testing.T) {
			var keys keySet
			for _, code := range d.Bits["KEY"] {
				keys.add(code)
			}
			if got := canType(&keys); got != d.Keyboard {
				t.Errorf("it is a keyboard: %t, want %t", got, d.Keyboard)
			}
			if got := hasPointer(&d); d.Keyboard && got != d.Pointer {
				t.Errorf("it is a pointer too: %t, want %t", got, d.Pointer)
			}
		})
	}
}

func hasPointer(d *devices.Device) bool {
	for typ, name := range map[uint16]string{evdev.EV_KEY: "KEY", evdev.EV_REL: "REL", evdev.EV_ABS: "ABS"} {
		for _, code := range d.Bits[name] {
			if isPointerEvent(typ, code) {
				return true
			}
		}
	}
	return false
}

func TestSomeLettersOrDigitsDoNotMakeAKeyboard(t *testing.T) {
	for _, enough := range [][]uint16{letters, keypad} {
		var keys keySet
		for _, code := range enough {
			keys.add(code)
		}
		if !canType(&keys) {
			t.Errorf("%v do not make a keyboard", enough)
		}
		for _, code := range enough {
			keys.remove(code)
			if canType(&keys) {
				t.Errorf("there is no need for key %d", code)
			}
			keys.add(code)
		}
	}
}

func TestKeyboardsOfOneModelHaveTheirOwnIDs(t *testing.T) {
	plain := Info{Name: "AT keyboard", Phys: "isa0060/serio0/input0", Vendor: 1, Product: 1}
	if got, want := plain.ID(), "isa0060/serio0/input0 0001:0001 AT keyboard"; got != want {
		t.Errorf("ID %q, want %q", got, want)
	}
	one := Info{Name: "K380", Phys: "00:1a:7d:da:71:13", Uniq: "34:88:5d:00:00:01", Vendor: 0x46d, Product: 0xb342}
	two := one
	two.Uniq = "34:88:5d:00:00:02"
	if one.ID() == two.ID() {
		t.Errorf("two keyboards behind one Bluetooth adapter are both %q", one.ID())
	}
}

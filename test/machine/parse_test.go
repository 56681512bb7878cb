package machine

import (
	"slices"
	"testing"
)

func TestParseInputDevices(t *testing.T) {
	const text = `I: Bus=0011 Vendor=0001 Product=0001 Version=ab41
N: Name="AT Translated Set 2 keyboard"
P: Phys=isa0060/serio0/input0
S: Sysfs=/devices/platform/i8042/serio0/input/input0
U: Uniq=
H: Handlers=sysrq kbd leds event0 
B: PROP=0

I: Bus=0003 Vendor=0627 Product=0001 Version=0111
N: Name="QEMU QEMU USB Keyboard"
P: Phys=usb-0000:00:04.0-1/input0
U: Uniq=keyboard-usb0
H: Handlers=sysrq kbd event3 leds 

`
	want := []inputDevice{
		{"AT Translated Set 2 keyboard", "isa0060/serio0/input0", "", "/dev/input/event0"},
		{"QEMU QEMU USB Keyboard", "usb-0000:00:04.0-1/input0", "keyboard-usb0", "/dev/input/event3"},
	}
	if got := parseInputDevices([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestEveryPrintableCharacterHasAKey(t *testing.T) {
	used := map[stroke]rune{}
	for char := ' '; char <= '~'; char++ {
		key, shift, err := KeyFor(char)
		if err != nil {
			t.Error(err)
		}
		if other, taken := used[stroke{key, shift}]; taken {
			t.Errorf("%q and %q are typed alike", char, other)
		}
		used[stroke{key, shift}] = char
		if qcodes[key] == "" {
			t.Errorf("QEMU cannot type %q", char)
		}
	}
}

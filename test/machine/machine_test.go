package machine_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestMachineHasCUSE(t *testing.T) {
	machine.Require(t)
	if _, err := os.Stat("/dev/cuse"); err != nil {
		t.Error(err)
	}
}

func TestPS2KeyboardTypesAtTheConsole(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)

	keyboard.Type("hello")
	if got := console.Text(); got != "hello" {
		t.Errorf("tty1 shows %q", got)
	}
	keyboard.Type(", World!\nnext line")
	if got := console.Text(); got != "hello, World!\nnext line" {
		t.Errorf("tty1 shows %q", got)
	}
	console.Clear()
	if got := console.Text(); got != "" {
		t.Errorf("tty1 shows %q after Clear", got)
	}
}

func TestHeldKeyRepeats(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)

	for range 4 {
		keyboard.Press(machine.KeyA)
	}
	keyboard.Release(machine.KeyA)
	if got := console.Text(); got != "aaaa" {
		t.Errorf("a make and three repeats: tty1 shows %q", got)
	}
}

func TestUSBKeyboardTypesAndGoes(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)

	first, second := machine.PlugUSB(t, 0), machine.PlugUSB(t, 1)
	first.Type("one")
	second.Type("Two")
	machine.PS2(t).Type("3")
	if got := console.Text(); got != "oneTwo3" {
		t.Errorf("tty1 shows %q", got)
	}
	node := first.Node()
	first.Unplug()
	if _, err := os.Stat(node); !os.IsNotExist(err) {
		t.Errorf("%s after the keyboard was unplugged: %v", node, err)
	}
	machine.PlugUSB(t, 0).Type("4")
	if got := console.Text(); got != "oneTwo34" {
		t.Errorf("tty1 shows %q", got)
	}
}

func TestUinputKeyboardTypesAndHasLights(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	keyboard := machine.NewUinput(t, machine.UinputConfig{
		Name: "test keyboard", LEDs: machine.NumLock | machine.CapsLock | machine.ScrollLock,
	})

	keyboard.Tap(machine.KeyCapsLock)
	keyboard.Type("abc")
	machine.WaitUntil(t, "Caps Lock is lit", func() bool { return keyboard.Shown() == machine.CapsLock })
	if got := keyboard.LEDs(); got != machine.CapsLock {
		t.Errorf("the kernel has lights %b", got)
	}
	keyboard.Tap(machine.KeyCapsLock)
	keyboard.Type("d")
	machine.WaitUntil(t, "Caps Lock is out", func() bool { return keyboard.Shown() == 0 })
	if got := console.Text(); got != "ABCd" {
		t.Errorf("tty1 shows %q", got)
	}
}

// A character is on the screen as soon as the key was pressed: tests need not wait, nor hope. On a busy host a key may be
// held for so long that the kernel repeats it; what the screen shows then says nothing.
func TestScreenIsInStepWithTheKeys(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	const repeatDelay = 250 * time.Millisecond
	for _, keyboard := range []*machine.Keyboard{machine.PS2(t), &machine.PlugUSB(t, 0).Keyboard} {
		inTime := 0
		for n := range 70 {
			console.Clear()
			start := time.Now()
			keyboard.Press(machine.KeyA)
			got := console.Text()
			if time.Since(start) < repeatDelay {
				inTime++
				if got != "a" {
					t.Fatalf("after key %d tty1 shows %q", n+1, got)
				}
			}
			keyboard.Release(machine.KeyA)
		}
		if inTime == 0 {
			t.Error("no key was in time")
		}
	}
}

// The same for a program that has grabbed the keyboard: nothing else in the machine can tell then that the key came.
func TestGrabberIsInStepWithTheKeys(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	for _, keyboard := range []*machine.Keyboard{machine.PS2(t), &machine.PlugUSB(t, 0).Keyboard} {
		fd := grab(t, keyboard)
		for n := range 50 {
			keyboard.Press(machine.KeyA)
			if got := pressed(t, fd); len(got) != 1 || got[0] != machine.KeyA {
				t.Fatalf("press %d of %s was not there", n+1, keyboard.Node())
			}
			keyboard.Release(machine.KeyA)
		}
	}
	if got := console.Text(); got != "" {
		t.Errorf("tty1 shows %q of keyboards that were grabbed", got)
	}
}

func TestQEMUsKeysAreTheKernels(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	fd := grab(t, keyboard)        // or Caps Lock and its like would take effect
	const hangul, hanja = 122, 123 // not through a controller that translates
	for _, key := range machine.QEMUKeys() {
		if key == hangul || key == hanja {
			continue
		}
		keyboard.Tap(key)
		if got, want := pressed(t, fd), []machine.Key{key}; !slices.Equal(got, want) {
			t.Errorf("key %d is pressed as %v", key, got)
		}
	}
}

// grab takes a keyboard for the test alone and returns its open node.
func grab(t *testing.T, keyboard *machine.Keyboard) int {
	t.Helper()
	fd, err := unix.Open(keyboard.Node(), unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	const eviocgrab = 0x40044590
	if err := unix.IoctlSetInt(fd, eviocgrab, 1); err != nil {
		t.Fatal(err)
	}
	return fd
}

// pressed reads the events that are there, and gives the keys pressed by them.
func pressed(t *testing.T, fd int) []machine.Key {
	t.Helper()
	const size, keyEvent = 24, 1
	var events [64 * size]byte
	n, err := unix.Read(fd, events[:])
	if err != nil && err != unix.EAGAIN {
		t.Fatal(err)
	}
	var keys []machine.Key
	for at := 0; at+size <= n; at += size {
		kind, code := binary.NativeEndian.Uint16(events[at+16:]), binary.NativeEndian.Uint16(events[at+18:])
		if value := binary.NativeEndian.Uint32(events[at+20:]); kind == keyEvent && value == 1 {
			keys = append(keys, machine.Key(code))
		}
	}
	return keys
}

func TestVTsSwitch(t *testing.T) {
	machine.Require(t)
	first, second := machine.OpenConsole(t, 1), machine.OpenConsole(t, 2)
	keyboard := machine.PS2(t)

	second.Activate()
	keyboard.Type("on two")
	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyF1)
	machine.WaitVT(t, 1)
	keyboard.Type("on one")
	if got := first.Text(); got != "on one" {
		t.Errorf("tty1 shows %q", got)
	}
	if got := second.Text(); got != "on two" {
		t.Errorf("tty2 shows %q", got)
	}
}

func TestScreenshots(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	machine.PS2(t).Type("cheese")
	machine.Screenshot(t, t.Name())
}

func TestCtrlAltDelReachesPID1(t *testing.T) {
	machine.Require(t)
	before := machine.CtrlAltDels(t)
	machine.PS2(t).Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyDelete)
	machine.WaitUntil(t, "PID 1 has Ctrl-Alt-Del", func() bool { return machine.CtrlAltDels(t) == before+1 })
}

func TestRawPS2GivesTheWire(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)
	a, identity := []byte{0x1e, 0x9e}, []byte{0xfa, 0xab, 0x41} // as the controller translates them
	commandLine, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(commandLine), "i8042.direct") {
		a, identity = []byte{0x1c, 0xf0, 0x1c}, []byte{0xfa, 0xab, 0x83}
	}
	t.Run("raw", func(t *testing.T) {
		wire := machine.OpenRawPS2(t)
		keyboard.Type("a")
		if got := wire.Bytes(); !bytes.Equal(got, a) {
			t.Errorf("a is % x, not % x", got, a)
		}
		if got, want := wire.Send(0xee), []byte{0xee}; !bytes.Equal(got, want) {
			t.Errorf("the echo is % x", got)
		}
		if got := wire.Send(0xf2); !bytes.Equal(got, identity) {
			t.Errorf("the identity is % x, not % x", got, identity)
		}
	})
	keyboard.Type("b")
	if got := console.Text(); got != "b" {
		t.Errorf("with the keyboard back tty1 shows %q", got)
	}
}

func TestHeldKeyTakesTheTypematicDelay(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	begin := time.Now()
	keyboard.Press(machine.KeyA)
	keyboard.Press(machine.KeyA)
	keyboard.Release(machine.KeyA)
	if took := time.Since(begin); took < 250*time.Millisecond {
		t.Errorf("the first repeat came after %v", took)
	}
}

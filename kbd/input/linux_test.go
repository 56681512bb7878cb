package input

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	evdev "github.com/gvalkov/golang-evdev"
	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// TestConsoleIsSentTheReleaseThatItHasMissed has a Shift half heard, as one that is tapped at the moment of a grab.
func TestConsoleIsSentTheReleaseThatItHasMissed(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "keyboard"})
	n, err := openNode(keyboard.Node())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	const noModifier, shiftDown = 0, 1
	waitShiftState := func(state byte) {
		t.Helper()
		machine.WaitUntil(t, "the console has its modifiers right", func() bool { return shiftState(t) == state })
	}
	keyboard.Press(machine.KeyLeftShift)
	waitShiftState(shiftDown)
	if err := n.Grab(); err != nil {
		t.Fatal(err)
	}
	keyboard.Release(machine.KeyLeftShift)
	machine.WaitUntil(t, "Shift is up", func() bool {
		keys, err := n.Pressed()
		return err == nil && keys.empty()
	})
	if shiftState(t) != shiftDown {
		t.Fatal("the console has heard the release all the same")
	}
	var pressed keySet
	pressed.add(shift)
	if again, err := letGo(n, pressed); err != nil || !again.empty() {
		t.Fatal(err, again)
	}
	waitShiftState(noModifier)

	// A release that it has not missed.
	if err := n.Grab(); err != nil {
		t.Fatal(err)
	}
	if again, err := letGo(n, pressed); err != nil || !again.empty() {
		t.Fatal(err, again)
	}
	keyboard.Press(machine.KeyLeftShift)
	waitShiftState(shiftDown)
	keyboard.Release(machine.KeyLeftShift)
	waitShiftState(noModifier)
}

// TestGrabHasWhatTheConsoleHasHeard types all along. A key that was on its way through the kernel when the keyboard was grabbed, to the
// console first, must not come to light later.
func TestGrabHasWhatTheConsoleHasHeard(t *testing.T) {
	machine.Require(t)
	console := machine.OpenConsole(t, 1)
	console.Activate()
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "keyboard"})
	n, err := openNode(keyboard.Node())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for range 1000 {
		console.Clear()
		var enough atomic.Bool
		typed := make(chan struct{})
		go func() {
			defer close(typed)
			for i := 0; i < len(alphabet) && !enough.Load(); i++ { // none twice
				keyboard.Type(alphabet[i : i+1])
			}
		}()
		machine.WaitUntil(t, "there is a key", n.Unread)
		_, errFlush := n.Pressed()
		errGrab := n.Grab()
		before := presses(t, n)
		enough.Store(true)
		<-typed
		after := presses(t, n)
		heard := console.Text()
		if err := errors.Join(errFlush, errGrab, n.Ungrab()); err != nil {
			t.Fatal(err)
		}
		if after != "" && strings.HasSuffix(heard, after[:1]) {
			t.Fatalf("the console has %q; read at the grab was %q, and later %q", heard, before, after)
		}
	}
}

const alphabet = "abcdefghijklmnopqrstuvwxyz"

// presses are the letters whose press is to be read. Those that the kernel has dropped are not among them, nor those before.
func presses(t *testing.T, n node) (text string) {
	t.Helper()
	err := n.TakeUnread(func(events []evdev.InputEvent) {
		for _, ev := range events {
			switch {
			case ev.Type == evdev.EV_KEY && ev.Value == 1:
				i := strings.IndexFunc(alphabet, func(letter rune) bool {
					key, _, _ := machine.KeyFor(letter)
					return key == machine.Key(ev.Code)
				})
				text += alphabet[i : i+1]
			case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_DROPPED:
				text = ""
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// shiftState is the modifiers that the console takes to be down.
func shiftState(t *testing.T) byte {
	t.Helper()
	fd, err := unix.Open("/dev/tty1", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const tiocLinux, getShiftState = 0x541c, 6
	arg := [2]byte{getShiftState}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), tiocLinux, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		t.Fatal(errno)
	}
	return arg[0]
}

// TestKeyboardThatHasComeBackIsAnother has a keyboard go and come back unnoticed, as when the kernel has had more to tell than
// a socket holds.
func TestKeyboardThatHasComeBackIsAnother(t *testing.T) {
	machine.Require(t)
	usb := machine.PlugUSB(t, 0)
	var added, removed []*Keyboard
	w, err := Watch("/dev/input", Rules{Match: []Selector{{Name: "*USB*"}}}, slog.New(slog.DiscardHandler),
		func(k *Keyboard) { added = append(added, k) }, func(k *Keyboard) { removed = append(removed, k) })
	if err != nil {
		t.Fatal(err)
	}
	defer w.socket.Close()
	if len(added) != 1 || !strings.Contains(added[0].ID(), "keyboard-usb0") {
		t.Fatalf("keyboards %v; want one, with its serial number in its ID", added)
	}
	usb.Unplug()
	machine.PlugUSB(t, 0)
	w.scan()
	if len(removed) != 1 || len(added) != 2 || added[0].ID() != added[1].ID() || added[0].Path != added[1].Path {
		t.Errorf("added %v, removed %v", added, removed)
	}
}

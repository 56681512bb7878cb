package test

import (
	"encoding/hex"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// The PS/2 keyboard repeats held keys by itself; for others the kernel does. Each needs another cure.

func TestKeyHeldAtTheOpenOnAKeyboardThatTheKernelRepeatsFor(t *testing.T) {
	machine.Require(t)
	tty := machine.OpenConsole(t, 1)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "soft repeat", Repeats: true})
	startKbdd(t)

	keyboard.Press(machine.KeyLeftShift)
	keyboard.Press(machine.KeyA)
	f := open(t, os.O_RDONLY) // after its limit, with releases injected
	before := tty.Text()
	if strings.Trim(before, "A") != "" || before == "" {
		t.Errorf("tty1 shows %q, want the key and its repeats", before)
	}
	keyboard.Type("b")
	f.want("30 b0")
	keyboard.Release(machine.KeyA)
	keyboard.Release(machine.KeyLeftShift)
	keyboard.Type("c")
	f.want("2e ae")
	f.close()
	keyboard.Type("d")
	wantScreen(t, tty, before+"d")
}

func TestKeyHeldAtTheCloseOnAKeyboardThatTheKernelRepeatsFor(t *testing.T) {
	machine.Require(t)
	tty := machine.OpenConsole(t, 1)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "soft repeat", Repeats: true})
	startKbdd(t)

	f := open(t, os.O_RDONLY)
	keyboard.Press(machine.KeyLeftShift)
	keyboard.Press(machine.KeyA)
	f.want("2a 1e")
	start := time.Now()
	f.close()
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("close(2) took %v: it did not wait for the keys", took)
	}
	keyboard.Release(machine.KeyA)
	keyboard.Release(machine.KeyLeftShift)
	keyboard.Type("b")
	wantScreen(t, tty, "b")
}

func TestKeysThatTheKernelDroppedAreMended(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "fast"})
	kbdd := startKbdd(t)
	d := openDescriptor(t, os.O_RDONLY)
	keyboard.Press(machine.KeyLeftShift)
	d.wantRead(1, "2a")

	// A kbdd that does not come to read: the kernel keeps 64 events.
	kbdd.stop()
	keyboard.Type(strings.Repeat("a", 100))
	keyboard.Release(machine.KeyLeftShift)
	keyboard.Press(machine.KeyLeftAlt)
	kbdd.cmd.Process.Signal(syscall.SIGCONT)
	down := map[string]bool{"2a": true}
	d.readTo("aa", down)

	keyboard.Type("b")
	keyboard.Release(machine.KeyLeftAlt)
	keyboard.Type("c")
	d.readTo("ae", down)
	if len(down) != 0 {
		t.Errorf("after all keys are up the reader takes %v to be down", down)
	}
	if n, err := uninterrupted(func() (int, error) { return unix.IoctlGetInt(d.fd, unix.TIOCINQ) }); n != 0 || err != nil {
		t.Errorf("%d bytes are left to read, %v", n, err)
	}
}

// readTo reads up to a code, and keeps account of the keys that are down. Each break must follow its make.
func (d *descriptor) readTo(last string, down map[string]bool) {
	d.t.Helper()
	for {
		code, err := d.read(1)
		if err != nil {
			d.t.Fatal(err)
		}
		switch made := breakOf(d.t, code); {
		case code == "ff": // an overrun: keys were lost
		case made == "":
			down[code] = true
		default:
			if !down[made] {
				d.t.Errorf("the break %s has no make before it", code)
			}
			delete(down, made)
		}
		if code == last {
			return
		}
	}
}

// breakOf is the make that a break of one byte belongs to, or nothing if it is no break.
func breakOf(t testing.TB, code string) string {
	b, err := hex.DecodeString(code)
	if err != nil || len(b) != 1 {
		t.Fatalf("code %q", code)
	}
	if b[0] < 0x80 {
		return ""
	}
	return hex.EncodeToString([]byte{b[0] & 0x7f})
}

func TestKeyboardPluggedInGetsThePresentLEDs(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	f := open(t, os.O_RDWR)
	if _, err := f.Write([]byte{0xed, 0x04}); err != nil {
		t.Fatal(err)
	}
	f.want("fa fa")
	keyboard := machine.NewUinput(t, machine.UinputConfig{
		Name: "late", LEDs: machine.NumLock | machine.CapsLock | machine.ScrollLock,
	})
	machine.WaitUntil(t, "Caps Lock is lit", func() bool { return keyboard.Shown() == machine.CapsLock })
	f.close()
	machine.WaitUntil(t, "it is the console's again", func() bool { return keyboard.Shown() == 0 })
}

// TestCloseWaitsForAPS2KeyThatWasJustPressed has it held on: the keyboard may be about to repeat it.
func TestCloseWaitsForAPS2KeyThatWasJustPressed(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	f := open(t, os.O_RDONLY)
	keyboard.Press(machine.KeyA)
	f.want("1e")
	node, err := unix.Open(keyboard.Node(), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(node)
	f.close()
	if isGrabbed(node) {
		t.Error("the keyboard is muted though close(2) has returned")
	}
	keyboard.Release(machine.KeyA)
	keyboard.Type("b")
	wantScreen(t, tty, "b")
}

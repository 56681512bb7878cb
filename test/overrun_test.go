package test

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// TestKeysThatTheKernelLosesAreAnOverrun has more typed than the kernel keeps, while kbdd does not run.
func TestKeysThatTheKernelLosesAreAnOverrun(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "fast keyboard"})
	kbdd := startKbdd(t)
	d := openDescriptor(t, os.O_RDONLY)
	keyboard.Press(machine.KeyLeftShift)
	d.wantRead(1, "2a")
	kbdd.stop()
	for range 100 {
		keyboard.Type("kbdd")
	}
	keyboard.Release(machine.KeyLeftShift)
	keyboard.Press(machine.KeyA)
	kbdd.cmd.Process.Signal(unix.SIGCONT)

	for _, code := range []string{"ff", "aa", "1e"} { // keys were lost; and what is up and down now
		d.wantRead(1, code)
	}
	keyboard.Release(machine.KeyA)
	d.wantRead(1, "9e")
}

// TestReaderThatSleepsIsBroughtLevel has a file that is not read while more is typed than its queue holds.
func TestReaderThatSleepsIsBroughtLevel(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "fast keyboard"})
	startKbdd(t)
	sleeper, awake := openDescriptor(t, os.O_RDONLY|unix.O_NONBLOCK), openDescriptor(t, os.O_RDONLY)
	sees := func(codes string) {
		t.Helper()
		for b := range strings.FieldsSeq(codes) {
			awake.wantRead(1, b)
		}
	}
	keyboard.Press(machine.KeyLeftShift)
	sees("2a")
	for range 150 {
		keyboard.Type("kbdd")
		sees("25 a5 30 b0 20 a0 20 a0")
	}
	keyboard.Press(machine.KeyA)
	keyboard.Release(machine.KeyLeftShift)
	sees("1e aa")

	var stream []byte
	for range 3 { // what is mended comes once there is room
		digits, err := sleeper.read(4096)
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		stream = append(stream, b...)
	}
	read, mended, overrun := bytes.Cut(stream, []byte{0xff})
	typed := append([]byte{0x2a}, bytes.Repeat([]byte{0x25, 0xa5, 0x30, 0xb0, 0x20, 0xa0, 0x20, 0xa0}, 150)...)
	if !overrun || len(read) < 900 || !bytes.HasPrefix(typed, read) {
		t.Errorf("%d bytes are read before the overrun (%v): % x", len(read), overrun, read)
	}
	// What is down must be told to be so, and no more than that.
	var down []byte
	for _, b := range slices.Concat(read, mended) {
		if b&0x80 == 0 {
			down = append(down, b)
			continue
		}
		i := slices.Index(down, b&0x7f)
		if i < 0 {
			t.Fatalf("% x is followed by % x, with a break that has no make", read, mended)
		}
		down = slices.Delete(down, i, i+1)
	}
	if !bytes.Equal(down, []byte{0x1e}) {
		t.Errorf("after % x these keys are down: % x", mended, down)
	}
	keyboard.Release(machine.KeyA)
	sees("9e")
	sleeper.wantRead(256, "9e")
}

package test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestTerminalSettingsAreKeptAndTCSETSFFlushes(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d, last := openDescriptor(t, os.O_RDWR|unix.O_NONBLOCK), open(t, os.O_RDONLY)
	for i, test := range []struct {
		get, set uint
		size     int // of the kernel's struct termios or termios2
		flushes  bool
	}{
		{unix.TCGETS, unix.TCSETS, 36, false},
		{unix.TCGETS, unix.TCSETSW, 36, false},
		{unix.TCGETS, unix.TCSETSF, 36, true},
		{unix.TCGETS2, unix.TCSETS2, 44, false},
		{unix.TCGETS2, unix.TCSETSW2, 44, false},
		{unix.TCGETS2, unix.TCSETSF2, 44, true},
	} {
		// Only what is in the struct is taken and given, and all of that is kept.
		before, got := bytes.Repeat([]byte{0xdb}, 64), bytes.Repeat([]byte{0xdb}, 64)
		for j := range test.size {
			before[j] = byte(i + j)
		}
		keyboard.Type("ab")
		last.want("1e 9e 30 b0")
		if err := ioctl(d.fd, test.set, (*[64]byte)(before)); err != nil {
			t.Fatalf("%#x: %v", test.set, err)
		}
		if err := ioctl(d.fd, test.get, (*[64]byte)(got)); err != nil || !bytes.Equal(got, before) {
			t.Errorf("set by %#x to\n% x the settings are, %v,\n% x", test.set, before, err, got)
		}
		if test.flushes {
			d.wantAgain()
		} else {
			d.wantRead(256, "1e 9e 30 b0")
		}
	}
	for _, queue := range []int{unix.TCIFLUSH, unix.TCIOFLUSH, unix.TCOFLUSH} {
		keyboard.Type("a")
		last.want("1e 9e")
		d.set(unix.TCFLSH, queue)
		if queue == unix.TCOFLUSH {
			d.wantRead(256, "1e 9e")
		} else {
			d.wantAgain()
		}
	}
	// No flush loses a break.
	keyboard.Press(machine.KeyA)
	last.want("1e")
	d.wantRead(256, "1e")
	keyboard.Release(machine.KeyA)
	last.want("9e")
	d.set(unix.TCFLSH, unix.TCIFLUSH)
	d.wantRead(256, "9e")
}

// setPolling has reads wait for tenths of a second, as programs of the console do that look for keys now and then.
func setPolling(fd int, tenths uint8) error {
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	settings.Lflag &^= unix.ICANON
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 0, tenths
	return unix.IoctlSetTermios(fd, unix.TCSETS, settings)
}

func (d *descriptor) setPolling(tenths uint8) {
	d.t.Helper()
	if err := setPolling(d.fd, tenths); err != nil {
		d.t.Fatal(err)
	}
}

func TestReadsWithoutVMINPoll(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d, last := openDescriptor(t, os.O_RDWR), open(t, os.O_RDONLY)
	d.setPolling(0)
	d.wantRead(256, "")
	keyboard.Type("a")
	last.want("1e 9e")
	d.wantRead(256, "1e 9e")
	d.wantRead(256, "")

	d.setPolling(2)
	for range 2 {
		begin := time.Now()
		d.wantRead(256, "")
		if took := time.Since(begin); took < 200*time.Millisecond {
			t.Errorf("a read waits for %v, want 0.2 s", took)
		}
	}
	d.setPolling(250)
	read := start(t, unix.SYS_READ, func() string { got, _ := d.read(1); return got })
	keyboard.Press(machine.KeyA)
	if got := result(t, read); got != "1e" {
		t.Errorf("a key that comes in time is read as %q", got)
	}
	keyboard.Release(machine.KeyA)
	d.wantRead(1, "9e")
}

package test

import (
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
	for i, set := range []uint{unix.TCSETS, unix.TCSETSW, unix.TCSETSF} {
		settings, err := unix.IoctlGetTermios(d.fd, unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		settings.Lflag ^= unix.ECHO | unix.ICANON
		settings.Cc[unix.VMIN] = uint8(i + 1)
		keyboard.Type("ab")
		last.want("1e 9e 30 b0")
		if err := unix.IoctlSetTermios(d.fd, set, settings); err != nil {
			t.Fatal(err)
		}
		got, err := unix.IoctlGetTermios(d.fd, unix.TCGETS)
		if err != nil || got.Lflag != settings.Lflag || got.Cc != settings.Cc {
			t.Errorf("set to %+v, the settings are %+v, %v", settings, got, err)
		}
		if set == unix.TCSETSF {
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
func (d *descriptor) setPolling(tenths uint8) {
	d.t.Helper()
	settings, err := unix.IoctlGetTermios(d.fd, unix.TCGETS)
	if err == nil {
		settings.Lflag &^= unix.ICANON
		settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 0, tenths
		err = unix.IoctlSetTermios(d.fd, unix.TCSETS, settings)
	}
	if err != nil {
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

//go:build amd64

package test

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// TestIoctlsOf32BitPrograms makes calls as programs do that have 32 bits, whose structs lie below 4 GiB. All that a call does not
// give stays as it was.
func TestIoctlsOf32BitPrograms(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	d, console := openBoth(t)
	low, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(low)
	address := uintptr(unsafe.Pointer(&low[0]))
	ioctl := func(d *descriptor, request, arg uintptr) syscall.Errno {
		const sysIoctl = 54 // i386
		return syscall.Errno(-min(int32(int80(sysIoctl, uintptr(d.fd), request, arg)), 0))
	}
	at := func(d *descriptor, request uintptr, in string) string {
		copy(low, strings.Repeat("\xdb", 64))
		copy(low, in)
		if errno := ioctl(d, request, address); errno != 0 {
			return errno.Error()
		}
		return string(bytes.TrimRight(low[:64], "\xdb"))
	}

	for _, call := range []struct {
		name    string
		request uintptr
		in      string
	}{
		{"TCGETS", unix.TCGETS, ""},
		{"KDGKBENT", KDGKBENT, "\x01\x1e"}, // Shift-A
		{"VT_GETSTATE", VTGETSTATE, "\x00\x00\x00\x00\x00\x00"},
		{"VT_SETMODE to VT_PROCESS", VTSETMODE, "\x01\x00\x0a\x00\x0c\x00\x00\x00"},
		{"VT_GETMODE", VTGETMODE, ""},
		{"VT_SETMODE to no mode", VTSETMODE, "\x02\x00\x00\x00\x00\x00\x00\x00"},
		{"VT_SETMODE to VT_AUTO", VTSETMODE, "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"FIONREAD", unix.TIOCINQ, ""},
	} {
		if got, want := at(d, call.request, call.in), at(console, call.request, call.in); got != want || got == "" {
			t.Errorf("%s gives %q, on a console %q", call.name, got, want)
		}
	}

	if err := writeOnce(0xee, 0xee)(d.fd); err != nil { // it is answered with two echoes
		t.Fatal(err)
	}
	if got := at(d, unix.TIOCINQ, ""); got != "\x02\x00\x00\x00" {
		t.Errorf("FIONREAD gives %q, want 2", got)
	}
	if got := at(d, KDKBDREP, "\x2c\x01\x00\x00\x0a\x00\x00\x00"); got != "\x2c\x01\x00\x00\x0a\x00\x00\x00" {
		t.Errorf("KDKBDREP gives %q, want 300 ms and 10 ms", got)
	}
	for _, pair := range []struct {
		name     string
		set, get uintptr
		value    uintptr
		want     string
	}{
		{"KDSKBMODE", KDSKBMODE, KDGKBMODE, modeMediumRaw, "\x02\x00\x00\x00"},
		{"KDSETLED", KDSETLED, KDGETLED, 5, "\x05"},
	} {
		if errno := ioctl(d, pair.set, pair.value); errno != 0 {
			t.Errorf("%s: %v", pair.name, errno)
		}
		if got := at(d, pair.get, ""); got != pair.want {
			t.Errorf("after %s it is %q, want %q", pair.name, got, pair.want)
		}
	}
	for _, request := range []uintptr{KDGKBMODE, KDGKBENT, VTGETSTATE, VTSETMODE, unix.TIOCINQ} {
		if errno := ioctl(d, request, 16); errno != unix.EFAULT {
			t.Errorf("%#x at a bad address: %v, want EFAULT", request, errno)
		}
	}
	if errno := ioctl(d, 0x4bff, address); errno != unix.ENOTTY {
		t.Errorf("an unknown ioctl: %v, want ENOTTY", errno)
	}
}

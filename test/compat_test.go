//go:build amd64

package test

import (
	"encoding/binary"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestIoctlsOf32BitPrograms(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	f := open(t, os.O_RDWR)
	low, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(low)
	arg := uintptr(unsafe.Pointer(&low[0]))
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	ioctl := func(request, arg uintptr) (errno syscall.Errno) {
		raw.Control(func(fd uintptr) {
			const sysIoctl = 54 // i386
			if result := int32(int80(sysIoctl, fd, request, arg)); result < 0 {
				errno = syscall.Errno(-result)
			}
		})
		return errno
	}
	const kdKBDRep, kdSKBMode, kdGKBMode, kMediumRaw = 0x4b52, 0x4b45, 0x4b44, 2

	if errno := ioctl(unix.TCGETS, arg); errno != 0 || binary.NativeEndian.Uint32(low[12:])&unix.ICANON == 0 {
		t.Errorf("TCGETS: %v, lflag %#x", errno, low[12:16])
	}
	binary.NativeEndian.PutUint32(low, 300)
	binary.NativeEndian.PutUint32(low[4:], 0)
	if errno := ioctl(kdKBDRep, arg); errno != 0 || binary.NativeEndian.Uint32(low) != 300 || binary.NativeEndian.Uint32(low[4:]) == 0 {
		t.Errorf("KDKBDREP: %v, %v", errno, low[:8])
	}
	if errno := ioctl(kdSKBMode, kMediumRaw); errno != 0 {
		t.Errorf("KDSKBMODE: %v", errno)
	}
	if errno := ioctl(kdGKBMode, arg); errno != 0 || binary.NativeEndian.Uint32(low) != kMediumRaw {
		t.Errorf("KDGKBMODE: %v, %v", errno, low[:4])
	}
	if errno := ioctl(kdGKBMode, 16); errno != unix.EFAULT {
		t.Errorf("KDGKBMODE at a bad address: %v, want EFAULT", errno)
	}
	if errno := ioctl(0x4bff, arg); errno != unix.ENOTTY {
		t.Errorf("an unknown ioctl: %v, want ENOTTY", errno)
	}
}

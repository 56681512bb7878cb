package vt

import (
	"os"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctls of include/uapi/linux/kd.h and vt.h.
const (
	kdGetLED   = 0x4b31
	kdGKBEnt   = 0x4b46
	vtGetState = 0x5603
	vtActivate = 0x5606

	maxVT = 63 // MAX_NR_CONSOLES
)

type (
	kbEntry struct {
		_            structs.HostLayout
		Table, Index uint8
		Value        uint16
	}
	vtStat struct {
		_                     structs.HostLayout
		Active, Signal, State uint16
	}
)

var (
	_ [4]byte = [unsafe.Sizeof(kbEntry{})]byte{}
	_ [6]byte = [unsafe.Sizeof(vtStat{})]byte{}
)

func (c *Console) open() (int, error) {
	fd, err := unix.Open(c.path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: c.path, Err: err}
	}
	return fd, nil
}

// ioctl is one that reads or writes *arg.
func ioctl[T uint8 | kbEntry | vtStat](c *Console, name string, request uint, arg *T) error {
	fd, err := c.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(arg))); errno != 0 {
		return &os.PathError{Op: name, Path: c.path, Err: errno}
	}
	return nil
}

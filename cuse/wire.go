package cuse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"structs"
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The messages of /dev/cuse: include/uapi/linux/fuse.h. Those that go-fuse exports are taken from it; here stand the
// others, and all that is unsafe in this package.

// Operations that a character device gets (fuse.h, enum fuse_opcode).
const (
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opRelease   = 18
	opInterrupt = 36
	opIoctl     = 39
	opPoll      = 40
	opCuseInit  = 4096
)

const (
	fuseMajor = 7
	// From minor 21 on a POLL says for which events (uapi/linux/fuse.h), and from 16 on an ioctl's RETRY answer holds
	// 64-bit iovecs whatever the caller is (fs/fuse/ioctl.c). Linux has 21 since 3.9.
	fuseMinorMin = 21
	fuseMinorMax = 38

	// The kernel refuses to read into less than this (fs/fuse/dev.c, fuse_dev_do_read).
	minReadBuffer = 8192

	notifyPoll         = 1 // an OutHeader with unique 0 and this as its error is FUSE_NOTIFY_POLL
	pollScheduleNotify = 1 // FUSE_POLL_SCHEDULE_NOTIFY

	pollRdNorm, pollWrNorm = 0x40, 0x100 // include/uapi/asm-generic/poll.h; not in x/sys

	// Errors of 512 and more are the kernel's own; it refuses a reply with one (fs/fuse/dev.c, fuse_dev_do_write).
	maxErrno = 511
)

type (
	cuseInitIn struct {
		_                             structs.HostLayout
		Header                        fuse.InHeader
		Major, Minor, Unused, InFlags uint32
	}
	cuseInitOut struct {
		_                                 structs.HostLayout
		Major, Minor, Unused, InitFlags   uint32
		MaxRead, MaxWrite, DevMaj, DevMin uint32
		Spare                             [10]uint32
	}
	pollIn struct {
		_                 structs.HostLayout
		Header            fuse.InHeader
		Fh, Kh            uint64
		PollFlags, Events uint32
	}
	pollOut struct {
		_            structs.HostLayout
		Revents, Pad uint32
	}
	ioctlIovec struct {
		_         structs.HostLayout
		Base, Len uint64
	}
)

// The parts of a [Record].
type (
	recordHead struct {
		_               structs.HostLayout
		Magic           [8]byte
		Version, Tries  uint32
		Done            uint64
		LabelLen, Spare uint32
		Label           [maxLabel]byte
		Valid           [maxSlots]uint32 // see slot.valid
	}
	fileRecord struct {
		_                    structs.HostLayout
		State                uint32
		Status               int32
		Unique, Fh           uint64
		UID, GID, PID, Flags uint32
		PollKh, LastRead     uint64
		Parked, Calls        uint32
		Refused, File        uint32
		Armed                bool
	}
	parkedRecord struct {
		_            structs.HostLayout
		Unique       uint64
		Size, Thread uint32
	}
)

const (
	recordHeadSize   = int(unsafe.Sizeof(recordHead{}))
	fileRecordSize   = int(unsafe.Sizeof(fileRecord{}))
	parkedRecordSize = int(unsafe.Sizeof(parkedRecord{}))

	inHeaderSize  = int(unsafe.Sizeof(fuse.InHeader{}))
	outHeaderSize = int(unsafe.Sizeof(fuse.OutHeader{}))
	writeInSize   = int(unsafe.Sizeof(fuse.WriteIn{}))
	ioctlInSize   = int(unsafe.Sizeof(fuse.IoctlIn{}))
	ioctlOutSize  = int(unsafe.Sizeof(fuse.IoctlOut{}))
)

// The sizes that the kernel's ABI fixes.
var (
	_ [40]byte = [inHeaderSize]byte{}
	_ [16]byte = [outHeaderSize]byte{}
	_ [56]byte = [unsafe.Sizeof(cuseInitIn{})]byte{}
	_ [72]byte = [unsafe.Sizeof(cuseInitOut{})]byte{}
	_ [48]byte = [unsafe.Sizeof(fuse.OpenIn{})]byte{}
	_ [16]byte = [unsafe.Sizeof(fuse.OpenOut{})]byte{}
	_ [80]byte = [unsafe.Sizeof(fuse.ReadIn{})]byte{}
	_ [80]byte = [writeInSize]byte{}
	_ [8]byte  = [unsafe.Sizeof(fuse.WriteOut{})]byte{}
	_ [64]byte = [unsafe.Sizeof(fuse.ReleaseIn{})]byte{}
	_ [48]byte = [unsafe.Sizeof(fuse.InterruptIn{})]byte{}
	_ [72]byte = [ioctlInSize]byte{}
	_ [16]byte = [ioctlOutSize]byte{}
	_ [64]byte = [unsafe.Sizeof(pollIn{})]byte{}
	_ [8]byte  = [unsafe.Sizeof(pollOut{})]byte{}
	_ [16]byte = [unsafe.Sizeof(ioctlIovec{})]byte{}
)

// view looks at the start of msg as a T, in place. It is nil where msg is too short for one.
func view[T any](msg []byte) *T {
	if uintptr(len(msg)) < unsafe.Sizeof(*new(T)) {
		return nil
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(msg)))
}

// bytesOf is v as the kernel reads it, in place.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// putOutHeader fills the header of the reply msg, which is complete behind it.
func putOutHeader(msg []byte, unique uint64, status int32) {
	*(*fuse.OutHeader)(unsafe.Pointer(unsafe.SliceData(msg))) = fuse.OutHeader{
		Length: uint32(len(msg)), Status: status, Unique: unique,
	}
}

// notifyPollMessage has the kernel poll the file anew that it calls kh.
func notifyPollMessage(kh uint64) (msg [outHeaderSize + 8]byte) {
	putOutHeader(msg[:], 0, notifyPoll)
	binary.NativeEndian.PutUint64(msg[outHeaderSize:], kh)
	return msg
}

// readMessage reads one message, or answers EAGAIN. The descriptor is in non-blocking mode.
//
// This call and writeMessage's never wait, and so the scheduler is not told of them. If it were it would wake its monitor,
// which costs more than the call, and looks after it every 20 us for some time after.
func readMessage(fd int, buf []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)))
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return 0, errno
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// writeMessage sends msg in one write(2). /dev/cuse takes a whole message or none, and makes the writer wait for one only: the
// answer to CUSE_INIT, within which the device is made.
func writeMessage(fd int, msg []byte) error {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msg))), uintptr(len(msg)))
	switch {
	case errno != 0:
		return errno
	case int(n) != len(msg):
		return fmt.Errorf("cuse: short write to the kernel: %d of %d bytes", n, len(msg))
	}
	return nil
}

// status is err as a reply's header carries it: 0, or an errno below 0.
func status(err error) int32 {
	if err == nil {
		return 0
	}
	errno := unix.EIO
	if e, ok := errors.AsType[syscall.Errno](err); ok && e > 0 && e <= maxErrno {
		errno = e
	} else if errors.Is(err, context.Canceled) {
		errno = unix.EINTR
	}
	return -int32(errno)
}

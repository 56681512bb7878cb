package input

import (
	"cmp"
	"errors"
	"os"
	"structs"
	"sync"
	"syscall"
	"time"
	"unsafe"

	evdev "github.com/gvalkov/golang-evdev"
	"golang.org/x/sys/unix"
)

// The ioctls that golang-evdev lacks, or passes wrongly: include/uapi/linux/input.h.
const (
	eviocgbit   = 0x80604520 // _IOR('E', 0x20 + type, 96 bytes)
	eviocgabs   = 0x80184540 // and the axis
	eviocgkey   = 0x80604518 // _IOR('E', 0x18, 96 bytes)
	eviocgled   = 0x80084519 // _IOR('E', 0x19, 8 bytes)
	eviocguniq  = 0x80ff4508 // _IOR('E', 0x08, 255 bytes)
	eviocgrab   = 0x40044590
	eviocrevoke = 0x40044591
	eviocsmask  = 0x40104593
)

// inputMask is struct input_mask.
type inputMask struct {
	_               structs.HostLayout
	Type, CodesSize uint32
	CodesPtr        uint64
}

var (
	_ [16]byte = [unsafe.Sizeof(inputMask{})]byte{}
	_ [96]byte = [unsafe.Sizeof(keySet{})]byte{}
	_ [24]byte = [unsafe.Sizeof(evdev.InputEvent{})]byte{}
)

const eventSize = int(unsafe.Sizeof(evdev.InputEvent{}))

// An inputFile is an open node of the input subsystem, in non-blocking mode.
type inputFile struct {
	path string
	fd   int
}

type evdevNode struct {
	inputFile
	file *os.File        // the same, for the runtime's poller
	wait syscall.RawConn // of file
}

func openNode(path string) (node, error) {
	n := &evdevNode{inputFile: inputFile{path: path}}
	err := n.call("open", func() (err error) {
		n.fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	n.file = os.NewFile(uintptr(n.fd), path)
	if n.wait, err = n.file.SyscallConn(); err != nil {
		n.file.Close()
		return nil, err
	}
	// Without the events that are of no use here, the kernel's buffer holds half as many keys again. Older kernels than
	// 4.4 cannot do it, and work all the same.
	for _, typ := range []uint32{evdev.EV_MSC, evdev.EV_LED} {
		var none [8]byte
		mask := inputMask{Type: typ, CodesSize: uint32(len(none)), CodesPtr: uint64(uintptr(unsafe.Pointer(&none)))}
		_ = n.ioctl("EVIOCSMASK", eviocsmask, unsafe.Pointer(&mask))
	}
	return n, nil
}

// call makes a system call until no signal interrupts it. evdev's lock can be interrupted, and the Go runtime sends
// itself signals at all times (drivers/input/evdev.c, evdev_ioctl_handler).
func (f *inputFile) call(name string, try func() error) error {
	for {
		switch err := try(); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return &os.PathError{Op: name, Path: f.path, Err: err}
		}
	}
}

// ioctl is one whose argument is an address.
func (f *inputFile) ioctl(name string, request uint, arg unsafe.Pointer) error {
	return f.call(name, func() error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.fd), uintptr(request), uintptr(arg)); errno != 0 {
			return errno
		}
		return nil
	})
}

// ioctlInt is one whose argument is a number.
func (f *inputFile) ioctlInt(name string, request uint, arg int) error {
	return f.call(name, func() error { return unix.IoctlSetInt(f.fd, request, arg) })
}

// uniq is the serial number or address of an open node's device, or "".
func uniq(fd int) string {
	var text [256]byte
	n := inputFile{fd: fd}
	if n.ioctl("EVIOCGUNIQ", eviocguniq, unsafe.Pointer(&text)) != nil { // ENOENT: it has none
		return ""
	}
	return unix.ByteSliceToString(text[:])
}

func (n *evdevNode) Pressed() (keys keySet, err error) {
	err = n.ioctl("EVIOCGKEY", eviocgkey, unsafe.Pointer(&keys))
	return keys, err
}

func (n *evdevNode) Wait(d time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}}
	// Rounded up: a wait of 0 ms would be a busy loop. A wait that a signal cuts short is one all the same.
	_, err := unix.Poll(fds, int((d+time.Millisecond-1)/time.Millisecond))
	switch {
	case err != nil && err != unix.EINTR:
		return &os.PathError{Op: "poll", Path: n.path, Err: err}
	case fds[0].Revents&unix.POLLHUP != 0:
		return &os.PathError{Op: "poll", Path: n.path, Err: unix.ENODEV}
	}
	return nil
}

func (n *evdevNode) Unread() bool {
	fds := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLIN != 0
}

func (n *evdevNode) TakeUnread(take func([]evdev.InputEvent)) error {
	var events [64]evdev.InputEvent
	for {
		count, err := n.read(events[:])
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		take(events[:count])
	}
}

// Grab waits for an event that is on its way from handler to handler, for which EVIOCGRAB does not: the console, which is the
// first of them, may hear it just now. All get it under one lock, and EVIOCGLED takes that lock too (drivers/input/evdev.c,
// evdev_handle_get_val). It is asked for nothing but that.
func (n *evdevNode) Grab() error {
	if err := n.ioctlInt("EVIOCGRAB", eviocgrab, 1); err != nil {
		return err
	}
	var leds [8]byte
	return n.ioctl("EVIOCGLED", eviocgled, unsafe.Pointer(&leds))
}

func (n *evdevNode) Ungrab() error { return n.ioctlInt("EVIOCGRAB", eviocgrab, 0) }
func (n *evdevNode) Revoke() error { return n.ioctlInt("EVIOCREVOKE", eviocrevoke, 0) }

// Read waits by the runtime's poller, whose thread then goes all the way with the key. A thread that waited in read(2)
// would have to be let in by the scheduler.
//
// It does not ask again for what is not there: what has come since the last read the poller tells (epoll, edge-triggered).
func (n *evdevNode) Read(gate sync.Locker, take func([]evdev.InputEvent) (done bool)) error {
	var (
		events [64]evdev.InputEvent // what evdev holds at most for a keyboard
		failed error
	)
	try := func() (done, more bool) {
		gate.Lock()
		defer gate.Unlock()
		count, err := n.read(events[:])
		switch {
		case err == unix.EAGAIN:
			return false, false
		case err != nil:
			failed = err
			return true, false
		}
		return take(events[:count]), count == len(events)
	}
	err := n.wait.Read(func(uintptr) (done bool) {
		more := true
		for more && !done {
			done, more = try()
		}
		return done
	})
	return cmp.Or(failed, err)
}

// read takes the events that are there, or answers EAGAIN. It never waits, and so the scheduler is not told of it: that
// would wake the scheduler's monitor.
func (n *evdevNode) read(events []evdev.InputEvent) (int, error) {
	size := uintptr(len(events) * eventSize)
	for {
		count, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(n.fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), size)
		switch errno {
		case 0:
			return int(count) / eventSize, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errno
		default:
			return 0, &os.PathError{Op: "read", Path: n.path, Err: errno}
		}
	}
}

func (n *evdevNode) Press(keys keySet) error   { return n.inject(keys, 1) }
func (n *evdevNode) Release(keys keySet) error { return n.inject(keys, 0) }

func (n *evdevNode) inject(keys keySet, value int32) error {
	var events []evdev.InputEvent
	for code := range keys.all() {
		events = append(events, evdev.InputEvent{Type: evdev.EV_KEY, Code: code, Value: value})
	}
	return n.write(events)
}

// ledBits are evdev's LEDs in the order of the bits of KDGETLED.
var ledBits = [...]uint16{evdev.LED_SCROLLL, evdev.LED_NUML, evdev.LED_CAPSL}

func (n *evdevNode) SetLEDs(leds uint8) error {
	var events []evdev.InputEvent
	for i, code := range ledBits {
		events = append(events, evdev.InputEvent{Type: evdev.EV_LED, Code: code, Value: int32(leds >> i & 1)})
	}
	return n.write(events)
}

func (f *inputFile) write(events []evdev.InputEvent) error {
	events = append(events, evdev.InputEvent{Type: evdev.EV_SYN, Code: evdev.SYN_REPORT})
	buf := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(events))), len(events)*eventSize)
	return f.call("write", func() error {
		_, err := unix.Write(f.fd, buf)
		return err
	})
}

func (f *inputFile) Close() error {
	if err := unix.Close(f.fd); err != nil {
		return &os.PathError{Op: "close", Path: f.path, Err: err}
	}
	return nil
}

func (n *evdevNode) Close() error { return n.file.Close() }

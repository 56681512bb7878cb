package test

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A call is something that a program does with the open device, and in which it may be killed.
type call struct {
	name  string
	flags int // of open(2)
	waits int // the system call in which it waits for a key or for ever, or one of these
	do    func(fd int) error
}

const (
	forKbdd = -1 // it waits for no more than kbdd's answer
	never   = -2 // or not even that
)

// calls are all kinds of them. Those of waiters come from waitCalls.
var calls = slices.Concat(waitCalls(), []call{
	{"open to read", unix.O_RDONLY, never, doNothing},
	{"open to write", unix.O_WRONLY, never, doNothing},
	{"open for both", unix.O_RDWR | unix.O_NONBLOCK, never, doNothing},
	closes,

	{"read", unix.O_RDONLY, unix.SYS_READ, readOnce(256)},
	{"read of 1 byte", unix.O_RDWR, unix.SYS_READ, readOnce(1)},
	{"read of 1 MiB", unix.O_RDONLY, unix.SYS_READ, readOnce(1 << 20)},
	{"readv", unix.O_RDONLY, unix.SYS_READV, func(fd int) error {
		_, err := unix.Readv(fd, [][]byte{make([]byte, 1), make([]byte, 9)})
		return err
	}},
	{"pread", unix.O_RDONLY, unix.SYS_PREAD64, func(fd int) error {
		_, err := unix.Pread(fd, make([]byte, 9), 1000)
		return err
	}},
	{"read with VMIN 0", unix.O_RDONLY, forKbdd, readPolling(0)},
	{"read with VMIN 0 and VTIME", unix.O_RDONLY, unix.SYS_READ, readPolling(250)},
	{"nonblocking read", unix.O_RDONLY | unix.O_NONBLOCK, forKbdd, readOnce(256)},
	{"write", unix.O_RDWR, forKbdd, writeOnce(0xed, 0x07, 0xf0, 0x02)},
	{"write without the right to read", unix.O_WRONLY, forKbdd, writeOnce(0xed, 0x07)},
	{"reset", unix.O_RDWR, forKbdd, writeOnce(0xff)},
	{"lseek", unix.O_RDONLY, never, func(fd int) error {
		_, err := unix.Seek(fd, 1000, unix.SEEK_SET)
		return expect(unix.ESPIPE)(err)
	}},
	{"FIONBIO", unix.O_RDONLY, never, func(fd int) error { return unix.IoctlSetPointerInt(fd, fionbio, 1) }},
	{"FIONREAD", unix.O_RDONLY, forKbdd, getOnce(unix.TIOCINQ)},

	{"KDSKBMODE K_RAW", unix.O_RDONLY, forKbdd, setOnce(KDSKBMODE, modeRaw)},
	{"KDSKBMODE K_XLATE", unix.O_RDONLY, forKbdd, setOnce(KDSKBMODE, modeXlate)},
	{"KDSKBMODE K_OFF", unix.O_RDONLY, forKbdd, setOnce(KDSKBMODE, modeOff)},
	{"KDSKBMODE, back and forth", unix.O_RDONLY, never, func(fd int) error {
		if err := setOnce(KDSKBMODE, modeUnicode)(fd); err != nil {
			return err
		}
		return setOnce(KDSKBMODE, modeMediumRaw)(fd)
	}},
	{"KDGKBMODE", unix.O_RDONLY, forKbdd, getOnce(KDGKBMODE)},
	{"KDGKBTYPE", unix.O_RDONLY, forKbdd, getOnce(KDGKBTYPE)},
	{"KDSETLED", unix.O_RDONLY, forKbdd, setOnce(KDSETLED, 7)},
	{"KDGETLED", unix.O_RDONLY, forKbdd, getOnce(KDGETLED)},
	{"KDSKBLED", unix.O_RDONLY, forKbdd, setOnce(KDSKBLED, 0x77)},
	{"KDGKBLED", unix.O_RDONLY, forKbdd, getOnce(KDGKBLED)},
	{"KDKBDREP", unix.O_RDONLY, forKbdd, func(fd int) error { return ioctl(fd, KDKBDREP, &typematic{1, 1}) }},
	{"KDSKBMETA", unix.O_RDONLY, forKbdd, setOnce(KDSKBMETA, 3)},
	{"KDGKBMETA", unix.O_RDONLY, forKbdd, getOnce(KDGKBMETA)},
	{"KDSETMODE", unix.O_RDONLY, forKbdd, setOnce(KDSETMODE, 1)},
	{"KDGETMODE", unix.O_RDONLY, forKbdd, getOnce(KDGETMODE)},
	{"KDGKBENT", unix.O_RDONLY, forKbdd, getOnce(KDGKBENT)},
	{"KDSKBENT", unix.O_RDONLY, forKbdd, func(fd int) error { return expect(unix.EPERM)(getOnce(KDSKBENT)(fd)) }},

	{"VT_ACTIVATE", unix.O_RDONLY, forKbdd, setOnce(VTACTIVATE, 1)},
	{"VT_WAITACTIVE", unix.O_RDONLY, unix.SYS_IOCTL, setOnce(VTWAITACTIVE, 2)},
	{"VT_GETSTATE", unix.O_RDONLY, forKbdd, getOnce(VTGETSTATE)},
	{"VT_GETMODE", unix.O_RDONLY, forKbdd, getOnce(VTGETMODE)},
	{"VT_SETMODE", unix.O_RDONLY, forKbdd, getOnce(VTSETMODE)},
	{"VT_RELDISP", unix.O_RDONLY, forKbdd, setOnce(VTRELDISP, 1)},

	{"TCGETS", unix.O_RDONLY, forKbdd, getOnce(unix.TCGETS)},
	{"TCSETS", unix.O_RDONLY, forKbdd, getOnce(unix.TCSETS)},
	{"TCSETSW", unix.O_RDONLY, forKbdd, getOnce(unix.TCSETSW)},
	{"TCSETSF", unix.O_RDONLY, forKbdd, getOnce(unix.TCSETSF)},
	{"TCGETS2", unix.O_RDONLY, forKbdd, getOnce(unix.TCGETS2)},
	{"TCSETS2", unix.O_RDONLY, forKbdd, getOnce(unix.TCSETS2)},
	{"TCSETSW2", unix.O_RDONLY, forKbdd, getOnce(unix.TCSETSW2)},
	{"TCSETSF2", unix.O_RDONLY, forKbdd, getOnce(unix.TCSETSF2)},
	{"TCFLSH", unix.O_RDONLY, forKbdd, setOnce(unix.TCFLSH, unix.TCIFLUSH)},
	{"TIOCEXCL", unix.O_RDONLY, forKbdd, func(fd int) error {
		return expect(unix.EBUSY)(setOnce(unix.TIOCEXCL, 0)(fd)) // as it is with another reader
	}},
	{"TIOCNXCL", unix.O_RDONLY, forKbdd, setOnce(unix.TIOCNXCL, 0)},
	{"TIOCGEXCL", unix.O_RDONLY, forKbdd, getOnce(unix.TIOCGEXCL)},
})

// closes closes the file; sends leaves the only reference to it in a socket.
var (
	closes = call{"close", unix.O_RDONLY, forKbdd, unix.Close}
	sends  = call{"send", unix.O_RDONLY, never, func(fd int) error {
		_, err := sendAway(fd)
		return err
	}}
)

// callNamed is one of all these.
func callNamed(name string) call {
	all := append(slices.Clone(calls), sends)
	return all[slices.IndexFunc(all, func(c call) bool { return c.name == name })]
}

func waitCalls() (all []call) {
	for _, w := range waiters {
		all = append(all, call{w.name, unix.O_RDONLY, w.number, func(fd int) error {
			wait, err := w.open(fd)
			if err == nil {
				_, err = wait(10 * longMS)
			}
			return err
		}})
	}
	return all
}

// sendAway sends the file to a socket, which has the only reference then.
func sendAway(fd int) (socket int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fd), nil, 0); err != nil {
		return -1, err
	}
	unix.Close(pair[0])
	return pair[1], unix.Close(fd)
}

func doNothing(int) error { return nil }

// expect lets a call succeed or fail with one error.
func expect(failure error) func(err error) error {
	return func(err error) error {
		if err == failure {
			return nil
		}
		return err
	}
}

func readOnce(size int) func(fd int) error {
	return func(fd int) error {
		_, err := unix.Read(fd, make([]byte, size))
		return expect(unix.EAGAIN)(err)
	}
}

func readPolling(tenths uint8) func(fd int) error {
	return func(fd int) error {
		if err := setPolling(fd, tenths); err != nil {
			return err
		}
		return readOnce(256)(fd)
	}
}

func writeOnce(commands ...byte) func(fd int) error {
	return func(fd int) error {
		_, err := unix.Write(fd, commands)
		return err
	}
}

// setOnce is an ioctl with a number.
func setOnce(request uint, value int) func(fd int) error {
	return func(fd int) error { return unix.IoctlSetInt(fd, request, value) }
}

// getOnce is an ioctl with an address, at which there are zeros.
func getOnce(request uint) func(fd int) error {
	return func(fd int) error { return ioctl(fd, request, new([64]byte)) }
}

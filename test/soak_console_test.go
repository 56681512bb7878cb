package test

import (
	"fmt"
	"regexp"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A soakConsole is the first terminals, each with a program that reads it in raw mode, and what the model knows of them.
type soakConsole struct {
	t      testing.TB
	ttys   map[int]*soakTTY
	keymap map[[2]byte]uint16 // what was asked for so far

	active    int
	down      map[machine.Key]bool
	modifiers map[byte]int // how often each is down
}

// A soakTTY is a terminal.
type soakTTY struct {
	n, fd int
	want  string // what is to be typed there yet, as a regular expression
	heard string // what was typed there and is not compared with want; see stepTypeThrough
}

func (tty *soakTTY) String() string { return fmt.Sprint("tty", tty.n) }

const soakTerminals = 3

func newSoakConsole(t testing.TB) *soakConsole {
	t.Helper()
	c := &soakConsole{
		t: t, ttys: map[int]*soakTTY{}, keymap: map[[2]byte]uint16{},
		active: 1, down: map[machine.Key]bool{}, modifiers: map[byte]int{},
	}
	for n := 1; n <= soakTerminals; n++ {
		fd, err := unix.Open(fmt.Sprint("/dev/tty", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		old, err := makeRaw(fd, unix.TCSETSF)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = unix.IoctlSetTermios(fd, unix.TCSETSF, old)
			unix.Close(fd)
		})
		c.ttys[n] = &soakTTY{n: n, fd: fd}
	}
	machine.SwitchVT(t, 1)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	return c
}

// makeRaw has a terminal give each character as it comes, by one of TCSETS and TCSETSF.
func makeRaw(fd int, request uint) (old *unix.Termios, err error) {
	old, err = unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *old
	raw.Iflag, raw.Lflag, raw.Oflag = 0, 0, 0
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	return old, unix.IoctlSetTermios(fd, request, &raw)
}

// check compares what was typed on a terminal.
func (tty *soakTTY) check() error {
	got, err := tty.read()
	want := tty.want
	tty.want = ""
	if err == nil && !regexp.MustCompile(`(?s)^`+want+`$`).MatchString(got) {
		err = fmt.Errorf("was typed %q, want %q", got, want)
	}
	if err != nil {
		return fmt.Errorf("%s %w", tty, err)
	}
	return nil
}

// read takes all that was typed.
func (tty *soakTTY) read() (text string, err error) {
	fds := []unix.PollFd{{Fd: int32(tty.fd), Events: unix.POLLIN}}
	for {
		switch n, err := unix.Poll(fds, 0); { // it brings the kernel's own queues up to date
		case err == unix.EINTR:
		case err != nil || n == 0:
			return text, err
		default:
			var buf [4096]byte
			if n, err = unix.Read(tty.fd, buf[:]); err == nil {
				text += string(buf[:n])
			}
		}
	}
}

// shiftState is the modifiers that the kernel takes to be held.
func (c *soakConsole) shiftState() byte {
	const tiocLinux, getShiftState = 0x541c, 6
	arg := [2]byte{getShiftState}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.ttys[1].fd), tiocLinux, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		c.t.Fatal(errno)
	}
	return arg[0]
}

// entry is what the kernel's key map has for a key under the modifiers of a table.
func (c *soakConsole) entry(table byte, key machine.Key) uint16 {
	const kdGKBEnt = 0x4b46
	index := [2]byte{table, byte(key)}
	entry, known := c.keymap[index]
	if !known {
		arg := struct {
			Table, Index byte
			Value        uint16
		}{table, byte(key), 0}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.ttys[1].fd), kdGKBEnt, uintptr(unsafe.Pointer(&arg))); errno != 0 {
			c.t.Fatal(errno)
		}
		entry = arg.Value
		c.keymap[index] = entry
	}
	return entry
}

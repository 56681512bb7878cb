// Package vt is the virtual terminals of the console. It does not know of keyboards.
package vt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Console is the virtual terminals of this machine.
type Console struct {
	path   string // the device that stands for the active terminal
	active string // the file that says which one that is
	proc   string // where processes are
}

// New is the console of /dev/tty0. It keeps nothing open.
func New() *Console {
	return &Console{path: "/dev/tty0", active: "/sys/class/tty/tty0/active", proc: "/proc"}
}

// LEDs are the keyboard LEDs that the active terminal has on: bit 0 is Scroll Lock, 1 Num Lock, 2 Caps Lock
// (ioctl_console(2), KDGETLED). Without a console there are none.
func (c *Console) LEDs() uint8 {
	var leds uint8
	if ioctl(c, "KDGETLED", kdGetLED, &leds) != nil {
		return 0
	}
	return leds
}

// KeymapEntry is what key code index means in the kernel's map for the modifiers of table: KDGKBENT.
func (c *Console) KeymapEntry(table, index uint8) (uint16, error) {
	entry := kbEntry{Table: table, Index: index}
	err := ioctl(c, "KDGKBENT", kdGKBEnt, &entry)
	return entry.Value, err
}

// State tells which terminal is active, from 1 up, and in bits which of the first 15 are open: VT_GETSTATE.
func (c *Console) State() (active, open uint16, err error) {
	var stat vtStat
	err = ioctl(c, "VT_GETSTATE", vtGetState, &stat)
	return stat.Active, stat.State, err
}

// Active is the terminal that has the screen, from 1 up, or 0 where there are none.
func (c *Console) Active() int {
	text, err := os.ReadFile(c.active)
	if err != nil {
		return 0
	}
	n, err := parseActive(text)
	if err != nil {
		return 0
	}
	return n
}

func parseActive(text []byte) (n int, err error) {
	_, err = fmt.Sscanf(string(text), "tty%d", &n)
	return n, err
}

// Of is the virtual terminal that a process, or thread, has for its controlling terminal, or 0 if it has another or none.
func (c *Console) Of(pid uint32) int {
	text, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", c.proc, pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything; tty_nr is the fifth field behind it (proc_pid_stat(5)).
	_, rest, ok := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(") "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 5 {
		return 0
	}
	nr, err := strconv.ParseInt(string(fields[4]), 10, 32)
	if err != nil {
		return 0
	}
	const ttyMajor = 4
	if dev := uint64(nr); unix.Major(dev) == ttyMajor && unix.Minor(dev) <= maxVT {
		return int(unix.Minor(dev))
	}
	return 0
}

// Activate begins to switch to terminal n, from 1 up. It does not wait for it. ENXIO: there is no such terminal.
func (c *Console) Activate(n int) error {
	fd, err := c.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetInt(fd, vtActivate, n); err != nil {
		return &os.PathError{Op: "VT_ACTIVATE", Path: c.path, Err: err}
	}
	return nil
}

// Watch calls changed with the number of the active terminal, at once and after each switch, until ctx ends, and
// returns its error. Two switches in short order may be told as one.
func (c *Console) Watch(ctx context.Context, changed func(active int)) error {
	f, err := os.Open(c.active)
	if err != nil {
		return err
	}
	defer f.Close()
	ended, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ended.Close()
	defer context.AfterFunc(ctx, func() { end.Close() })()
	// Of descriptors that are not in the runtime's poller Fd changes nothing. Files of sysfs are not, and the pipe is
	// only polled here.
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}, {Fd: int32(ended.Fd())}}
	last, buf := 0, make([]byte, 16)
	for ctx.Err() == nil {
		// Reading from the start arms POLLPRI for the next change (Documentation/filesystems/sysfs.rst).
		count, err := f.ReadAt(buf, 0)
		if err != nil && err != io.EOF {
			return err
		}
		active, err := parseActive(buf[:count])
		if err != nil {
			return fmt.Errorf("%s: %q: %w", c.active, buf[:count], err)
		}
		if active != last {
			last = active
			changed(active)
			continue // changed may have taken long
		}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
	return ctx.Err()
}

package test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/scancode"
	"kbdd/test/machine"
)

// The modes of KDSKBMODE.
const (
	soakRaw   = 0
	soakXlate = 1
	soakOff   = 4
)

// A soakReader is an open file, or a process that has one, and what the model knows of it.
type soakReader struct {
	name  string
	fd    int         // -1: it is the process's
	cmd   *exec.Cmd   // nil: it is of this process
	lines chan string // what the process prints
	codes codes
	loose bool     // what it is sent is not compared, but gathered
	heard []string // gathered

	received int // in bytes

	reads, writes   bool // as it was opened, but for a write-only file, which gives no commands here
	device          int
	terminal        int
	mode            int
	revoked         bool
	down            map[machine.Key]bool // as the reader was told, or is to be
	want            [][]string           // the codes that it is to be sent yet; in each group in any order
	probed, probing bool                 // it was sent keyProbe; and takes it to be down
}

func (r *soakReader) String() string { return r.name }

// check waits until the reader was sent what it should be, and nothing more.
func (r *soakReader) check() error {
	deadline := time.Now().Add(machine.Limit)
	for {
		if err := r.receiveAll(); err != nil {
			return err
		}
		if !slices.ContainsFunc(r.want, func(codes []string) bool { return len(codes) > 0 }) {
			r.want = nil
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("was not sent %v", r.want)
		}
		if err := r.receive(time.Until(deadline)); err != nil {
			return err
		}
	}
}

// receive takes what the reader was sent, and waits for it.
func (r *soakReader) receive(limit time.Duration) error {
	limit = max(limit, 0) // poll(2) takes less for no limit
	if r.revoked {
		return nil
	}
	if r.cmd != nil {
		return r.receiveLine(limit)
	}
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(limit.Milliseconds())); n == 0 || err == unix.EINTR {
		return nil
	}
	var buf [256]byte
	switch n, err := unix.Read(r.fd, buf[:]); err {
	case nil:
		return r.take(buf[:n])
	case unix.EAGAIN, unix.EINTR:
		return nil
	default:
		return fmt.Errorf("has %w", err)
	}
}

func (r *soakReader) receiveLine(limit time.Duration) error {
	var timeout <-chan time.Time
	if limit > 0 {
		timeout = time.After(limit)
	} else if len(r.lines) == 0 {
		return nil
	}
	select {
	case line, running := <-r.lines:
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil || !running {
			return fmt.Errorf("says %q; it runs: %v", line, running)
		}
		return r.take(b)
	case <-timeout:
		return nil
	}
}

// receiveAll takes all that the reader was sent so far.
func (r *soakReader) receiveAll() error {
	for before := -1; before != r.received; {
		before = r.received
		if err := r.receive(0); err != nil {
			return err
		}
	}
	return nil
}

func (r *soakReader) take(b []byte) error {
	r.received += len(b)

	r.codes.add(b...)
	codes := r.codes.text
	r.codes.text = nil
	for _, code := range codes {
		switch {
		case code == probeMake:
			r.probed, r.probing = true, true
		case code == probeBreak && r.probing:
			r.probing = false
		case r.loose:
			r.heard = append(r.heard, code)
		default:
			if err := r.got(code); err != nil {
				return err
			}
		}
	}
	return nil
}

// ioctl makes a call, and again if the runtime's signals interrupt it.
func soakIoctl(fd int, request uint, arg int) error {
	for {
		if err := unix.IoctlSetInt(fd, request, arg); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openFile opens the reader's device in this process.
func (r *soakReader) openFile(flags int) (err error) {
	for {
		r.fd, err = unix.Open("/dev/"+deviceName(r.device), flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		err = unix.SetNonblock(r.fd, true)
	}
	return err
}

// startProcess starts a process that opens the reader's device and waits in read(2).
func (r *soakReader) startProcess() error {
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append(os.Environ(), "TEST_READER=/dev/"+deviceName(r.device))
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return err
	}
	r.lines = make(chan string, 10000)
	go func() {
		defer close(r.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			r.lines <- scan.Text()
		}
	}()
	if line := <-r.lines; line != "open" {
		return fmt.Errorf("says %q", line)
	}
	return nil
}

// end closes the file, or kills the process.
func (r *soakReader) end() error {
	if r.cmd == nil {
		return unix.Close(r.fd)
	}
	r.cmd.Process.Kill()
	_ = r.cmd.Wait() // it tells of the signal
	return nil
}

// stepSet has a file select a set, in which it is told nothing else of the keys.
func (s *soak) stepSet() bool {
	i := slices.IndexFunc(s.readers, func(r *soakReader) bool { return r.writes && !r.revoked && len(r.down) == 0 })
	if i < 0 {
		return false
	}
	r, set := s.readers[i], scancode.Set(1+s.rand.IntN(3))
	s.note("%s selects set %d", r, set)
	commands := []byte{0xf0, byte(set)}
	if set == scancode.Set3 {
		commands = append(commands, 0xf8) // all keys have breaks
	}
	if err := r.command(commands); err != nil {
		s.t.Fatalf("%s: %v", r, err)
	}
	r.codes.set = set
	r.codes.decoder.Reset(set)
	return true
}

// command gives host commands, and takes the keyboard's word for each byte, with nothing else to come.
func (r *soakReader) command(commands []byte) error {
	if _, err := uninterrupted(func() (int, error) { return unix.Write(r.fd, commands) }); err != nil {
		return err
	}
	answers := bytes.Repeat([]byte{0xfa}, len(commands))
	got := make([]byte, len(commands))
	n, err := uninterrupted(func() (int, error) { return unix.Read(r.fd, got) })
	if err != nil || !bytes.Equal(got[:n], answers) {
		return fmt.Errorf("% x is answered with % x, %v", commands, got[:max(n, 0)], err)
	}
	return nil
}

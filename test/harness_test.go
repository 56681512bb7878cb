package test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/scancode"
	"kbdd/test/machine"
)

const kbd0 = "/dev/kbd0"

func TestMain(m *testing.M) {
	if device := os.Getenv("TEST_READER"); device != "" {
		readerMain(device)
	}
	os.Exit(m.Run())
}

// daemon is a running kbdd.
type daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  *syncBuffer
	done chan error // gets the end of the process
}

// startKbdd runs kbdd until the test ends, and returns when it says that it is ready.
func startKbdd(t testing.TB, args ...string) *daemon {
	t.Helper()
	return startKbddWith(t, nil, args...)
}

// startKbddWith is startKbdd for a process that is prepared otherwise, or not if prepare is nil.
func startKbddWith(t testing.TB, prepare func(*exec.Cmd), args ...string) *daemon {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	d := &daemon{t: t, log: &syncBuffer{}, done: make(chan error, 1)}
	d.cmd = exec.Command("kbdd", args...)
	d.cmd.Env = append(os.Environ(), "GODEBUG=", "NOTIFY_SOCKET="+socket) // its scheduler is as it will be
	d.cmd.Stderr = d.log
	d.cmd.WaitDelay = machine.Limit // a child that outlives it may have its standard error
	if prepare != nil {
		prepare(d.cmd)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.done
		if t.Failed() {
			t.Logf("kbdd said:\n%s", d.log)
		}
	})
	notify.SetReadDeadline(time.Now().Add(machine.Limit))
	for buf := make([]byte, 256); ; {
		n, err := notify.Read(buf) // which drops the descriptors that kbdd has its parent keep
		if err != nil {
			t.Fatalf("kbdd did not get ready: %v\n%s", err, d.log)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			break
		}
	}
	notify.SetReadDeadline(time.Time{})
	go io.Copy(io.Discard, notify) // it would wait if nobody listened
	return d
}

func (d *daemon) pid() int     { return d.cmd.Process.Pid }
func (d *daemon) said() string { return d.log.String() }
func (d *daemon) kill()        { d.cmd.Process.Kill() }

// awaitSaid waits until kbdd has said that: its log keeps nobody waiting, and so it comes when it comes.
func awaitSaid(t testing.TB, kbdd running, text string) {
	t.Helper()
	machine.WaitUntil(t, "kbdd says: "+text, func() bool { return strings.Contains(kbdd.said(), text) })
}

// end sends the signal and waits for the end.
func (d *daemon) end(sig syscall.Signal) error {
	d.t.Helper()
	d.cmd.Process.Signal(sig)
	return d.wait(d.t, sig.String())
}

// stop stops kbdd for a while, as SIGCONT ends it. No file of package os may have the device open meanwhile: the poller of this
// program would ask kbdd, and wait with all goroutines.
func (d *daemon) stop() {
	d.t.Helper()
	d.cmd.Process.Signal(unix.SIGSTOP)
	machine.WaitUntil(d.t, "kbdd is stopped", func() bool { return isStopped(d.cmd.Process.Pid) })
}

// wait waits for the end, after what should bring it about.
func (d *daemon) wait(t testing.TB, after string) error {
	t.Helper()
	select {
	case err := <-d.done:
		d.done <- err
		return err
	case <-time.After(machine.Limit):
		t.Fatalf("kbdd still runs after %s", after)
	}
	return nil
}

// codes are what a reader has got of scancodes in set 1, in hex. The repeats of held keys are left out: on a busy host
// the machine may hold a key for longer than the typematic delay.
type codes struct {
	decoder scancode.Decoder
	set     scancode.Set // that decoder reads; of others than set 1 the keys have the codes that they have there
	pending []byte
	text    []string
}

func (c *codes) add(b ...byte) {
	for _, b := range b {
		c.pending = append(c.pending, b)
		ev, ok := c.decoder.Decode(b)
		if !ok {
			continue
		}
		switch {
		case ev.Kind == scancode.Repeat:
		case c.set > scancode.Set1 && ev.Key != 0:
			c.text = append(c.text, codeOf(machine.Key(ev.Key), ev.Kind == scancode.Press))
		default:
			c.text = append(c.text, fmt.Sprintf("% x", c.pending))
		}
		c.pending = c.pending[:0]
	}
}

// take returns what has come since the last call.
func (c *codes) take() string {
	text := strings.Join(c.text, " ")
	c.text = nil
	return text
}

// file is an open device, in this process.
type file struct {
	*os.File
	t     testing.TB
	codes codes
}

// open opens the device, and closes it when the test ends at the latest.
func open(t testing.TB, flags int) *file {
	t.Helper()
	f, err := os.OpenFile(kbd0, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &file{File: f, t: t}
}

// want reads what codes has, in hex, and checks that nothing else came before it.
func (f *file) want(codes string) {
	f.t.Helper()
	f.SetReadDeadline(time.Now().Add(machine.Limit))
	got, b := "", make([]byte, 1)
	for len(got) < len(codes) && strings.HasPrefix(codes, got) {
		if _, err := f.Read(b); err != nil {
			f.t.Fatalf("read %q, then %v; want %s", got, err, codes)
		}
		f.codes.add(b...)
		got = strings.TrimSpace(got + " " + f.codes.take())
	}
	if got != codes {
		f.t.Fatalf("read %s, want %s", got, codes)
	}
}

// wantReleased reads these breaks, in any order.
func (f *file) wantReleased(breaks ...string) {
	f.t.Helper()
	f.SetReadDeadline(time.Now().Add(machine.Limit))
	left, b := slices.Clone(breaks), make([]byte, 1)
	for len(left) > 0 {
		if _, err := f.Read(b); err != nil {
			f.t.Fatalf("read: %v, before the breaks %v", err, left)
		}
		f.codes.add(b...)
		if got := f.codes.take(); got != "" {
			i := slices.Index(left, got)
			if i < 0 {
				f.t.Fatalf("read %s, want the breaks %v", got, left)
			}
			left = slices.Delete(left, i, i+1)
		}
	}
}

// wantNothing checks that nothing is there to be read.
func (f *file) wantNothing() {
	f.t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		f.t.Fatal(err)
	}
	buf := make([]byte, 256)
	var n int
	var errRead error
	raw.Control(func(fd uintptr) { n, errRead = unix.Read(int(fd), buf) })
	if !errors.Is(errRead, unix.EAGAIN) {
		f.t.Fatalf("read % x, %v; want nothing", buf[:max(n, 0)], errRead)
	}
}

// close closes the file now.
func (f *file) close() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatal(err)
	}
}

// reader is a process that has the device open and waits in read(2).
type reader struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // what it prints: "open", the bytes of each read in hex, or an error
	codes codes
	// interrupts counts the reads and polls that ended with EINTR. vmrun has the runtime send no signals of its own.
	interrupts atomic.Int32
}

const readerInterrupted = "interrupted"

// startReader starts a reader, which waits in read(2) soon after.
func startReader(t testing.TB) *reader {
	t.Helper()
	return startReaderIn(t, "read")
}

// startReaderIn starts a reader that waits in read, or in poll, or never reads: in pause, or in VT_WAITACTIVE. Reads are not to be interrupted
// "read, and nothing else".
func startReaderIn(t testing.TB, call string) *reader {
	t.Helper()
	return startReaderWith(t, nil, call)
}

// startReaderWith is startReaderIn for a process that is prepared otherwise, or not if prepare is nil.
func startReaderWith(t testing.TB, prepare func(*exec.Cmd), call string) *reader {
	t.Helper()
	r := &reader{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1000)}
	r.cmd.Env = append(os.Environ(), "TEST_READER="+kbd0, "TEST_READER_WAITS_IN="+call)
	r.cmd.Stderr = os.Stderr
	if prepare != nil {
		prepare(r.cmd)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			if s.Text() == readerInterrupted {
				r.interrupts.Add(1)
				continue
			}
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { r.kill() })
	if line := r.line(); line != "open" {
		t.Fatalf("the reader says %q", line)
	}
	return r
}

// readerMain is the reader's process.
func readerMain(device string) {
	fd, err := unix.Open(device, unix.O_RDONLY, 0)
	for err == unix.EINTR { // by the runtime's own signals
		fd, err = unix.Open(device, unix.O_RDONLY, 0)
	}
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	fmt.Println("open")
	buf := make([]byte, 256)
	for {
		switch os.Getenv("TEST_READER_WAITS_IN") {
		case "pause":
			_ = unix.Pause() // until a signal, such as the runtime's own
			continue
		case "VT_WAITACTIVE":
			const vtWaitActive, inVain = 0x5607, 9
			_ = unix.IoctlSetInt(fd, vtWaitActive, inVain)
			continue
		case "poll":
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			switch {
			case errors.Is(err, unix.EINTR):
				fmt.Println(readerInterrupted)
				continue
			case err != nil:
				fmt.Println("poll:", err)
				os.Exit(1)
			}
		}
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR) && os.Getenv("TEST_READER_WAITS_IN") != "read, and nothing else":
			fmt.Println(readerInterrupted)
		case err != nil:
			fmt.Println("read:", err)
			os.Exit(1)
		default:
			fmt.Printf("% x\n", buf[:n])
		}
	}
}

// line is the next line of the reader.
func (r *reader) line() string {
	r.t.Helper()
	select {
	case line := <-r.lines:
		return line
	case <-time.After(machine.Limit):
		r.t.Fatal("the reader prints nothing")
		return ""
	}
}

// want checks that the reader gets these codes, in however many reads.
func (r *reader) want(codes string) {
	r.t.Helper()
	got := ""
	for len(got) < len(codes) && strings.HasPrefix(codes, got) {
		line := r.line()
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil {
			r.t.Fatalf("the reader got %q, then %q; want %s", got, line, codes)
		}
		r.codes.add(b...)
		got = strings.TrimSpace(got + " " + r.codes.take())
	}
	if got != codes {
		r.t.Fatalf("the reader got %s, want %s", got, codes)
	}
}

// kill ends the reader with SIGKILL, and returns when it is reaped: all its descriptors are closed then.
func (r *reader) kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// syncBuffer is a bytes.Buffer that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// poll is what poll(2) says of the file at this moment.
func poll(t testing.TB, f *file, events int16) int16 {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fds []unix.PollFd
	raw.Control(func(fd uintptr) {
		fds = []unix.PollFd{{Fd: int32(fd), Events: events}}
		for {
			if _, err = unix.Poll(fds, 0); err != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return fds[0].Revents
}

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A call is something that a program does with the open device, and in which it may be killed.
type call struct {
	name  string
	flags int // of open(2)
	waits int // the system call in which it waits, or noWait
	do    func(fd int) error
}

// noWait is the number of no system call.
const noWait = -1

// calls are all kinds of them. Those of waiters come from waitCalls.
var calls = slices.Concat(waitCalls(), []call{
	{"read", unix.O_RDONLY, unix.SYS_READ, readOnce(256)},
	{"read of 1 byte", unix.O_RDWR, unix.SYS_READ, readOnce(1)},
	{"read of 1 MiB", unix.O_RDONLY, unix.SYS_READ, readOnce(1 << 20)},
	{"readv", unix.O_RDONLY, unix.SYS_READV, func(fd int) error {
		_, err := unix.Readv(fd, [][]byte{make([]byte, 1), make([]byte, 9)})
		return err
	}},
	{"nonblocking read", unix.O_RDONLY | unix.O_NONBLOCK, noWait, readOnce(256)},
	{"write", unix.O_RDWR, noWait, writeOnce(0xed, 0x07, 0xf0, 0x02)},
	{"write without the right to read", unix.O_WRONLY, noWait, writeOnce(0xed, 0x07)},
	{"reset", unix.O_RDWR, noWait, writeOnce(0xff)},

	{"VT_WAITACTIVE", unix.O_RDONLY, unix.SYS_IOCTL, setOnce(VTWAITACTIVE, 2)},
	{"KDSKBMODE K_XLATE", unix.O_RDONLY, noWait, setOnce(KDSKBMODE, modeXlate)},
	{"KDSKBMODE K_OFF", unix.O_RDONLY, noWait, setOnce(KDSKBMODE, modeOff)},
	{"KDSKBMODE, back and forth", unix.O_RDONLY, noWait, func(fd int) error {
		if err := setOnce(KDSKBMODE, modeUnicode)(fd); err != nil {
			return err
		}
		return setOnce(KDSKBMODE, modeMediumRaw)(fd)
	}},
	{"KDSETLED", unix.O_RDONLY, noWait, setOnce(KDSETLED, 7)},
	{"KDGKBENT", unix.O_RDONLY, noWait, func(fd int) error { return ioctl(fd, KDGKBENT, new([4]byte)) }},
	{"KDKBDREP", unix.O_RDONLY, noWait, func(fd int) error { return ioctl(fd, KDKBDREP, &typematic{1, 1}) }},
	{"TIOCEXCL", unix.O_RDONLY, noWait, func(fd int) error {
		if err := setOnce(unix.TIOCEXCL, 0)(fd); err != unix.EBUSY { // as it is with another reader
			return err
		}
		return nil
	}},
	{"TCSETSF", unix.O_RDONLY, noWait, func(fd int) error {
		settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		return unix.IoctlSetTermios(fd, unix.TCSETSF, settings)
	}},
})

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

func readOnce(size int) func(fd int) error {
	return func(fd int) error {
		if _, err := unix.Read(fd, make([]byte, size)); err != unix.EAGAIN {
			return err
		}
		return nil
	}
}

func writeOnce(commands ...byte) func(fd int) error {
	return func(fd int) error {
		_, err := unix.Write(fd, commands)
		return err
	}
}

func setOnce(request uint, value int) func(fd int) error {
	return func(fd int) error { return unix.IoctlSetInt(fd, request, value) }
}

// A test's process is its clients too.
func init() {
	if name, ok := os.LookupEnv("TEST_CALL"); ok {
		callerMain(name)
	}
}

// What a process that makes calls does once it has the device open.
const (
	noCall    = "nothing"
	oneCall   = "one call"
	manyCalls = "one call after the other"
)

// callerMain is a process that opens the device, makes the call, and prints what it has done. Before main begins it has one
// thread for all this, that of the process's id.
func callerMain(name string) {
	c := calls[slices.IndexFunc(calls, func(c call) bool { return c.name == name })]
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, c.flags, 0) })
	fmt.Println("open", err)
	for what := os.Getenv("TEST_CALL_DO"); what != noCall; {
		_, err := uninterrupted(func() (int, error) { return 0, c.do(fd) })
		fmt.Println("done", err)
		if what == oneCall {
			break
		}
	}
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// A victim is a process that is killed.
type victim struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // that it prints
}

// startVictim starts a process. Its standard input, if there is no other, has no end.
func startVictim(t testing.TB, cmd *exec.Cmd) *victim {
	t.Helper()
	v := &victim{t: t, cmd: cmd, lines: make(chan string)}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Stdin == nil {
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	go func() {
		defer close(v.lines)
		s := bufio.NewScanner(out)
		for s.Buffer(nil, 4<<20); s.Scan(); {
			v.lines <- s.Text()
		}
	}()
	return v
}

// startCaller starts a process that has opened the device and does as it is told.
func startCaller(t testing.TB, c call, what string) *victim {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_CALL="+c.name, "TEST_CALL_DO="+what)
	v := startVictim(t, cmd)
	v.wantLine("open <nil>")
	return v
}

func (v *victim) wantLine(want string) {
	v.t.Helper()
	if line := result(v.t, v.lines); line != want {
		v.t.Fatalf("the process says %q, want %q", line, want)
	}
}

// waitIn waits until the process waits in a system call.
func (v *victim) waitIn(number int) {
	v.t.Helper()
	machine.WaitUntil(v.t, "the process waits", func() bool { return inCall(fmt.Sprint("/proc/", v.cmd.Process.Pid), number) })
}

// kill ends the process with SIGKILL, and returns when it is reaped, for which it needs no key.
func (v *victim) kill() {
	v.t.Helper()
	v.cmd.Process.Kill()
	dead := make(chan error, 1)
	go func() { dead <- v.cmd.Wait() }()
	select {
	case <-dead:
	case <-time.After(machine.Limit):
		v.t.Fatalf("%s was killed, and is not reaped", v.cmd)
	}
}

// A scene is where processes are killed.
type scene struct {
	t        testing.TB
	tty      *machine.Console
	keyboard *machine.Keyboard
	second   *descriptor // another reader, or nil
}

// withAndWithoutSecond plays a scene alone, and with a second reader.
func withAndWithoutSecond(t *testing.T, name string, play func(s *scene)) {
	t.Run(name, func(t *testing.T) {
		play(&scene{t: t, tty: machine.OpenConsole(t, 1), keyboard: machine.PS2(t)})
	})
	t.Run(name+", with a second reader", func(t *testing.T) {
		play(&scene{t, machine.OpenConsole(t, 1), machine.PS2(t), openDescriptor(t, os.O_RDWR)})
	})
}

// types types a text, of which the console hears nothing, and the second reader, if there is one, everything: codes.
func (s *scene) types(text, codes string) {
	s.t.Helper()
	s.keyboard.Type(text)
	if s.second == nil {
		return
	}
	for b := range strings.FieldsSeq(codes) {
		s.second.wantRead(1, b)
	}
	wantScreen(s.t, s.tty, "")
}

// kill kills the process. The second reader is none the wiser; the console, if there is none, types at once.
func (s *scene) kill(v *victim) {
	s.t.Helper()
	v.kill()
	if s.second != nil {
		s.types("a", "1e 9e")
		s.second.close()
	}
	s.keyboard.Type("x")
	wantScreen(s.t, s.tty, "x")
	s.tty.Clear()
	machine.WaitUntil(s.t, "no LED is lit", func() bool { return s.keyboard.LEDs() == 0 })
	if s.second != nil {
		s.second = openDescriptor(s.t, os.O_RDWR)
	}
}

func TestReadersAreKilledBeforeInAndAfterEveryCall(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	for _, c := range calls {
		withAndWithoutSecond(t, c.name, func(s *scene) {
			s.kill(startCaller(s.t, c, noCall))
			if c.waits == noWait {
				s.killInAndAfter(c)
			} else {
				s.killInAndAfterWaiting(c)
			}
		})
	}
}

func (s *scene) killInAndAfter(c call) {
	s.t.Helper()
	for _, what := range []string{manyCalls, oneCall} {
		v := startCaller(s.t, c, what)
		v.wantLine("done <nil>")
		s.kill(v)
	}
}

func (s *scene) killInAndAfterWaiting(c call) {
	s.t.Helper()
	v := startCaller(s.t, c, oneCall)
	v.waitIn(c.waits)
	s.kill(v)
	if c.waits == unix.SYS_IOCTL {
		return // no key ends it
	}
	v = startCaller(s.t, c, oneCall)
	v.waitIn(c.waits)
	s.types("h", "23 a3")
	v.wantLine("done <nil>")
	s.kill(v)
}

func TestSignalsInterruptReadsThatWait(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d := openDescriptor(t, os.O_RDONLY)
	for range 20 {
		tid := make(chan int, 1)
		read := start(t, unix.SYS_READ, func() error {
			tid <- unix.Gettid()
			_, err := unix.Read(d.fd, make([]byte, 1))
			return err
		})
		if err := unix.Tgkill(os.Getpid(), <-tid, unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if err := result(t, read); err != unix.EINTR {
			t.Fatalf("a read with a signal ends with %v, want EINTR", err)
		}
		keyboard.Tap(machine.KeyA)
		d.wantRead(1, "1e")
		d.wantRead(1, "9e")
	}
}

func TestSignalsLoseNothing(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d := openDescriptor(t, os.O_RDONLY)
	const text = "the quick brown fox"
	tid, interrupted := make(chan int, 1), 0
	read := start(t, unix.SYS_READ, func() (got []byte) {
		tid <- unix.Gettid()
		for len(got) < 2*len(text) {
			var b [3]byte
			n, err := unix.Read(d.fd, b[:])
			if err == unix.EINTR {
				interrupted++
			} else if err != nil {
				t.Error(err)
				return got
			}
			got = append(got, b[:max(n, 0)]...)
		}
		return got
	})
	typed := make(chan bool)
	go func() {
		defer close(typed)
		keyboard.Type(text)
	}()
	thread := <-tid
	for len(read) == 0 {
		unix.Tgkill(os.Getpid(), thread, unix.SIGUSR1)
	}
	<-typed
	var want []byte
	for _, char := range text {
		key, _, _ := machine.KeyFor(char)
		want = append(want, byte(key), byte(key)|0x80) // in set 1 these keys have their key codes
	}
	if got := result(t, read); !bytes.Equal(got, want) || interrupted == 0 {
		t.Errorf("with %d interrupts: read % x, want % x", interrupted, got, want)
	}
}

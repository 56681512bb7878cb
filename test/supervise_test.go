package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A supervised is "kbdd -supervise", and its child.
type supervised struct {
	*daemon
	lives int // how often a child has become ready
}

func startSupervised(t testing.TB, args ...string) *supervised {
	t.Helper()
	return startSupervisedWith(t, nil, args...)
}

// startSupervisedWith is startSupervised for a supervisor that is prepared otherwise, or not if prepare is nil.
func startSupervisedWith(t testing.TB, prepare func(*exec.Cmd), args ...string) *supervised {
	t.Helper()
	s := &supervised{startKbddWith(t, prepare, append([]string{"-supervise"}, args...)...), 0}
	s.awaitReady()
	return s
}

// awaitReady waits until one child more is ready.
func (s *supervised) awaitReady() {
	s.t.Helper()
	s.lives++
	machine.WaitUntil(s.t, "kbdd is ready", func() bool { return strings.Count(s.log.String(), "msg=ready") >= s.lives })
}

// pid is that of kbdd, the child.
func (s *supervised) pid() int {
	s.t.Helper()
	found := 0
	machine.WaitUntil(s.t, "there is a child", func() bool {
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, path := range stats {
			text, _ := os.ReadFile(path)
			_, rest, _ := strings.Cut(string(text), ") ")
			if f := strings.Fields(rest); len(f) > 1 && f[0] != "Z" && f[1] == strconv.Itoa(s.cmd.Process.Pid) {
				found, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
			}
		}
		return found != 0
	})
	return found
}

func (s *supervised) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := unix.Kill(s.pid(), sig); err != nil {
		s.t.Fatal(err)
	}
}

// withoutNext has the supervisor start no next kbdd as long as f runs.
func (s *supervised) withoutNext(f func()) {
	s.t.Helper()
	s.cmd.Process.Signal(unix.SIGSTOP)
	machine.WaitUntil(s.t, "the supervisor has stopped", func() bool { return isStopped(s.cmd.Process.Pid) })
	defer s.cmd.Process.Signal(unix.SIGCONT)
	f()
}

const eviocgrab = 0x40044590

// muted tells if kbdd has the keyboard grabbed; see awaitTaken for when its keys are heard. To try to grab it would tell too, and
// at times keep kbdd from it.
func muted(t testing.TB, node string) bool {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return isGrabbed(fd)
}

// TestReaderOutlivesKbdd has kbdd end in every way while one program waits in read(2), one in poll(2), and one has bytes to
// read: they go on, and the console has the keyboard meanwhile.
func TestReaderOutlivesKbdd(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.NewUinput(t, machine.UinputConfig{Name: "typist"})
	s := startSupervised(t)
	waiting, polling, late := startReaderIn(t, "read, and nothing else"), startReaderIn(t, "poll"), openDescriptor(t, os.O_RDONLY)
	typed := ""     // on the console, while no kbdd ran
	interrupts := 0 // at most, in poll(2): one for each change
	for i, end := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGABRT, unix.SIGKILL, unix.SIGKILL} {
		t.Run(fmt.Sprint(i, " ", unix.SignalName(end)), func(t *testing.T) {
			keyboard.Type("a")
			waiting.want("1e 9e")
			polling.want("1e 9e")
			keyboard.Press(machine.KeyLeftShift) // held over the change
			waiting.want("2a")
			polling.want("2a")
			if end == unix.SIGTERM {
				s.signal(end)
			} else {
				typed += "x"
				s.withoutNext(func() {
					s.signal(end)
					machine.WaitUntil(t, "the keyboard is given back", func() bool { return !muted(t, keyboard.Node()) })
					keyboard.Type("x")
					wantScreen(t, tty, typed)
				})
			}
			s.awaitReady()
			interrupts++
			if n := polling.interrupts.Load(); int(n) > interrupts {
				t.Errorf("poll(2) was interrupted %d times by %d changes of kbdd", n, interrupts)
			}
			waiting.want("aa")
			polling.want("aa")
			awaitTaken(t, keyboard.Node())
			keyboard.Release(machine.KeyLeftShift)
			keyboard.Type("b")
			waiting.want("30 b0")
			polling.want("30 b0")
			late.wantRead(6, "1e 9e 2a aa 30 b0")
		})
	}
	wantScreen(t, tty, typed)
	waiting.kill()
	polling.kill()
	late.close()
	machine.WaitUntil(t, "the keyboard is given back", func() bool { return !muted(t, keyboard.Node()) })
	keyboard.Type("c")
	wantScreen(t, tty, typed+"c")
}

func TestHungKbddIsReplaced(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "typist"})
	s := startSupervised(t)
	f := startReader(t)
	keyboard.Type("a")
	f.want("1e 9e")
	began := time.Now()
	s.signal(unix.SIGSTOP)
	s.awaitReady()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	awaitTaken(t, keyboard.Node())
	keyboard.Type("b")
	f.want("30 b0")
}

func TestSupervisorIsToldToReplaceKbdd(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "typist"})
	s := startSupervised(t)
	f := open(t, os.O_RDONLY)
	first := s.pid()
	s.cmd.Process.Signal(unix.SIGUSR2)
	s.awaitReady()
	if s.pid() == first {
		t.Error("it is the same kbdd still")
	}
	awaitTaken(t, keyboard.Node())
	keyboard.Type("b")
	f.want("30 b0")
}

func TestSupervisorTakesAllWithIt(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.NewUinput(t, machine.UinputConfig{Name: "typist"})
	s := startSupervised(t)
	r := startReader(t)
	s.signal(unix.SIGKILL)
	s.awaitReady()
	if err := s.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if line := r.line(); line != "read: no such device" {
		t.Errorf("the reader says %q", line)
	}
	if _, err := os.Stat(kbd0); err == nil {
		t.Error("the device stands still")
	}
	keyboard.Type("c")
	wantScreen(t, tty, "c")
}

// TestSupervisorKeepsNothingOfTheDead kills kbdd again and again: 8 times, or 20 where KBDD_KILLS is set, for the supervisor starts
// the next one ever later.
func TestSupervisorKeepsNothingOfTheDead(t *testing.T) {
	machine.Require(t)
	kills := 8
	if os.Getenv("KBDD_KILLS") != "" {
		kills = 20
	}
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "typist"})
	s := startSupervised(t)
	r := startReader(t)
	var first [2]int // the descriptors of the supervisor and of kbdd, after the first change
	for n := range kills {
		s.signal(unix.SIGKILL)
		s.awaitReady()
		awaitTaken(t, keyboard.Node())
		keyboard.Type("a")
		r.want("1e 9e")
		var now [2]int
		same := func() bool {
			now = [2]int{len(descriptors(s.cmd.Process.Pid)), len(descriptors(s.pid()))}
			return n == 0 || now[0] <= first[0] && now[1] <= first[1]
		}
		machine.WaitUntil(t, "there are no more descriptors than after the first change", same)
		if n == 0 {
			first = now
		}
	}
	t.Logf("%d descriptors of the supervisor, %d of kbdd", first[0], first[1])
}

// TestStoppedSupervisorHarmsNobody has kbdd go on while its supervisor is stopped.
func TestStoppedSupervisorHarmsNobody(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.NewUinput(t, machine.UinputConfig{Name: "typist"})
	s := startSupervised(t)
	r := startReader(t)
	s.withoutNext(func() {
		keyboard.Type("a")
		r.want("1e 9e")
		r.kill()
		machine.WaitUntil(t, "the keyboard is given back", func() bool { return !muted(t, keyboard.Node()) })
		keyboard.Type("b")
		wantScreen(t, tty, "b")
		r = startReader(t)
		keyboard.Type("c")
		r.want("2e ae")
	})
	r.kill()
	machine.WaitUntil(t, "the keyboard is given back", func() bool { return !muted(t, keyboard.Node()) })
	keyboard.Type("d")
	wantScreen(t, tty, "bd")
	if err := s.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
}

func TestSupervisorEndsWithAKbddThatCannotStart(t *testing.T) {
	machine.Require(t)
	text, err := exec.Command("kbdd", "-supervise", "-config", "/none").CombinedOutput()
	if err == nil || !strings.Contains(string(text), "/none") {
		t.Errorf("%v: %s", err, text)
	}
}

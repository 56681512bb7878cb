package test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestReadersAreKilledInAndAfterEveryCall(t *testing.T) {
	machine.Require(t)
	kbdd := startKbdd(t)
	callers := startNursery(t)
	for _, c := range calls {
		withAndWithoutSecond(t, c.name, func(s *scene) {
			switch c.waits {
			case never:
				s.killAtAnyTime(callers, c)
			case forKbdd:
				s.killAsKbddSleeps(kbdd, callers, c)
			default:
				s.killAsKbddSleeps(kbdd, callers, c)
				s.killAsItWaits(callers, c)
			}
			if c.waits != unix.SYS_IOCTL { // no key ends that one
				s.killAfter(callers, c)
			}
		})
	}
}

// killAtAnyTime kills a process that makes the call on and on.
func (s *scene) killAtAnyTime(callers *nursery, c call) {
	s.t.Helper()
	v := callers.start(s.t, c, manyCalls)
	v.goOn()
	s.kill(v)
}

// killAsKbddSleeps kills a process in the call for certain: kbdd does not come to answer. The kernel lets the process go when the
// file is closed, for which it asks kbdd.
func (s *scene) killAsKbddSleeps(kbdd *daemon, callers *nursery, c call) {
	s.t.Helper()
	v := callers.start(s.t, c, oneCall)
	kbdd.stop()
	v.goOn()
	v.waitInAny()
	v.signal(unix.SIGKILL)
	kbdd.cmd.Process.Signal(unix.SIGCONT)
	s.kill(v)
}

// killAsItWaits kills a process whose call kbdd knows of, and does not answer before a key comes.
func (s *scene) killAsItWaits(callers *nursery, c call) {
	s.t.Helper()
	v := callers.start(s.t, c, oneCall)
	v.goOn()
	v.waitIn(c.waits)
	s.kill(v)
}

// killAfter kills a process whose call has ended.
func (s *scene) killAfter(callers *nursery, c call) {
	s.t.Helper()
	v := callers.start(s.t, c, oneCall)
	v.goOn()
	if c.waits >= 0 {
		v.waitIn(c.waits)
		s.types("h", "23 a3")
	}
	v.waitStopped("the call is done")
	s.kill(v)
}

// TestReadersAreKilledInOpen has a key held, for which an open waits.
func TestReadersAreKilledInOpen(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	callers := startNursery(t)
	keyboard.Press(machine.KeyA)
	v := callers.fork(t, calls[0], oneCall)
	v.waitIn(unix.SYS_OPENAT)
	v.kill()
	keyboard.Release(machine.KeyA)
	keyboard.Type("x")
	if got := withoutRepeats(tty.Text()); got != "ax" {
		t.Errorf("tty1 shows %q, want ax", got)
	}
}

// withoutRepeats is a text that a keyboard typed which repeats held keys.
func withoutRepeats(text string) string { return string(slices.Compact([]byte(text))) }

// TestReadersAreKilledInClose has a key held, for which the last close waits: for a while, or until it is released.
func TestReadersAreKilledInClose(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	callers := startNursery(t)
	for _, released := range []bool{false, true} {
		t.Run(fmt.Sprint("released is ", released), func(t *testing.T) {
			v := callers.start(t, closes, oneCall)
			keyboard.Press(machine.KeyA)
			v.goOn()
			v.waitIn(unix.SYS_CLOSE)
			v.signal(unix.SIGKILL)
			if released {
				keyboard.Release(machine.KeyA)
			}
			v.kill()
			if !released {
				tty.Clear() // the console has the keyboard, and the repeats of the key
				keyboard.Release(machine.KeyA)
			}
			keyboard.Type("x")
			if got := withoutRepeats(tty.Text()); got != "x" && (released || got != "ax") {
				t.Errorf("tty1 shows %q, want x", got)
			}
			tty.Clear()
		})
	}
}

// TestReaderIsKilledWithTheFileInASocket has the last reference to the file sent, and never received.
func TestReaderIsKilledWithTheFileInASocket(t *testing.T) {
	machine.Require(t)
	kbdd := startKbdd(t)
	callers := startNursery(t)
	withAndWithoutSecond(t, "its own socket", func(s *scene) {
		v := callers.start(s.t, sends, oneCall)
		v.goOn()
		v.waitStopped("the file is in the socket")
		s.types("h", "23 a3")
		v.kill()
		if s.second == nil {
			// The kernel empties the socket some time after the process has ended.
			machine.WaitUntil(s.t, "kbdd has no keyboard any more", func() bool {
				return !slices.ContainsFunc(descriptors(kbdd.cmd.Process.Pid), isInputNode)
			})
		}
		s.wantConsole()
	})
	withAndWithoutSecond(t, "another's socket", func(s *scene) {
		socket, err := sendAway(openFresh(s.t, os.O_RDONLY).fd)
		if err != nil {
			s.t.Fatal(err)
		}
		s.types("h", "23 a3")
		unix.Close(socket)
		s.wantConsole()
	})
}

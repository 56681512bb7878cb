package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestConsoleTypesAfterAProgramIsKilled(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	for _, test := range []struct {
		name  string
		waits bool // for keys
		start func(t testing.TB) *exec.Cmd
	}{
		{"showkey -s", true, nil},
		{"showkey -k", true, nil},
		{"dd bs=1 count=8", true, nil},
		{"hexdump -C", true, nil},
		{"python EpollSelector", true, func(t testing.TB) *exec.Cmd { return python(t, selectorProgram, "EpollSelector") }},
		{"kbd_mode", false, nil},
		{"kbd_mode -C /dev/kbd0", false, nil},
		{"setleds -L +num +caps +scroll", false, nil},
		{"kbdrate -r 30 -d 250", false, nil},
	} {
		if test.start == nil {
			args := strings.Fields(test.name)
			test.start = func(t testing.TB) *exec.Cmd { return program(t, args[0], args[1:]...) }
		}
		withAndWithoutSecond(t, test.name, func(s *scene) {
			s.kill(startOn(s.t, kbd0, test.start(s.t))) // at any time
			if test.waits {
				v := startOn(s.t, kbd0, test.start(s.t))
				machine.WaitUntil(s.t, "the program waits for keys", func() bool { return waitsForKeys(v.cmd.Process.Pid) })
				s.types("h", "23 a3")
				s.kill(v)
			}
		})
	}
}

// startOn starts a program with the device for its standard input, which nobody else has open then.
func startOn(t testing.TB, device string, cmd *exec.Cmd) *victim {
	t.Helper()
	v := startVictim(t, on(t, device, cmd))
	cmd.Stdin.(*os.File).Close()
	return v
}

// TestConsoleTypesAfterAToolHasDoneItsWork kills the shell that has the device open still, with what the tool has set on it. (kbd_mode sets the
// mode of a file that it opens itself.)
func TestConsoleTypesAfterAToolHasDoneItsWork(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	const led, rate = "LEDs", "rate"
	for command, sets := range map[string]string{
		"setleds -L +num +caps +scroll": led, "kbdrate -r 30 -d 250": rate, "kbd_mode -f -k": "",
		"kbd_mode": "", "kbd_mode -C /dev/kbd0": "", "dd bs=1 count=0": "",
	} {
		withAndWithoutSecond(t, command, func(s *scene) {
			cmd := on(s.t, kbd0, exec.Command("/bin/busybox", "sh", "-c", "/usr/bin/"+command+" && kill -STOP $$"))
			device := cmd.Stdin.(*os.File)
			v := startVictim(s.t, cmd)
			machine.WaitUntil(s.t, command+" is done", func() bool { return isStopped(v.cmd.Process.Pid) })
			switch sets {
			case led:
				if lit := s.keyboard.LEDs(); lit != machine.NumLock|machine.CapsLock|machine.ScrollLock {
					s.t.Errorf("the LEDs %#x are lit, want all", lit)
				}
			case rate:
				now := typematic{-1, -1} // stay as they are
				if err := ioctl(int(device.Fd()), KDKBDREP, &now); err != nil || now.delay != 250 || now.period < 30 || now.period > 37 {
					s.t.Errorf("keys repeat after %d ms each %d ms, %v; want 250 and 33", now.delay, now.period, err)
				}
			}
			device.Close()
			s.types("h", "23 a3")
			s.kill(v)
		})
	}
}

func TestTimeoutEndsAReader(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "timeout 2", func(s *scene) {
		begin := time.Now()
		v := startOn(s.t, kbd0, program(s.t, "timeout", "2", "/usr/bin/hexdump", "-C"))
		reader := onlyChild(s.t, v)
		machine.WaitUntil(s.t, "hexdump waits", func() bool { return waitsForKeys(reader) })
		s.types("h", "23 a3")
		var exit *exec.ExitError
		err := v.cmd.Wait()
		if took := time.Since(begin); !errors.As(err, &exit) || exit.ExitCode() != 124 || took < 2*time.Second {
			s.t.Errorf("timeout ends with %v after %v, want 124 after 2 s", err, took)
		}
		s.wantConsole()
	})
}

// TestTimeoutAndItsReaderAreKilled kills timeout first, which leaves the reader; and then that.
func TestTimeoutAndItsReaderAreKilled(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "timeout and hexdump", func(s *scene) {
		v := startOn(s.t, kbd0, program(s.t, "timeout", "1000", "/usr/bin/hexdump", "-C"))
		reader := onlyChild(s.t, v)
		machine.WaitUntil(s.t, "hexdump waits", func() bool { return waitsForKeys(reader) })
		before := bytesRead(s.t, reader)
		v.kill()
		for n := range 2 {
			s.types("h", "23 a3")
			machine.WaitUntil(s.t, "hexdump reads on", func() bool { return bytesRead(s.t, reader) == before+2*(n+1) })
			wantScreen(s.t, s.tty, "")
		}
		unix.Kill(reader, unix.SIGKILL)
		machine.WaitUntil(s.t, "hexdump is gone", func() bool { return unix.Kill(reader, 0) == unix.ESRCH })
		s.wantConsole()
	})
}

// onlyChild waits for a process's child.
func onlyChild(t testing.TB, v *victim) (pid int) {
	t.Helper()
	machine.WaitUntil(t, "the process has a child", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", v.cmd.Process.Pid))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil
	})
	return pid
}

package test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A nursery is a process that forks callers. For each to be a program of its own would take most of the test's time.
type nursery struct {
	t       testing.TB
	process *victim
	orders  io.Writer
}

func startNursery(t testing.TB) *nursery {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_NURSERY=1")
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	return &nursery{t, startVictim(t, cmd), orders}
}

// A test's process is its nursery too.
func init() {
	if _, ok := os.LookupEnv("TEST_NURSERY"); ok {
		go nurseryMain() // this very goroutine is bound to its thread before main begins
		select {}
	}
}

// nurseryMain forks a caller for each line that says what it is to do, and prints its number.
//
// Callers have the thread that forks them, and no other of the runtime's: nothing in them may wait for those. So there is no
// collector; no goroutine that is bound to a thread, since the scheduler would hand its work to another; and calls are raw that
// let time pass, so that no thread looks for work, under locks, while one forks.
func nurseryMain() {
	debug.SetGCPercent(-1)
	for order := make([]byte, 256); ; {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, 0, uintptr(unsafe.Pointer(&order[0])), uintptr(len(order)))
		if n == 0 || errno != 0 {
			os.Exit(0)
		}
		// The caller becomes a child of who has started this process.
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && pid == 0 {
			what, name, _ := strings.Cut(strings.TrimSpace(string(order[:n])), " ")
			callerMain(what, callNamed(name))
		}
		answer := fmt.Appendln(nil, pid, errno)
		unix.RawSyscall(unix.SYS_WRITE, 1, uintptr(unsafe.Pointer(&answer[0])), uintptr(len(answer)))
	}
}

// What a caller does once it has the device open.
const (
	oneCall   = "once"
	manyCalls = "ever"
)

// callerMain is a process that opens the device, stops itself, makes the call, once or on and on, and stops itself again.
func callerMain(what string, c call) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, c.flags, 0) })
	for err == nil {
		unix.Kill(unix.Getpid(), unix.SIGSTOP)
		for again := true; again && err == nil; again = what == manyCalls {
			_, err = uninterrupted(func() (int, error) { return 0, c.do(fd) })
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", c.name, err)
	os.Exit(1)
}

// A caller is a process that makes a call and is killed.
type caller struct {
	t   testing.TB
	pid int
}

// fork makes a process that opens the device.
func (n *nursery) fork(t testing.TB, c call, what string) *caller {
	t.Helper()
	fmt.Fprintln(n.orders, what, c.name)
	v := &caller{t: t}
	answer := result(t, n.process.lines)
	if _, err := fmt.Sscan(answer, &v.pid); err != nil || v.pid <= 0 {
		t.Fatalf("the nursery says %s", answer)
	}
	t.Cleanup(func() {
		if v.pid > 0 {
			unix.Kill(v.pid, unix.SIGKILL)
		}
	})
	return v
}

// start makes a process that has opened the device, and does not go on before it is told.
func (n *nursery) start(t testing.TB, c call, what string) *caller {
	t.Helper()
	v := n.fork(t, c, what)
	v.waitStopped("the process has the device open")
	return v
}

// waitStopped waits until the process has stopped itself.
func (v *caller) waitStopped(why string) {
	v.t.Helper()
	machine.WaitUntil(v.t, why, func() bool {
		status, ok := v.status()
		if ok && !status.Stopped() {
			v.t.Fatalf("the process has ended: %#x", status)
		}
		return ok
	})
}

// status is what has become of the process, if that is news.
func (v *caller) status() (status unix.WaitStatus, ok bool) {
	v.t.Helper()
	pid, err := uninterrupted(func() (int, error) { return unix.Wait4(v.pid, &status, unix.WNOHANG|unix.WUNTRACED, nil) })
	if err != nil {
		v.t.Fatalf("wait4: %v", err)
	}
	return status, pid != 0
}

func (v *caller) signal(sig unix.Signal) {
	v.t.Helper()
	if err := unix.Kill(v.pid, sig); err != nil {
		v.t.Fatal(err)
	}
}

// goOn lets a process go on that has stopped itself.
func (v *caller) goOn() {
	v.t.Helper()
	v.signal(unix.SIGCONT)
}

// waitIn waits until the process waits in a system call.
func (v *caller) waitIn(number int) {
	v.t.Helper()
	machine.WaitUntil(v.t, "the process waits", func() bool { return inCall(fmt.Sprint("/proc/", v.pid), number) })
}

// waitInAny waits until the process waits in any system call but the one by which it has stopped itself.
func (v *caller) waitInAny() {
	v.t.Helper()
	machine.WaitUntil(v.t, "the process waits", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", v.pid))
		return err == nil && text[0] >= '0' && text[0] <= '9' && !strings.HasPrefix(string(text), fmt.Sprint(unix.SYS_KILL, " "))
	})
}

func (v *caller) kill() {
	v.t.Helper()
	v.signal(unix.SIGKILL)
	machine.WaitUntil(v.t, "the process that was killed is reaped", func() bool {
		status, ok := v.status()
		return ok && status.Signaled()
	})
	v.pid = 0
}

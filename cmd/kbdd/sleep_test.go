package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/test/machine"
)

func TestThreadThatBeganAfterAPollIsAnother(t *testing.T) {
	began := time.Now()
	time.Sleep(20 * time.Millisecond) // two ticks of the clock that the kernel tells by
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	if pid := uint32(child.Process.Pid); !isYounger(pid, time.Since(began)) {
		t.Error("a thread is taken to have been there before it was made")
	}
	if isYounger(uint32(os.Getppid()), time.Since(began)) {
		t.Error("a thread that was there is taken for a new one")
	}
	if !isYounger(1<<22+1, 0) {
		t.Error("a thread that cannot be is there")
	}
}

func TestStoppedThreadIsSeen(t *testing.T) {
	pid := startProgram(t)
	if isStopped(pid) {
		t.Error("a program that runs is taken to be stopped")
	}
	stopProgram(t, pid)
	if !isStopped(pid) {
		t.Error("a program that is stopped is taken to run")
	}
}

func TestProgramThatSomebodyElseHasGoOnIsStoppedAgain(t *testing.T) {
	pid, began := startProgram(t), time.Now()
	waiters := func() []cuse.Waiter { return []cuse.Waiter{{Thread: uint32(pid), Since: time.Now()}} }
	s := stopper{waiters: waiters, store: &store{log: slog.New(slog.DiscardHandler)}, stopped: make(map[int]bool)}
	time.Sleep(time.Until(began.Add(20 * time.Millisecond))) // it is older than its wait, in ticks of the kernel's clock
	for range 3 {
		s.stop()
		if !isStopped(pid) {
			t.Fatal("a program that waits is not stopped")
		}
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	s.resume()
	if isStopped(pid) {
		t.Error("the program does not go on")
	}
}

// TestProgramOfWhichNothingWasHeardYetIsStopped has one wait whose read(2) was not read from the kernel yet.
func TestProgramOfWhichNothingWasHeardYetIsStopped(t *testing.T) {
	pid, began := startProgram(t), time.Now()
	time.Sleep(time.Until(began.Add(20 * time.Millisecond)))
	looks := 0
	f := newFollower(t, func() []cuse.Waiter {
		if looks++; looks < 3 {
			return nil
		}
		return []cuse.Waiter{{Thread: uint32(pid), Since: time.Now()}}
	}, func() bool { return !isStopped(pid) })
	f.stop()
	if !isStopped(pid) {
		t.Error("the machine may suspend, and a program waits")
	}
	f.stopper.resume()
}

// TestProgramThatHasItsAnswerMeanwhileIsStopped has kbdd hear of it and answer it right before the kernel is asked: it may read on.
func TestProgramThatHasItsAnswerMeanwhileIsStopped(t *testing.T) {
	pid, began := startProgram(t), time.Now()
	time.Sleep(time.Until(began.Add(20 * time.Millisecond)))
	var known []cuse.Waiter
	f := newFollower(t, func() []cuse.Waiter { return known }, func() bool {
		known = []cuse.Waiter{{Thread: uint32(pid), Since: time.Now()}}
		return false
	})
	f.stop()
	if !isStopped(pid) {
		t.Error("the machine may suspend, and a program is about to wait")
	}
	f.stopper.resume()
}

// TestAllThreadsOfAProgramHaveStopped has the thread that is known to wait stop at once, and another one not: in vfork(2), until a
// lease on the program that it starts is given up.
func TestAllThreadsOfAProgramHaveStopped(t *testing.T) {
	leased := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(leased, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGIO) // which tells that somebody opens it
	defer signal.Reset(unix.SIGIO)
	lease, err := os.Open(leased)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Close()
	if _, err := unix.FcntlInt(lease.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	child, began := exec.Command(os.Args[0]), time.Now()
	child.Env = append(os.Environ(), "KBDD_TEST_CHILD=starts "+leased)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer lease.Close()
	defer child.Process.Kill()
	pid := child.Process.Pid
	machine.WaitUntil(t, "the lease is asked for", func() bool {
		kind, err := unix.FcntlInt(lease.Fd(), unix.F_GETLEASE, 0)
		return err != nil || kind != unix.F_WRLCK
	})
	time.Sleep(time.Until(began.Add(20 * time.Millisecond)))

	f := newFollower(t, func() []cuse.Waiter { return []cuse.Waiter{{Thread: uint32(pid), Since: time.Now()}} }, func() bool { return false })
	stopped := make(chan string, 1)
	go func() {
		f.stop()
		stopped <- threadStates(pid)
	}()
	machine.WaitUntil(t, "a thread has stopped", func() bool { return strings.Contains(threadStates(pid), "T") })
	select {
	case states := <-stopped:
		t.Errorf("the machine may suspend, and the threads of a program are %s", states)
	case <-time.After(50 * time.Millisecond):
		lease.Close()
		if states := <-stopped; strings.Trim(states, "T") != "" {
			t.Errorf("the machine may suspend, and the threads of a program are %s", states)
		}
	}
	f.stopper.resume()
}

// threadStates are the letters of proc_pid_stat(5), one a thread.
func threadStates(pid int) (states string) {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		number, _ := strconv.Atoi(thread.Name())
		if fields, err := stat(uint32(number)); err == nil {
			states += fields[0]
		}
	}
	return states
}

func TestMachineMaySuspendThoughAProgramDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, func() []cuse.Waiter { return nil }, func() bool { return true })
		began := time.Now()
		f.stop()
		if took := time.Since(began); took < stopLimit || took > 2*stopLimit {
			t.Errorf("it was waited for it for %v", took)
		}
	})
}

// newFollower is one whose inhibitor it may close.
func newFollower(t *testing.T, waiters func() []cuse.Waiter, unanswered func() bool) *follower {
	delay, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	log := slog.New(slog.DiscardHandler)
	return &follower{
		sleeper: &sleeper{log: log, unanswered: unanswered, sleeping: func(bool) {}},
		stopper: stopper{waiters: waiters, store: &store{log: log}, stopped: make(map[int]bool)},
		delay:   delay,
	}
}

// startProgram starts one that ends with the test.
func startProgram(t *testing.T) (pid int) {
	t.Helper()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		child.Process.Kill()
		child.Wait()
	})
	return child.Process.Pid
}

// stopProgram stops a child, and returns when it has stopped.
func stopProgram(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the child did not stop: %v, %v", status, err)
	}
}

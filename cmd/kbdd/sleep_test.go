package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	pid := child.Process.Pid
	if isStopped(uint32(pid)) {
		t.Error("a program that runs is taken to be stopped")
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the child did not stop: %v, %v", status, err)
	}
	if !isStopped(uint32(pid)) {
		t.Error("a program that is stopped is taken to run")
	}
}

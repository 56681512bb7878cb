package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A running kbdd.
type running interface {
	pid() int     // of the process that serves
	said() string // its log
	kill()        // ends it, and who would start it again
}

// A kept kbdd has a parent that keeps its devices, and starts the next one: its readers go on, and while it does not run the console
// types.
type kept interface {
	running
	awaitReady() // waits until one more is ready
	starts() int // how often one was ready
	// exhaust has it run out of memory.
	exhaust(k *killing)
	// finish ends the try.
	finish(k *killing)
}

// killKeptCases are the faults of a kept kbdd, but for its panics.
func killKeptCases(by parents) []killCase {
	kbdd := map[parents]string{supervisor: "supervised kbdd: ", systemd: "kbdd: "}[by]
	return []killCase{
		{name: kbdd + "SIGKILL", until: untilRead, try: killKept(signalKbdd(unix.SIGKILL))},
		{name: kbdd + "SIGSTOP", until: untilRead, short: -1, try: killKept(signalKbdd(unix.SIGSTOP))},
		{name: kbdd + "out of memory", until: untilRead, begin: limitMemory, try: killKept(func(k *killing, kbdd kept) { kbdd.exhaust(k) })},
		{name: kbdd + "/dev/cuse aborted", try: killKeptByAbort},
	}
}

const untilRead = "until the next one has the reader read"

func signalKbdd(sig unix.Signal) func(k *killing, kbdd kept) {
	return func(k *killing, kbdd kept) {
		if err := unix.Kill(kbdd.pid(), sig); err != nil {
			k.Error(err)
		}
	}
}

// startKept is a kept kbdd for this try.
func (k *killing) startKept() kept {
	k.Helper()
	if k.unit != nil {
		k.lastingKbdd()
		return k.unit
	}
	return startSupervisedWith(k, k.enterCgroup(), k.config...)
}

// killKept is a try whose fault is the end of a kept kbdd.
func killKept(fault func(k *killing, kbdd kept)) func(k *killing) time.Duration {
	return func(k *killing) time.Duration {
		kbdd := k.startKept()
		k.read(startReader(k))
		took := k.outlive(kbdd, func() { fault(k, kbdd) })
		k.killReader()
		kbdd.finish(k)
		return took
	}
}

// outlive has a kbdd end whose reader the next one goes on with. It returns how long it took until that reads.
func (k *killing) outlive(kbdd kept, fault func()) time.Duration {
	k.Helper()
	k.lives = true
	old, before := kbdd.pid(), kbdd.starts()
	var restarted atomic.Bool
	free, ready := 0, 0 // the numbers of the first characters that were typed to no kbdd, and to the next one
	took := k.strike(func() {
		fault()
		k.awaitEnd(old)
		k.orphan.Store(true)
		kbdd.awaitReady()
		restarted.Store(true)
		k.orphan.Store(false)
	}, func() bool {
		k.consoleTypes()
		if free == 0 && (k.orphan.Load() || restarted.Load()) {
			free = k.typist.next
		}
		if !restarted.Load() {
			return false
		}
		k.hear()
		if ready == 0 {
			ready, k.resumed, k.from = k.typist.next, len(k.stream.text), k.typist.next
		}
		return k.heard() >= ready
	})
	k.typeUntilHeard()
	k.wantGap(free)
	if n := k.reader.interrupts.Load(); n > 1 {
		k.Errorf("the reader was interrupted %d times by one change of kbdd", n)
	}
	if n := kbdd.starts() - before; n != 1 {
		k.Errorf("kbdd was started %d times again", n)
	}
	return took
}

// outliveUnread has a kbdd end that has no reader, or none that lives on. It returns how long it took until the console types, after the
// next one is ready.
func (k *killing) outliveUnread(kbdd kept, fault func()) time.Duration {
	k.Helper()
	old := kbdd.pid()
	var over atomic.Bool
	took := k.strike(func() {
		fault()
		k.awaitEnd(old)
		kbdd.awaitReady()
		k.endHung()
		if k.reader != nil {
			k.bury()
			k.reader = nil
		}
		k.awaitIdle(kbdd)
		over.Store(true)
	}, k.typesAfter(over.Load))
	k.wantConsole()
	return took
}

// awaitIdle waits until kbdd has no keyboard.
func (k *killing) awaitIdle(kbdd running) {
	k.Helper()
	machine.WaitUntil(k, "kbdd has no keyboard", func() bool {
		for _, target := range descriptors(kbdd.pid()) {
			if isInputNode(target) {
				return false
			}
		}
		return true
	})
}

// awaitEnd waits until a process has ended.
func (k *killing) awaitEnd(pid int) {
	k.Helper()
	machine.WaitUntil(k, "kbdd has ended", func() bool { return hasEnded(pid) })
}

// hasEnded tells if a process has ended and is buried: all its threads have, and it has no descriptor any more.
func hasEnded(pid int) bool {
	_, err := os.Stat(fmt.Sprint("/proc/", pid))
	return err != nil
}

// killKeptByAbort ends the device as well, and with it the reader.
func killKeptByAbort(k *killing) time.Duration {
	kbdd := k.startKept()
	k.read(startReader(k))
	took := k.strike(func() {
		abortCUSE(k, nil)
		kbdd.awaitReady()
	}, k.consoleTypes)
	k.bury()
	k.wantConsole()
	k.stream = killStream{}
	k.read(startReader(k))
	k.join()
	k.killReader()
	kbdd.finish(k)
	return took
}

func (s *supervised) starts() int { return strings.Count(s.said(), "msg=ready") }

// finish ends kbdd and its supervisor.
func (s *supervised) finish(k *killing) {
	k.Helper()
	if err := s.end(unix.SIGTERM); err != nil {
		k.Errorf("the supervisor ends with %v", err)
	}
}

// exhaust has the kernel prefer kbdd to its supervisor, which is in the same cgroup.
func (s *supervised) exhaust(k *killing) {
	for pid, score := range map[int]string{s.cmd.Process.Pid: "-1000", s.pid(): "1000"} {
		if err := os.WriteFile(filepath.Join("/proc", fmt.Sprint(pid), "oom_score_adj"), []byte(score), 0); err != nil {
			k.Error(err)
		}
	}
	k.cgroup.exhaust(k)
}

// killSupervisorCase is the end of the supervisor, with which kbdd ends.
var killSupervisorCase = killCase{name: "supervisor: SIGKILL", try: func(k *killing) time.Duration {
	s := startSupervised(k)
	k.read(startReader(k))
	kbdd := s.pid()
	took := k.strike(func() {
		s.kill()
		k.awaitEnd(kbdd)
	}, k.consoleTypes)
	k.bury() // it has read an error
	k.wantConsole()
	return took
}}

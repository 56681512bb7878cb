package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// A machine does not suspend while a program waits in read(2) or poll(2) for a device in user space: the kernel cannot
// freeze a program whose request is with a server that is frozen already, and gives up after 20 s. So the programs that
// wait are stopped before logind suspends, and go on afterwards. They see nothing of it but an EINTR; a shell with job control whose
// job they are sees them stop, and has the terminal then.

const (
	// stopLimit is how long it is waited for programs to stop.
	stopLimit = time.Second
	// stopEvery is how often it is looked for programs that have begun to wait since.
	stopEvery = 20 * time.Millisecond
	// askEvery is how often logind is asked meanwhile if it is so still.
	askEvery = time.Second
	// sleepLimit is how long a machine may be about to suspend, or to resume, without the time that it sleeps: Go's clock stands
	// still then. To freeze the programs takes the kernel 20 s at most.
	sleepLimit = time.Minute
)

// A sleeper has the machine suspend though programs wait.
type sleeper struct {
	log        *slog.Logger
	waiters    func() []cuse.Waiter // the programs
	unanswered func() bool          // tells if a program waits for an answer, also one that kbdd does not know of yet
	store      *store
	sleeping   func(bool) // called before the machine suspends and after
	begun      token      // is put when kbdd has come into use
}

// run follows logind until ctx ends. Where there is none it looks again when kbdd comes into use, so that an idle kbdd
// need not wake; where it has gone, some times more in the two minutes after.
func (s *sleeper) run(ctx context.Context) {
	const tries = 7
	said, left := "", 0
	for ctx.Err() == nil {
		followed, err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if followed {
			said, left = "", tries
		}
		if err.Error() != said {
			s.log.Info("a program that waits for a key keeps this machine from suspending: logind cannot be asked", "err", err)
			said = err.Error()
		}
		var again <-chan time.Time
		if left > 0 {
			again = time.After(time.Second << (tries - left))
			left--
		}
		select {
		case <-ctx.Done():
		case <-again:
		case <-s.begun:
		}
	}
}

// follow stops the programs that wait when logind is about to suspend, until ctx ends or logind cannot be heard any more. It
// tells if it was heard.
func (s *sleeper) follow(ctx context.Context) (followed bool, err error) {
	logind, err := connectLogind(ctx)
	if err != nil {
		return false, err
	}
	defer logind.bus.Close()
	f := follower{sleeper: s, logind: logind, stopper: stopper{waiters: s.waiters, store: s.store, stopped: make(map[int]bool)}}
	if f.delay, err = logind.inhibit(); err != nil {
		return false, err
	}
	defer f.end()
	// An earlier kbdd may have ended in the middle of it.
	if already, err := logind.suspends(ctx); err == nil && already {
		f.stop()
	}
	for err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-logind.bus.Context().Done():
			err = errors.New("logind: the system bus is gone")
		case begins := <-logind.sleeps:
			if begins {
				f.stop()
			} else {
				err = f.resume()
			}
		case <-f.more:
			err = f.stopMore(ctx)
		}
	}
	return true, err
}

// A follower is a sleeper that logind is heard by.
type follower struct {
	*sleeper
	logind *logind
	delay  *os.File // the inhibitor; closed while the machine is about to suspend; nil: logind has given none

	stopper      stopper
	more         <-chan time.Time // ticks while the machine is about to suspend
	began, asked time.Time        // when that began, and when logind was asked about it last
}

// stop stops the programs for a machine that is about to suspend, and then lets it. One may have asked for something of which kbdd
// has not heard yet, or do so with another thread while it is being stopped.
func (f *follower) stop() {
	f.sleeping(true)
	for deadline := time.Now().Add(stopLimit); ; time.Sleep(time.Millisecond) {
		unanswered := f.unanswered() // before those are stopped that are known: who has an answer is one of them
		f.stopper.stop()
		if !unanswered || time.Now().After(deadline) {
			break
		}
	}
	f.log.Info("machine is about to suspend; programs that wait for a key are stopped", "programs", len(f.stopper.stopped))
	f.more, f.began, f.asked = time.Tick(stopEvery), time.Now(), time.Now()
	f.delay.Close()
}

// stopMore stops those that have begun to wait since, and has all go on if the machine no longer suspends: the word of that may
// not come, where logind has ended or has lost itself.
func (f *follower) stopMore(ctx context.Context) error {
	f.stopper.stop()
	if time.Since(f.asked) < askEvery {
		return nil
	}
	f.asked = time.Now()
	if suspends, err := f.logind.suspends(ctx); err != nil || !suspends || time.Since(f.began) > sleepLimit {
		return f.resume()
	}
	return nil
}

// resume has the programs go on, for a machine that has resumed. That may be known already.
func (f *follower) resume() (err error) {
	if f.more == nil && f.delay != nil {
		return nil
	}
	f.end()
	f.more = nil
	f.delay, err = f.logind.inhibit()
	return err
}

// end has the programs go on.
func (f *follower) end() {
	f.sleeping(false)
	f.stopper.resume()
	f.delay.Close()
}

// A stopper stops programs and has them go on.
type stopper struct {
	waiters func() []cuse.Waiter
	store   *store
	stopped map[int]bool // the processes that were stopped here
}

// stop stops all programs that wait now, and waits until they have stopped, for stopLimit at most. One that somebody has had go
// on since is stopped again.
func (s *stopper) stop() {
	var stopping []int
	for _, w := range s.waiters() {
		process, err := processOf(w.Thread)
		if err != nil || isYounger(w.Thread, time.Since(w.Since)) || slices.Contains(stopping, process) || isStopped(process) {
			continue
		}
		if !s.stopped[process] {
			s.store.keepStopped(process)
		}
		if isStopped(process) || unix.Kill(process, unix.SIGSTOP) != nil { // somebody else has, or it is gone
			if !s.stopped[process] {
				s.store.forgetStopped(process)
			}
			continue
		}
		s.stopped[process] = true
		stopping = append(stopping, process)
	}
	deadline := time.Now().Add(stopLimit)
	for _, process := range stopping {
		for !isStopped(process) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}

// resume has those go on that were stopped here.
func (s *stopper) resume() {
	for process := range s.stopped {
		unix.Kill(process, unix.SIGCONT)
		s.store.forgetStopped(process)
	}
	clear(s.stopped)
}

// processOf is the process that a thread is of.
func processOf(thread uint32) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\nTgid:\t"))
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.Atoi(string(number))
}

// isStopped tells if a process is stopped, or gone: all of its threads. Each stops by itself, and another than the last one that
// waited may be about to (Go has its goroutines change threads).
func isStopped(process int) bool {
	// These are all there will be: one that is about to stop makes no thread (kernel/fork.c, copy_process).
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", process))
	for _, thread := range threads {
		number, _ := strconv.ParseUint(thread.Name(), 10, 32)
		if fields, err := stat(uint32(number)); err == nil && len(fields) > 0 && !strings.Contains("TtZX", fields[0]) {
			return false
		}
	}
	return true
}

// isYounger tells if a thread has not been there for so long. One that polled then has ended, and its number is another's.
func isYounger(thread uint32, age time.Duration) bool {
	const startTime, ticksPerSecond = 19, 100 // proc_pid_stat(5), field 22; USER_HZ
	fields, err := stat(thread)
	if err != nil || len(fields) <= startTime {
		return true
	}
	ticks, err := strconv.ParseInt(fields[startTime], 10, 64)
	var now unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return true
	}
	return ticks*(1e9/ticksPerSecond) > now.Nano()-int64(age)
}

// stat is what /proc/PID/stat tells, from its third field on: the second, a name, may hold anything.
func stat(thread uint32) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", thread))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])), nil
}

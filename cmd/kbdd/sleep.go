package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// A machine does not suspend while a program waits in read(2) or poll(2) for a device in user space: the kernel cannot
// freeze a program whose request is with a server that is frozen already, and gives up after 20 s. So the programs that
// wait are stopped before logind suspends, and go on afterwards. In the meantime they see nothing but an EINTR.

const (
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
	log      *slog.Logger
	waiters  func() []cuse.Waiter // the programs
	store    *store
	sleeping func(bool)    // called before the machine suspends and after
	begun    chan struct{} // has a token when kbdd has come into use
}

// begin tells that kbdd is in use from now on. It does not wait.
func (s *sleeper) begin() {
	select {
	case s.begun <- struct{}{}:
	default:
	}
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
	delay, err := logind.inhibit()
	if err != nil {
		return false, err
	}
	defer func() { delay.Close() }()

	stopper := stopper{waiters: s.waiters, store: s.store, stopped: make(map[int]bool)}
	defer stopper.resume()
	defer s.sleeping(false)
	var (
		more         <-chan time.Time // ticks while the machine is about to suspend
		began, asked time.Time
	)
	suspends := func(begins bool) (err error) {
		s.sleeping(begins)
		if begins {
			stopper.stop()
			s.log.Info("machine is about to suspend; programs that wait for a key are stopped", "programs", len(stopper.stopped))
			more, began, asked = time.Tick(stopEvery), time.Now(), time.Now()
			delay.Close() // it may be nil, or closed
			return nil
		}
		if more == nil && delay != nil { // it is known already
			return nil
		}
		more = nil
		stopper.resume()
		delay, err = logind.inhibit()
		return err
	}
	// An earlier kbdd may have ended in the middle of it.
	if already, err := logind.suspends(ctx); err == nil && already {
		if err := suspends(true); err != nil {
			return true, err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-logind.bus.Context().Done():
			return true, errors.New("logind: the system bus is gone")
		case begins := <-logind.sleeps:
			err = suspends(begins)
		case <-more:
			stopper.stop()
			if time.Since(asked) < askEvery {
				continue
			}
			// The word that it is over may not come: logind has ended, or has lost itself.
			asked = time.Now()
			if still, errAsk := logind.suspends(ctx); errAsk != nil || !still || time.Since(began) > sleepLimit {
				err = suspends(false)
			}
		}
		if err != nil {
			return true, err
		}
	}
}

// A stopper stops programs and has them go on.
type stopper struct {
	waiters func() []cuse.Waiter
	store   *store
	stopped map[int]bool // the processes that were stopped here
}

// stop stops all programs that wait now, and waits until they have stopped, for a second at most.
func (s *stopper) stop() {
	var stopping []uint32
	for _, w := range s.waiters() {
		if isStopped(w.Thread) || isYounger(w.Thread, time.Since(w.Since)) {
			continue
		}
		process, err := processOf(w.Thread)
		if err != nil {
			continue
		}
		if !s.stopped[process] {
			s.store.keepStopped(process)
			if isStopped(w.Thread) || unix.Kill(process, unix.SIGSTOP) != nil { // somebody else has, or it is gone
				s.store.forgetStopped(process)
				continue
			}
			s.stopped[process] = true
		}
		stopping = append(stopping, w.Thread)
	}
	deadline := time.Now().Add(time.Second)
	for _, thread := range stopping {
		for !isStopped(thread) && time.Now().Before(deadline) {
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

// isStopped tells if a thread is stopped, or gone.
func isStopped(thread uint32) bool {
	fields, err := stat(thread)
	return err != nil || len(fields) > 0 && strings.Contains("TtZX", fields[0])
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

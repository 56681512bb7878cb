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

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// A machine does not suspend while a program waits in read(2) or poll(2) for a device in user space: the kernel cannot
// freeze a program whose request is with a server that is frozen already, and gives up after 20 s. So the programs that
// wait are stopped before logind suspends, and go on afterwards. In the meantime they see nothing but an EINTR.

const logindName = "org.freedesktop.login1"

// stopEvery is how often it is looked for programs that have begun to wait since.
const stopEvery = 20 * time.Millisecond

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
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return false, err
	}
	defer bus.Close()
	logind := bus.Object(logindName, "/org/freedesktop/login1")
	signals := make(chan *dbus.Signal, 8)
	bus.Signal(signals)
	err = bus.AddMatchSignal(dbus.WithMatchSender(logindName),
		dbus.WithMatchInterface(logindName+".Manager"), dbus.WithMatchMember("PrepareForSleep"))
	if err != nil {
		return false, err
	}
	delay, err := inhibit(logind)
	if err != nil {
		return false, err
	}
	defer func() { delay.Close() }()

	stopper := stopper{waiters: s.waiters, store: s.store, stopped: make(map[int]bool)}
	defer stopper.resume()
	defer s.sleeping(false)
	var more <-chan time.Time
	suspends := func(begins bool) (err error) {
		s.sleeping(begins)
		if begins {
			stopper.stop()
			s.log.Info("machine is about to suspend; programs that wait for a key are stopped", "programs", len(stopper.stopped))
			more = time.Tick(stopEvery)
			delay.Close()
			return nil
		}
		more = nil
		stopper.resume()
		delay.Close() // logind may say so twice
		delay, err = inhibit(logind)
		return err
	}
	// An earlier kbdd may have ended in the middle of it.
	if already, err := logind.GetProperty(logindName + ".Manager.PreparingForSleep"); err == nil && already.Value() == true {
		if err := suspends(true); err != nil {
			return true, err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-more:
			stopper.stop()
		case sig, ok := <-signals:
			if !ok {
				return true, errors.New("logind: the system bus is gone")
			}
			var begins bool
			if !isOf(bus, sig, logindName) || dbus.Store(sig.Body, &begins) != nil {
				continue
			}
			if err := suspends(begins); err != nil {
				return true, err
			}
		}
	}
}

// isOf tells if a signal is of who has this name. Anybody on the bus may send us any signal, whatever we have asked for.
func isOf(bus *dbus.Conn, sig *dbus.Signal, name string) bool {
	var owner string
	err := bus.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, name).Store(&owner)
	return err == nil && owner == sig.Sender
}

// inhibit has logind wait with suspending until the file is closed, or for as long as its InhibitDelayMaxSec says.
func inhibit(logind dbus.BusObject) (*os.File, error) {
	var fd dbus.UnixFD
	err := logind.Call("org.freedesktop.login1.Manager.Inhibit", 0,
		"sleep", "kbdd", "to stop the programs that wait for a key", "delay").Store(&fd)
	if err != nil {
		return nil, fmt.Errorf("logind: %w", err)
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), "inhibitor"), nil
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
		if err != nil || s.stopped[process] {
			continue
		}
		s.store.keepStopped(process)
		if unix.Kill(process, unix.SIGSTOP) == nil {
			s.stopped[process] = true
			stopping = append(stopping, w.Thread)
		} else {
			s.store.forgetStopped(process)
		}
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

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// A kbdd that hangs with a keyboard muted is a dead keyboard, and only its end mends that: a watchdog outside of this
// process sends SIGKILL when it does not hear from it. It is told to watch only while there is something to lose; an idle
// kbdd never wakes.

// A watchdog is who kills kbdd where it hangs.
type watchdog interface {
	// alive tells that kbdd works; if it does not tell so again within the watchdog's limit, it is to be killed.
	alive()
	// rest tells that kbdd will be silent until the next alive.
	rest()
}

// A guard has the watchdog hear that kbdd works, while it does.
type guard struct {
	dog   watchdog                       // nil: nobody watches
	every time.Duration                  // how often; several times within the watchdog's limit
	check func() (inUse bool, err error) // does not return where kbdd hangs; error: part of it does
	log   *slog.Logger
	begun token // is put when kbdd has come into use

	mu     sync.Mutex
	asleep bool        // the machine suspends: nobody can tell anything; guarded by mu, as are calls of dog
	alive  bool        // what the dog was told last, or would have been; guarded by mu
	waking *time.Timer // ends asleep; guarded by mu
}

// watch has the guard of the watchdog that there is; where nobody watches it does nothing.
func watch(check func() (inUse bool, err error), log *slog.Logger) (*guard, error) {
	dog, limit, err := newWatchdog()
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return newGuard(dog, limit/3, check, log), nil
}

// newGuard is the guard for a dog, which may be nil.
func newGuard(dog watchdog, every time.Duration, check func() (bool, error), log *slog.Logger) *guard {
	return &guard{dog: dog, every: every, check: check, log: log, begun: newToken()}
}

// run tells the watchdog, from begun until check says that kbdd is no longer in use, and again.
func (g *guard) run(ctx context.Context) {
	if g.dog == nil {
		return
	}
	g.tell(false)
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.begun:
		}
		g.tell(true) // before the first check, which may be the one that hangs
		for g.isInUse() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(g.every):
			}
		}
		g.tell(false)
	}
}

// isInUse tells the watchdog that kbdd works, if it does, and whether it is in use still.
func (g *guard) isInUse() bool {
	inUse, err := g.check()
	switch {
	case err != nil:
		g.log.Error("kbdd hangs, and lets the watchdog end it if that lasts", "err", err)
	case inUse:
		g.tell(true)
	}
	return inUse || err != nil
}

func (g *guard) tell(alive bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alive = alive
	if alive && !g.asleep {
		g.dog.alive()
	} else {
		g.dog.rest()
	}
}

// sleep has the watchdog rest while the machine suspends, for sleepLimit at most: its clock may go on when kbdd is frozen
// already. Then it watches again, if it did: kbdd may have come to hang meanwhile, and would never tell that it is alive.
func (g *guard) sleep(asleep bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dog == nil || g.asleep == asleep { // to tell twice that it is over would feed the dog of a kbdd that hangs
		return
	}
	g.asleep = asleep
	if asleep {
		g.dog.rest()
		g.waking = time.AfterFunc(sleepLimit, func() { g.sleep(false) })
		return
	}
	g.waking.Stop()
	if g.alive {
		g.dog.alive()
	}
}

// newWatchdog is the watchdog that there is, and its limit; nil if nobody watches.
func newWatchdog() (watchdog, time.Duration, error) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil || limit == 0 {
		return nil, 0, err
	}
	return systemd{os.Getenv("NOTIFY_SOCKET"), limit}, limit, nil
}

// systemd is a watchdog (WatchdogSec=, WatchdogSignal=SIGKILL in the unit).
type systemd struct {
	socket string
	limit  time.Duration
}

// alive has the watch begin, if it has not, from now.
func (s systemd) alive() {
	s.notify(fmt.Sprintf("%s\nWATCHDOG_USEC=%d", daemon.SdNotifyWatchdog, s.limit.Microseconds()))
}

// rest ends the watch: for systemd no time is no limit (src/core/service.c, service_start_watchdog).
func (s systemd) rest() { s.notify("WATCHDOG_USEC=0") }

// notify tells systemd. What that does not hear it takes for silence.
func (s systemd) notify(state string) { _ = notify(s.socket, state) }

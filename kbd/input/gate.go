package input

import (
	"sync/atomic"
	"time"
)

// A gate is a lock for which one can wait no longer than one likes. It costs next to nothing while nobody waits. Who waits has
// no turn: another may lock it first.
type gate struct {
	locked  atomic.Bool
	waiting atomic.Int32  // how many wait
	freed   chan struct{} // has a token if it was unlocked since one of them last looked
}

func newGate() *gate { return &gate{freed: make(chan struct{}, 1)} }

func (g *gate) tryLock() bool { return g.locked.CompareAndSwap(false, true) }

func (g *gate) Lock() {
	if !g.tryLock() {
		g.lockBy(nil)
	}
}

func (g *gate) Unlock() {
	g.locked.Store(false)
	if g.waiting.Load() == 0 { // who waits from now on looks again, and finds it unlocked
		return
	}
	select {
	case g.freed <- struct{}{}:
	default:
	}
}

// lockWithin tells whether the gate is locked: not, if others have it for so long.
func (g *gate) lockWithin(limit time.Duration) bool {
	return g.tryLock() || g.lockBy(time.After(limit))
}

// lockBy is lockWithin, but waits until late.
func (g *gate) lockBy(late <-chan time.Time) bool {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	for !g.tryLock() {
		select {
		case <-g.freed:
		case <-late:
			return g.tryLock()
		}
	}
	return true
}

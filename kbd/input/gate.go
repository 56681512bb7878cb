package input

import (
	"sync/atomic"
	"time"
)

// A gate is a lock for which one can wait no longer than one likes. It costs next to nothing while nobody waits. Who waits has
// no turn: another may lock it first.
type gate struct {
	locked atomic.Bool
	freed  chan struct{} // has a token if it was unlocked since somebody last looked
}

func newGate() *gate { return &gate{freed: make(chan struct{}, 1)} }

func (g *gate) tryLock() bool { return g.locked.CompareAndSwap(false, true) }

func (g *gate) Lock() {
	for !g.tryLock() {
		<-g.freed
	}
}

func (g *gate) Unlock() {
	g.locked.Store(false)
	select {
	case g.freed <- struct{}{}:
	default:
	}
}

// lockWithin tells whether the gate is locked: not, if others have it for so long.
func (g *gate) lockWithin(limit time.Duration) bool {
	late := time.After(limit)
	for !g.tryLock() {
		select {
		case <-g.freed:
		case <-late:
			return false
		}
	}
	return true
}

package input

import "time"

// A gate is a lock for which one can wait no longer than one likes.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) Lock()   { g <- struct{}{} }
func (g gate) Unlock() { <-g }

// lockWithin tells whether the gate is locked: not, if somebody else has it for so long.
func (g gate) lockWithin(limit time.Duration) bool {
	select {
	case g <- struct{}{}:
		return true
	default:
	}
	select {
	case g <- struct{}{}:
		return true
	case <-time.After(limit):
		return false
	}
}

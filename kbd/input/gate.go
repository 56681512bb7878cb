package input

import "time"

// A gate is a lock for which one can wait no longer than one likes.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) Lock()   { g <- struct{}{} }
func (g gate) Unlock() { <-g }

// lockUntil tells whether the gate is locked: not, if somebody else still has it at the deadline.
func (g gate) lockUntil(deadline time.Time) bool {
	select {
	case g <- struct{}{}:
		return true
	default:
	}
	select {
	case g <- struct{}{}:
		return true
	case <-time.After(time.Until(deadline)):
		return false
	}
}

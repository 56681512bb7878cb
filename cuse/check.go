package cuse

import (
	"context"
	"time"
)

// Check returns when Serve has come round once and could take hold of every open file, which a server that hangs
// does not; it is for a watchdog. It asks nothing of the kernel: a request to a server by itself would be one more that
// hangs, and one that cannot be killed.
func (d *Device) Check(ctx context.Context) error {
	done := make(chan struct{})
	d.mu.Lock()
	d.checks = append(d.checks, done)
	d.mu.Unlock()
	// A time that is over gets Serve out of its read.
	if err := d.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-d.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checked is Serve's answer to Check.
func (d *Device) checked() {
	d.conn.SetReadDeadline(time.Time{}) // before the look at checks: one that is made meanwhile sets its own
	d.Waiters()                         // takes hold of every open file
	d.mu.Lock()
	checks := d.checks
	d.checks = nil
	d.mu.Unlock()
	for _, done := range checks {
		close(done)
	}
}

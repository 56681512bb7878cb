package cuse

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Check returns when Serve has nothing to do or has come round once, and every open file could be taken hold of, which is
// not so with a server that hangs; it is for a watchdog. It asks nothing of the kernel: a request to a server by itself
// would be one more that hangs, and one that cannot be killed.
func (d *Device) Check(ctx context.Context) error {
	if d.isIdle() {
		return nil
	}
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

// isIdle tells that Serve waits and has nothing to do, and that nobody has taken hold of a file. It wakes no thread. A Serve that
// takes a request at this moment may seem to wait: if it hangs in that, the next call sees it.
func (d *Device) isIdle() bool {
	if !d.sending.TryRLock() {
		return false
	}
	defer d.sending.RUnlock()
	if d.fd < 0 || !d.atRest.Load() {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n != 0 || err != nil {
		return false
	}
	if !d.mu.TryLock() {
		return false
	}
	defer d.mu.Unlock()
	for _, h := range d.handles {
		if !h.mu.TryLock() {
			return false
		}
		h.mu.Unlock()
	}
	return true
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

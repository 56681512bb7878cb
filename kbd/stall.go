package kbd

import "time"

// A reader that leaves codes unread for Settings.StallTimeout has its keyboard taken: it hangs, and the person at the
// keyboard must not.

// watchStallLocked sees that the file is looked at when its time may be up.
func (f *File) watchStallLocked(now time.Time) {
	limit := f.device.service.settings.StallTimeout
	if limit <= 0 || f.stallWatched || !f.listens || f.keyboard.Len() == 0 {
		return
	}
	f.stallWatched = true
	if f.readAt.Before(now) {
		f.readAt = now // until now there was nothing to read
	}
	time.AfterFunc(limit, f.checkStall)
}

// checkStall takes the keyboard from a file whose client has not read for too long.
func (f *File) checkStall() {
	s := f.device.service
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.settings.StallTimeout
	left := time.Until(f.readAt.Add(limit))
	switch {
	case f.closed || f.revoked || f.keyboard.Len() == 0 || limit <= 0:
		f.stallWatched = false
	case left > 0:
		time.AfterFunc(left, f.checkStall)
	default:
		s.Log.Warn("keyboard is taken from a reader that does not read",
			"device", f.device.name, "pid", f.opener.PID, "unread", f.keyboard.Len(), "limit", limit)
		f.revokeLocked()
		s.routeLocked()
		go s.settle()
	}
}

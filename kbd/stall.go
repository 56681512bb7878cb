package kbd

import "time"

// A reader that leaves codes unread for Settings.StallTimeout has its keyboard taken: it hangs, and the person at the
// keyboard must not.

// watchStallLocked sees that the file is looked at when its time may be up.
func (f *File) watchStallLocked(now time.Duration) {
	limit := f.device.service.settings.StallTimeout
	if limit <= 0 || !f.hearsLocked() || f.keyboard.Len() == 0 {
		return
	}
	if f.unreadSince == 0 {
		f.unreadSince = now
	}
	if !f.stallWatched {
		f.stallWatched = true
		time.AfterFunc(limit, f.checkStall)
	}
}

// refillLocked is called before something is queued: whatever has emptied the queue, what was unread is gone.
func (f *File) refillLocked() {
	if f.keyboard.Len() == 0 {
		f.unreadSince = 0
	}
}

// countReadLocked notes that the client has read.
func (f *File) countReadLocked() {
	switch {
	case f.unreadSince == 0:
	case f.keyboard.Len() == 0:
		f.unreadSince = 0
	default:
		f.unreadSince = clock()
	}
}

// checkStall takes the keyboard from a file whose client has not read for too long.
func (f *File) checkStall() {
	s := f.device.service
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.settings.StallTimeout
	left := f.unreadSince + limit - clock()
	if s.asleep {
		left = limit
	}
	switch {
	case f.unreadSince == 0 || !f.hearsLocked() || f.keyboard.Len() == 0 || limit <= 0:
		f.stallWatched, f.unreadSince = false, 0
	case left > 0:
		time.AfterFunc(left, f.checkStall)
	default:
		s.Log.Warn("keyboard is taken from a reader that does not read",
			"device", f.device.name, "pid", f.opener.PID, "unread", f.keyboard.Len(), "limit", limit)
		f.revokeLocked()
		s.routeLocked(nil)
		go s.settle()
	}
}

// Sleep tells that the machine is about to suspend, and after that, that it is not any more. Meanwhile no program can read, and
// none loses its keyboard for that.
func (s *Service) Sleep(asleep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep == asleep {
		return
	}
	s.asleep = asleep
	if asleep {
		return
	}
	now := clock()
	for _, d := range s.devicesLocked() {
		for _, f := range d.files {
			if f.unreadSince != 0 {
				f.unreadSince = now
			}
		}
	}
}

package kbd

import (
	"time"

	"kbdd/cuse"
	"kbdd/scancode"
)

// The way of a key, from the keyboard to the files.

// key takes one press or release of a keyboard to all who hear it. It runs in the thread that has read the key, which goes all
// the way to the clients' reads.
func (s *Service) key(p *port, key scancode.Key, pressed bool) {
	now := clock()
	s.mu.Lock()
	var act action
	on := s.settings.Chords
	if p.shared {
		on = Chords{} // the system hears all by itself
	}
	if !p.chord.idle() || on.starts(key) {
		act = p.chord.key(on, key, pressed, p.holdsLocked(ctrlKeys) && p.holdsLocked(altKeys))
	}
	var files []*File
	if !act.taken {
		files = p.keyLocked(now, key, pressed)
	}
	s.mu.Unlock()
	s.wake(now, files)
	if len(files) > 0 {
		s.countKey(now)
	}
	s.carryOut(p, act)
}

// holdsLocked tells if one of these keys is down, here or on another keyboard with the same listeners.
func (p *port) holdsLocked(keys keySet) bool {
	for key := range keys.all() {
		if p.chord.modifiers.has(key) || p.target != nil && p.target.down[key] > 0 {
			return true
		}
	}
	return false
}

// keyLocked has the port's target hear a press or release, and returns the files that have something new.
func (p *port) keyLocked(now time.Duration, key scancode.Key, pressed bool) []*File {
	if p.target == nil {
		return nil // on its way back to the console
	}
	if pressed && !p.down.add(key) || !pressed && !p.down.remove(key) {
		return nil
	}
	return p.target.keyLocked(now, key, pressed)
}

// lost tells all who hear a keyboard that it has lost keys.
func (s *Service) lost(p *port) {
	var files []*File
	s.mu.Lock()
	if p.target != nil {
		files = p.target.files
	}
	for _, f := range files {
		if f.hearsLocked() {
			f.refillLocked()
			f.keyboard.Overrun()
		}
	}
	s.mu.Unlock()
	s.wake(clock(), files)
}

// wake brings files what was queued for them.
func (s *Service) wake(now time.Duration, files []*File) {
	if len(files) == 0 {
		return
	}
	for _, f := range files {
		f.wake()
	}
	// The keys are on their way; what is left can cost a little.
	cuse.Yield()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		f.armLocked(now)
		f.watchStallLocked(now)
	}
}

// carryOut does what a chord is for.
func (s *Service) carryOut(p *port, act action) {
	if act.unraw {
		s.unraw(p)
	}
	switch {
	case s.Bypass != nil:
		for _, k := range act.bypass {
			s.Bypass.Key(uint16(k.key), k.pressed)
		}
	case s.Bypass == nil && act.terminal > 0:
		if err := s.Console.Activate(act.terminal); err != nil {
			s.Log.Warn("cannot switch terminal", "terminal", act.terminal, "err", err)
		}
	}
}

// unraw gives the person at a keyboard the console: all lose it who have it, and who would have it next. Those on other
// terminals keep what they have, as they do when a console is taken out of raw mode.
func (s *Service) unraw(p *port) {
	s.mu.Lock()
	for _, d := range []*Device{p.device, s.kbd0} {
		for _, f := range d.files {
			if f.listens {
				s.Log.Info("keyboard is taken from its holder by Alt-SysRq-R", "device", d.name, "pid", f.opener.PID, "keyboard", p.id)
				f.revokeLocked()
			}
		}
	}
	s.routeLocked(nil)
	s.mu.Unlock()
	s.settle()
}

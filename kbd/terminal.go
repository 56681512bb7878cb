package kbd

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// A file belongs to the terminal of the process that opened it, or else to the one that had the screen then. While
// another has the screen the file hears nothing, and the console has the keyboard: what is typed there, passwords too,
// stays there.

// frontLocked tells if the file's terminal has the screen.
func (f *File) frontLocked() bool {
	active := f.device.service.active
	return f.terminal == 0 || active == 0 || f.terminal == active
}

// viewLocked watches the terminals while a file is open, and not longer: a kbdd that nobody uses never wakes. It tells
// InUse of the first file.
func (s *Service) viewLocked() {
	open := slices.ContainsFunc(s.devicesLocked(), func(d *Device) bool { return len(d.files) > 0 })
	switch {
	case open && s.unview == nil:
		var ctx context.Context
		ctx, s.unview = context.WithCancel(context.Background())
		if s.InUse != nil {
			s.InUse()
		}
		go func() {
			err := s.Console.Watch(ctx, s.switched)
			if ctx.Err() != nil {
				return
			}
			if !errors.Is(err, fs.ErrNotExist) { // there are machines without terminals
				s.Log.Warn("cannot follow the terminals: every file is taken to be of the one on the screen", "err", err)
			}
			s.mu.Lock()
			s.blind = true
			s.mu.Unlock()
			s.switched(0)
		}()
	case !open && s.unview != nil:
		s.unview()
		s.unview, s.blind = nil, false
	}
}

// lookLocked sees which terminal has the screen, and counts the files anew if that has changed: the keyboards must be
// routed then. What the watch saw, or an open before it had the lock, may be history; so it is asked for here, at once.
func (s *Service) lookLocked() (changed bool) {
	active := 0
	if !s.blind {
		active = s.Console.Active()
	}
	if s.active == active {
		return false
	}
	s.active = active
	for _, d := range s.devicesLocked() {
		for _, f := range d.files {
			f.countLocked()
		}
	}
	return true
}

// switched is told that another terminal has got the screen.
func (s *Service) switched(int) {
	s.mu.Lock()
	changed := s.lookLocked()
	if changed {
		s.routeLocked(nil)
	}
	s.mu.Unlock()
	if changed {
		s.settle()
	}
}

// maxTerminal is MAX_NR_CONSOLES (include/uapi/linux/vt.h).
const maxTerminal = 63

// waitActive waits until terminal n has the screen, or ctx ends: VT_WAITACTIVE. ENXIO: there is no such terminal.
func (s *Service) waitActive(ctx context.Context, n uint64) error {
	if n < 1 || n > maxTerminal {
		return unix.ENXIO
	}
	for {
		changed := s.Changed() // before the look, so that no switch is missed
		switch s.Console.Active() {
		case int(n):
			return nil
		case 0:
			return unix.ENXIO
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

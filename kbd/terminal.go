package kbd

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
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

// activate is VT_ACTIVATE. EPERM: the file was opened neither from a terminal of the console nor by root, who alone can do it
// there (drivers/tty/vt/vt_ioctl.c, vt_ioctl). kbdd itself may, and must not lend that to everybody.
func (f *File) activate(_ context.Context, c *cuse.Ioctl) error {
	if !f.switches {
		return unix.EPERM
	}
	return f.console().Activate(int(c.Arg))
}

// waitActive is VT_WAITACTIVE: it waits until a terminal has the screen, or ctx ends. ENXIO: there is no such terminal.
func (f *File) waitActive(ctx context.Context, c *cuse.Ioctl) error {
	switch {
	case !f.switches:
		return unix.EPERM
	case c.Arg < 1 || c.Arg > maxTerminal:
		return unix.ENXIO
	}
	for {
		changed := f.device.service.Changed() // before the look, so that no switch is missed
		switch f.console().Active() {
		case int(c.Arg):
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

package kbd

import (
	"context"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/scancode"
)

// A mode is one of KDSKBMODE, for one open file.
//
//	K_RAW        scancodes of the set that F0 selects; so is a file at the open
//	K_MEDIUMRAW  key codes
//	K_OFF        nothing, but the console stays muted
//	K_XLATE, K_UNICODE
//	             the file does not listen: the console has the keyboard and makes characters of it, as it would for a
//	             program that set this mode on the console
type mode int

const (
	kRaw       mode = 0
	kXlate     mode = 1
	kMediumRaw mode = 2
	kUnicode   mode = 3
	kOff       mode = 4
)

// modeLocked is the file's mode. Between the first two, the keyboard's set decides: a host command may change it.
func (f *File) modeLocked() mode {
	switch {
	case f.mode != kRaw && f.mode != kMediumRaw:
		return f.mode
	case f.keyboard.Set() == scancode.MediumRaw:
		return kMediumRaw
	}
	return kRaw
}

// setMode is KDSKBMODE. It returns when the keyboards have changed hands, if they do.
func (f *File) setMode(ctx context.Context, c *cuse.Ioctl) error {
	m := mode(c.Arg)
	if c.Arg > uint64(kOff) {
		return unix.EINVAL
	}
	s := f.device.service
	s.mu.Lock()
	if m != f.modeLocked() {
		f.keyboard.ReleaseAll()
	}
	switch old := f.keyboard.Set(); {
	case m == kMediumRaw && old != scancode.MediumRaw:
		f.rawSet = old
		f.keyboard.SelectSet(scancode.MediumRaw)
	case m == kRaw && old == scancode.MediumRaw:
		f.keyboard.SelectSet(f.rawSet)
	}
	f.mode = m
	changing := f.listenLocked()
	s.mu.Unlock()
	s.settle()
	return await(ctx, changing)
}

// hearsLocked tells if keys go into the file's queue.
func (f *File) hearsLocked() bool { return f.listens && f.mode != kOff }

// listenLocked brings the device, and with it the keyboards, up to date about whether the file listens. It returns what
// to wait for until the keyboards have changed hands.
func (f *File) listenLocked() (changing []<-chan struct{}) {
	f.countLocked()
	return f.device.service.routeLocked(f.device)
}

// countLocked brings the device up to date about whether the file listens. One that listens no more has its keys
// released, and may leave them unread.
func (f *File) countLocked() {
	listens := f.reads && !f.closed && !f.revoked && !f.device.service.ended && f.mode != kXlate && f.mode != kUnicode && f.frontLocked()
	switch {
	case listens == f.listens:
	case listens:
		f.device.listeners++
	default:
		f.keyboard.ReleaseAll()
		f.unreadSince = 0
		f.device.listeners--
	}
	f.listens = listens
}

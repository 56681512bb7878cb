package kbd

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/kbd/atkbd"
	"kbdd/scancode"
)

// A Device is one node, such as /dev/kbd0: the keyboards behind it, merged into one, and the files that are open.
type Device struct {
	service *Service // whose mu guards what is guarded here
	name    string   // fixed
	own     *port    // the one keyboard that it is of; nil for kbd0; fixed

	files       []*File         // replaced, never changed, so that it can be gone through without the lock; guarded by mu
	listeners   int             // how many of files listen; guarded by mu
	down        [keyCount]uint8 // on how many keyboards each key is down; guarded by mu
	consoleLEDs atkbd.LEDs      // as they were when a file was opened last; guarded by mu
	ledChanges  uint64          // how often a client has set LEDs; guarded by mu
	refused     time.Time       // when a refusal was logged last; guarded by mu
}

// Open is a cuse.OpenFunc: it opens the device for a client. With a first reader the keyboards are muted, and open(2)
// returns when they are, with O_NONBLOCK at once. A file opened O_WRONLY takes commands only, and mutes nothing.
func (d *Device) Open(ctx context.Context, h *cuse.Handle) (cuse.File, error) {
	f, err := d.open(ctx, Opener{UID: h.UID, GID: h.GID, PID: h.PID}, h.Flags, h.Wake)
	if err != nil {
		return nil, err // not f: a nil *File is not a nil File
	}
	return f, nil
}

func (d *Device) open(ctx context.Context, opener Opener, flags int, wake func()) (*File, error) {
	s := d.service
	if !d.access().admits(opener, s.Groups) {
		return nil, unix.EACCES
	}
	leds := atkbd.LEDs(s.Console.LEDs())
	terminal := s.Console.Of(opener.PID)
	s.mu.Lock()
	if err := d.admitLocked(opener); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	d.consoleLEDs = leds
	if len(d.files) == 0 {
		d.ledChanges = 0
	}
	s.lookLocked()
	f := newFileLocked(d, opener, flags, wake)
	f.terminal = terminal
	f.switches = terminal != 0 || opener.UID == 0
	if f.terminal == 0 {
		f.terminal = s.active
	}
	d.files = append(slices.Clip(d.files), f)
	s.counts.opens++
	s.viewLocked()
	changing := f.listenLocked()
	s.mu.Unlock()
	s.settle()
	if flags&unix.O_NONBLOCK != 0 {
		return f, nil
	}
	if err := await(ctx, changing); err != nil {
		f.remove()
		s.settle()
		return nil, err
	}
	if len(changing) > 0 {
		s.countMuteWait(f)
	}
	return f, nil
}

// admitLocked tells why the device cannot be opened once more, if so.
func (d *Device) admitLocked(opener Opener) error {
	limits, own := d.service.settings.Limits, 0
	for _, f := range d.files {
		if f.opener.UID == opener.UID {
			own++
		}
	}
	switch {
	case d.exclusiveLocked() && opener.UID != 0:
		return unix.EBUSY
	case len(d.files) >= limits.Files:
		d.refuseLocked("device is open too often", "limit", limits.Files)
		return unix.EBUSY
	case own >= limits.FilesPerUser && opener.UID != 0:
		d.refuseLocked("user has device open too often", "uid", opener.UID, "limit", limits.FilesPerUser)
		return unix.EMFILE
	}
	return nil
}

// refuseLocked logs why an open was refused, but not each time for one who keeps trying.
func (d *Device) refuseLocked(msg string, args ...any) {
	if now := time.Now(); now.Sub(d.refused) > time.Minute {
		d.refused = now
		d.service.Log.Warn(msg, append([]any{"device", d.name}, args...)...)
	}
}

// exclusiveLocked tells if a file has the device for itself.
func (d *Device) exclusiveLocked() bool {
	return slices.ContainsFunc(d.files, func(f *File) bool { return f.exclusive && !f.revoked })
}

// keyLocked puts a press or release into the queues of all files, if it changes the merged keyboard: a key is down
// while it is down on any of them. It returns the files that have something new.
func (d *Device) keyLocked(now time.Duration, key scancode.Key, pressed bool) []*File {
	if pressed {
		d.down[key]++
		if d.down[key] != 1 {
			return nil
		}
	} else {
		d.down[key]--
		if d.down[key] != 0 {
			return nil
		}
	}
	for _, f := range d.files {
		f.keyLocked(now, key, pressed)
	}
	return d.files
}

// ledsLocked are the LEDs to be shown, and whether there is a client who has set any since the
// first file was opened. Those count that were set last, of the files that are open.
func (d *Device) ledsLocked() (leds atkbd.LEDs, set bool) {
	leds = d.consoleLEDs
	var last uint64
	for _, f := range d.files {
		if f.ledChange > last && f.frontLocked() {
			last, leds = f.ledChange, f.keyboard.LEDs()
		}
	}
	return leds, d.ledChanges > 0
}

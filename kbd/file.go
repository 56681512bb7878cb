package kbd

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/kbd/atkbd"
	"kbdd/scancode"
)

// A File is one open(2) of a device: an AT keyboard on a cable of its own, as if just switched on. It implements
// cuse.File, cuse.Poller and cuse.Ioctler. Whatever is set on it ends with it.
type File struct {
	device *Device
	opener Opener    // fixed
	reads  bool      // it may read; fixed
	wake   func()    // tells the client's side that there may be something to read; fixed
	since  time.Time // when it was opened; fixed

	// All below is guarded by Service.mu.

	keyboard *atkbd.Keyboard
	terminal int  // the one that it belongs to; 0: all
	switches bool // it may switch terminals; fixed
	listens  bool // it counts among the device's listeners; see listenLocked
	revoked  bool // there is nothing but ENODEV to be had
	closed   bool

	mode   mode
	rawSet scancode.Set // the set to return to from K_MEDIUMRAW

	// ledChange numbers, among all files of the device, the client's last change of the LEDs; 0 if there was none.
	ledChange uint64
	lockFlags byte // KDSKBLED
	showFlags bool // the LEDs show the lock flags, as after KDSETLED 8

	// What is kept for the client, and has no effect on scancodes.
	meta      int // KDSKBMETA
	display   int // KDSETMODE
	vtMode    [8]byte
	termios   [termios2Size]byte
	exclusive bool // TIOCEXCL

	// The timer calls tick. While keys are typed it is not set anew for each of them, but left to find, too early, that
	// there is nothing to repeat yet.
	timer *time.Timer   // nil before its first use
	due   time.Duration // when it fires; 0 when it does not

	unreadSince  time.Duration // since when the client leaves unread what there is; 0: there is nothing, or nobody looks
	stallWatched bool

	readBy    time.Duration // when a read that waits returns empty-handed; 0: never; see emptyReadLocked
	readTimer *time.Timer   // calls readIsDue then; nil before its first use
}

// An Opener is who opened a file.
type Opener struct {
	UID uint32 // effective
	GID uint32 // effective
	PID uint32 // of the thread
}

// newFileLocked is a file of d.
func newFileLocked(d *Device, opener Opener, flags int, wake func()) *File {
	return &File{
		device: d, opener: opener, wake: wake, since: time.Now(),
		reads:    flags&unix.O_ACCMODE != unix.O_WRONLY,
		keyboard: atkbd.New(d.consoleLEDs), lockFlags: byte(d.consoleLEDs), showFlags: true,
		meta: kEscPrefix, termios: newTermios(),
	}
}

func (f *File) console() Console { return f.device.service.Console }

// keyLocked queues the scancodes of a press or release. A release whose press this file has not seen has none.
func (f *File) keyLocked(now time.Duration, key scancode.Key, pressed bool) {
	if f.hearsLocked() {
		f.refillLocked()
		f.keyboard.Key(now, key, pressed)
	}
}

// Read takes what is queued.
func (f *File) Read(p []byte) (int, error) {
	s := f.device.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.revoked {
		return 0, unix.ENODEV
	}
	n := f.keyboard.Read(p)
	if n == 0 && len(p) > 0 {
		return f.emptyReadLocked()
	}
	f.readBy = 0
	f.countReadLocked()
	return n, nil
}

// Poll tells whether there is something to read. Commands can be written at any time.
func (f *File) Poll() uint32 {
	s := f.device.service
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f.revoked:
		return unix.POLLIN | unix.POLLOUT | unix.POLLHUP | unix.POLLERR
	case f.keyboard.Len() > 0:
		return unix.POLLIN | unix.POLLOUT
	}
	return unix.POLLOUT
}

// armLocked sees that tick is called by the time that the keyboard asks for.
func (f *File) armLocked(now time.Duration) {
	next, ok := f.keyboard.Next()
	switch {
	case !ok || f.closed || f.due != 0 && f.due <= next:
		return
	case f.timer == nil:
		f.timer = time.AfterFunc(next-now, f.tick)
	default:
		f.timer.Reset(next - now)
	}
	f.due = next
}

// tick has the key repeat that is held.
func (f *File) tick() {
	now := clock()
	s := f.device.service
	s.mu.Lock()
	f.due = 0
	f.refillLocked()
	f.keyboard.Tick(now)
	f.armLocked(now)
	s.mu.Unlock()
	f.wake()
}

// Write gives the keyboard host commands. Its answers are read from it.
func (f *File) Write(p []byte) (int, error) {
	// In pieces: the keys of others must not wait for a client that writes much.
	for piece := range slices.Chunk(p, maxCommands) {
		if err := f.command(piece); err != nil {
			return 0, err
		}
	}
	f.wake()
	return len(p), nil
}

// maxCommands is how many bytes of host commands are carried out at once.
const maxCommands = 256

func (f *File) command(p []byte) error {
	return f.changeLEDs(func() error {
		if f.revoked {
			return unix.ENODEV
		}
		before, set := f.keyboard.LEDs(), f.keyboard.Set()
		f.refillLocked()
		f.keyboard.Write(p)
		if f.keyboard.LEDs() != before {
			f.showFlags = false
		}
		if f.keyboard.Set() != set {
			f.device.service.changedLocked(nil)
		}
		f.armLocked(clock())
		return nil
	})
}

// changeLEDs does what may change the LEDs, under the lock, and has them shown if it did.
func (f *File) changeLEDs(change func() error) error {
	s := f.device.service
	s.mu.Lock()
	before := f.keyboard.LEDs()
	err := change()
	if f.showFlags {
		f.keyboard.SetLEDs(atkbd.LEDs(f.lockFlags))
	}
	changed := f.keyboard.LEDs() != before
	if changed {
		f.device.ledChanges++
		f.ledChange = f.device.ledChanges
	}
	s.mu.Unlock()
	if changed {
		s.light()
	}
	return err
}

// revokeLocked takes the keyboard from the file for good, as EVIOCREVOKE does. The keyboards must be routed anew then,
// and the file woken.
func (f *File) revokeLocked() {
	f.revoked = true
	f.countLocked()
}

// Close removes the file. With the last listener the console has its keyboards back, which Close waits for.
func (f *File) Close() error {
	unmuted := f.remove()
	f.device.service.settle()
	ctx, cancel := context.WithTimeout(context.Background(), giveBackLimit)
	defer cancel()
	return await(ctx, unmuted)
}

// remove takes the file off its device.
func (f *File) remove() (changing []<-chan struct{}) {
	d := f.device
	s := d.service
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(d.files, f)
	if i < 0 {
		return nil
	}
	d.files = slices.Delete(slices.Clone(d.files), i, i+1)
	f.closed = true
	s.counts.closeLocked(f)
	for _, timer := range []*time.Timer{f.timer, f.readTimer} {
		if timer != nil {
			timer.Stop()
		}
	}
	s.viewLocked()
	changing = f.listenLocked()
	if !f.reads {
		return nil
	}
	return append(changing, s.leavingLocked(d)...)
}

// await waits until keyboards have changed hands.
func await(ctx context.Context, changing []<-chan struct{}) error {
	for _, done := range changing {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

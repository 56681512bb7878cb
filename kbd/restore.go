package kbd

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/kbd/atkbd"
	"kbdd/scancode"
)

// A file outlives its service: package cuse keeps what AppendBinary gives, and the next service makes a file of it. In
// between the console has the keyboard, so to the reader it is as if another terminal had the screen: breaks for what is
// held, and silence.
//
// A kbdd takes over from others of its kind, older and newer: fields are never changed, and new ones come with a new
// fileVersion.
const fileVersion = 1

const (
	flagRevoked = 1 << iota
	flagShowsFlags
	flagExclusive
	flagSwitches
)

var errFile = errors.New("kbd: an open file of another version of kbdd")

// AppendBinary implements [encoding.BinaryAppender]. It never fails, and is at most some 7 KiB.
func (f *File) AppendBinary(dst []byte) ([]byte, error) {
	s := f.device.service
	s.mu.Lock()
	defer s.mu.Unlock()
	flags := byte(0)
	if f.revoked {
		flags |= flagRevoked
	}
	if f.showFlags {
		flags |= flagShowsFlags
	}
	if f.exclusive {
		flags |= flagExclusive
	}
	if f.switches {
		flags |= flagSwitches
	}
	dst = append(dst, fileVersion, flags, byte(f.mode), byte(f.rawSet), byte(f.lockFlags), byte(f.device.consoleLEDs),
		byte(f.meta), byte(f.display))
	// With no loop, for it is done for each key and reader.
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.terminal))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.since.UnixNano()))
	dst = binary.LittleEndian.AppendUint64(dst, f.ledChange)
	dst = binary.LittleEndian.AppendUint64(dst, f.device.ledChanges)
	dst = append(dst, f.vtMode[:]...)
	dst = append(dst, f.termios[:]...)
	return f.keyboard.AppendBinary(dst)
}

// Restore is a cuse.RestoreFunc: it goes on with a file that an earlier service had open. The file listens from the end
// of New on.
func (d *Device) Restore(h *cuse.Handle, state []byte) (cuse.File, error) {
	f, err := d.restore(Opener{UID: h.UID, PID: h.PID}, h.Flags, h.Wake, state)
	if err != nil {
		d.service.Log.Error("a program has lost its keyboard", "device", d.name, "pid", h.PID, "err", err)
		return nil, err
	}
	return f, nil
}

func (d *Device) restore(opener Opener, flags int, wake func(), state []byte) (*File, error) {
	const bytes, words = 8, 4
	f := &File{
		device: d, opener: opener, wake: wake, reads: flags&unix.O_ACCMODE != unix.O_WRONLY, keyboard: new(atkbd.Keyboard),
	}
	if len(state) < bytes+8*words+len(f.vtMode)+len(f.termios) || state[0] != fileVersion {
		return nil, errFile
	}
	f.revoked, f.showFlags, f.exclusive = state[1]&flagRevoked != 0, state[1]&flagShowsFlags != 0, state[1]&flagExclusive != 0
	f.switches = state[1]&flagSwitches != 0
	f.mode, f.rawSet, f.lockFlags = mode(state[2]), scancode.Set(state[3]), state[4]
	consoleLEDs := atkbd.LEDs(state[5])
	f.meta, f.display = int(state[6]), int(state[7])
	state = state[bytes:]
	var n [words]uint64
	for i := range n {
		n[i], state = binary.LittleEndian.Uint64(state), state[8:]
	}
	f.terminal, f.since, f.ledChange = int(n[0]), time.Unix(0, int64(n[1])), n[2]
	state = state[copy(f.vtMode[:], state):]
	state = state[copy(f.termios[:], state):]
	if err := f.keyboard.UnmarshalBinary(state); err != nil {
		return nil, err
	}
	s := d.service
	s.mu.Lock()
	defer s.mu.Unlock()
	d.consoleLEDs, d.ledChanges = consoleLEDs, max(d.ledChanges, n[3])
	d.files = append(d.files[:len(d.files):len(d.files)], f)
	return f, nil
}

// node is the device's.
func (d *Device) node() Node {
	n := Node{Name: d.name, Open: d.Open, Restore: d.Restore}
	if d.own != nil {
		n.Label = d.own.id + labelSeparator + d.own.name
	}
	return n
}

// labelSeparator stands in a label between a keyboard's ID and its name, which the rules go by before the keyboard is found.
const labelSeparator = "\x00"

// takeUp has the files listen that an earlier service had open. What they take to be held may have been released since.
func (s *Service) takeUp() {
	s.mu.Lock()
	s.viewLocked()
	s.lookLocked()
	for _, d := range s.devicesLocked() {
		for _, f := range d.files {
			f.keyboard.ReleaseAll()
			f.countLocked()
		}
	}
	s.mu.Unlock()
	s.settle()
}

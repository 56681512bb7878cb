package kbd

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// A file's terminal settings are kept, so that isatty(3) is true and programs that save and restore them are content.
// Of all that is in them, only VMIN 0 has an effect: see emptyReadLocked.
const (
	termiosSize  = 36 // struct termios of the kernel: four flag words, c_line, 19 c_cc
	termios2Size = 44 // and two speeds
	offLflag     = 12
	offCc        = 17
)

// newTermios is what a console has when it is opened first (drivers/tty/tty_io.c, tty_std_termios; drivers/tty/vt/vt.c,
// con_install).
func newTermios() (t [termios2Size]byte) {
	words := []uint32{
		unix.ICRNL | unix.IXON | unix.IUTF8,
		unix.OPOST | unix.ONLCR,
		unix.B38400 | unix.CS8 | unix.CREAD | unix.HUPCL,
		unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	}
	for i, w := range words {
		binary.NativeEndian.PutUint32(t[4*i:], w)
	}
	// INTR QUIT ERASE KILL EOF TIME MIN SWTC START STOP SUSP EOL REPRINT DISCARD WERASE LNEXT EOL2
	copy(t[offCc:], "\x03\x1c\x7f\x15\x04\x00\x01\x00\x11\x13\x1a\x00\x12\x0f\x17\x16\x00")
	for i := range 2 {
		binary.NativeEndian.PutUint32(t[termiosSize+4*i:], 38400)
	}
	return t
}

func (f *File) setTermiosLocked(c *cuse.Ioctl) error {
	copy(f.termios[:], c.In)
	f.readBy = 0
	return nil
}

func (f *File) flushAndSetTermiosLocked(c *cuse.Ioctl) error {
	f.keyboard.Flush()
	return f.setTermiosLocked(c)
}

// flushLocked is TCFLSH. There is no output to be flushed: commands are carried out as they are written.
func (f *File) flushLocked(c *cuse.Ioctl) error {
	switch c.Arg {
	case unix.TCIFLUSH, unix.TCIOFLUSH:
		f.keyboard.Flush()
	case unix.TCOFLUSH:
	default:
		return unix.EINVAL
	}
	return nil
}

// emptyReadLocked is a read with nothing to read. Programs of the console poll their keyboard with VMIN 0, outside
// canonical mode: then read(2) returns 0 bytes, at once or VTIME tenths of a second later (termios(3)).
func (f *File) emptyReadLocked() (int, error) {
	lflag := binary.NativeEndian.Uint32(f.termios[offLflag:])
	if lflag&unix.ICANON != 0 || f.termios[offCc+unix.VMIN] != 0 {
		return 0, cuse.ErrWouldBlock
	}
	now, limit := clock(), time.Duration(f.termios[offCc+unix.VTIME])*time.Second/10
	if f.readBy == 0 && limit > 0 {
		f.readBy = now + limit
		if f.readTimer == nil {
			f.readTimer = time.AfterFunc(limit, f.readIsDue)
		} else {
			f.readTimer.Reset(limit)
		}
	}
	if now < f.readBy {
		return 0, cuse.ErrWouldBlock
	}
	f.readBy = 0
	return 0, nil
}

// readIsDue has a read return that has waited for long enough. Without one, which a signal may have ended, the next waits anew.
func (f *File) readIsDue() {
	f.wake()
	s := f.device.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if clock() >= f.readBy {
		f.readBy = 0
	}
}

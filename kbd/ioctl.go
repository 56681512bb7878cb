package kbd

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/kbd/atkbd"
)

// The calls that programs make on a console's keyboard and on a terminal, so that what was written for a console runs on
// the device unchanged: ioctl_console(2), ioctl_tty(2). Numbers and layouts: include/uapi/linux/kd.h, vt.h,
// include/uapi/asm-generic/ioctls.h. All structs are the same for 32-bit programs.
const (
	kdGKBType    = 0x4b33
	kdGKBMode    = 0x4b44
	kdSKBMode    = 0x4b45
	kdGetLED     = 0x4b31
	kdSetLED     = 0x4b32
	kdGKBLED     = 0x4b64
	kdSKBLED     = 0x4b65
	kdKBDRep     = 0x4b52
	kdGKBMeta    = 0x4b62
	kdSKBMeta    = 0x4b63
	kdGKBEnt     = 0x4b46
	kdSKBEnt     = 0x4b47
	kdSKBSEnt    = 0x4b49
	kdSKBDiacr   = 0x4b4b
	kdSKBDiacrUC = 0x4bfb
	kdSetKeycode = 0x4b4d
	kdSetMode    = 0x4b3a
	kdGetMode    = 0x4b3b

	fionRead = unix.TIOCINQ // FIONREAD, by its other name

	vtGetMode    = 0x5601
	vtSetMode    = 0x5602
	vtGetState   = 0x5603
	vtRelDisp    = 0x5605
	vtActivate   = 0x5606
	vtWaitActive = 0x5607
)

const (
	kb101        = 2 // KB_101: what the kernel says of every keyboard
	kMetaBit     = 3 // K_METABIT
	kEscPrefix   = 4 // K_ESCPREFIX
	kdText       = 0 // KD_TEXT
	kdGraphics   = 1 // KD_GRAPHICS
	vtProcess    = 1 // VT_PROCESS, the largest that VT_SETMODE takes
	lockFlagBits = 0x77
)

// An ioctlCall is one ioctl: how many bytes it reads and writes at its argument, and what it does.
type ioctlCall struct {
	in, out int
	do      func(f *File, ctx context.Context, c *cuse.Ioctl) error
}

var ioctlCalls = map[uint32]ioctlCall{
	kdGKBType: getByte(func(*File) byte { return kb101 }),
	kdGKBMode: getInt(func(f *File) int { return int(f.modeLocked()) }),
	kdSKBMode: {0, 0, (*File).setMode},
	kdGetLED:  getByte(func(f *File) byte { return byte(f.keyboard.LEDs()) }),
	kdSetLED:  {0, 0, (*File).setLEDs},
	kdGKBLED:  getByte(func(f *File) byte { return f.lockFlags }),
	kdSKBLED:  {0, 0, (*File).setLockFlags},
	kdKBDRep:  {8, 8, locked((*File).repeatLocked)},
	kdGKBMeta: getInt(func(f *File) int { return f.meta }),
	kdSKBMeta: {0, 0, locked((*File).setMetaLocked)},
	kdGKBEnt:  {4, 4, (*File).keymapEntry},
	kdSetMode: {0, 0, locked((*File).setDisplayLocked)},
	kdGetMode: getInt(func(f *File) int { return f.display }),

	// The kernel's maps belong to all; they are not this keyboard's to set.
	kdSKBEnt:     {0, 0, refused},
	kdSKBSEnt:    {0, 0, refused},
	kdSKBDiacr:   {0, 0, refused},
	kdSKBDiacrUC: {0, 0, refused},
	kdSetKeycode: {0, 0, refused},

	vtGetMode:    {0, 8, locked(func(f *File, c *cuse.Ioctl) error { copy(c.Out, f.vtMode[:]); return nil })},
	vtSetMode:    {8, 0, locked((*File).setVTModeLocked)},
	vtGetState:   {0, 6, (*File).vtState},
	vtRelDisp:    {0, 0, locked(func(*File, *cuse.Ioctl) error { return nil })},
	vtActivate:   {0, 0, (*File).activate},
	vtWaitActive: {0, 0, (*File).waitActive},

	unix.TCGETS:    {0, termiosSize, locked(func(f *File, c *cuse.Ioctl) error { copy(c.Out, f.termios[:]); return nil })},
	unix.TCSETS:    {termiosSize, 0, locked((*File).setTermiosLocked)},
	unix.TCSETSW:   {termiosSize, 0, locked((*File).setTermiosLocked)},
	unix.TCSETSF:   {termiosSize, 0, locked((*File).flushAndSetTermiosLocked)},
	unix.TCGETS2:   {0, termios2Size, locked(func(f *File, c *cuse.Ioctl) error { copy(c.Out, f.termios[:]); return nil })},
	unix.TCSETS2:   {termios2Size, 0, locked((*File).setTermiosLocked)},
	unix.TCSETSW2:  {termios2Size, 0, locked((*File).setTermiosLocked)},
	unix.TCSETSF2:  {termios2Size, 0, locked((*File).flushAndSetTermiosLocked)},
	unix.TCFLSH:    {0, 0, locked((*File).flushLocked)},
	unix.TIOCEXCL:  {0, 0, locked((*File).setExclusiveLocked)},
	unix.TIOCNXCL:  {0, 0, locked(func(f *File, _ *cuse.Ioctl) error { f.exclusive = false; return nil })},
	unix.TIOCGEXCL: {0, 4, locked((*File).isExclusiveLocked)},
	fionRead:       getInt(func(f *File) int { return f.keyboard.Len() }),
}

// IoctlSize tells what an ioctl reads and writes. Unknown ones are ENOTTY.
func (f *File) IoctlSize(cmd uint32) (in, out int, ok bool) {
	call, ok := ioctlCalls[cmd]
	return call.in, call.out, ok
}

// Ioctl carries out an ioctl.
func (f *File) Ioctl(ctx context.Context, c *cuse.Ioctl) (int, error) {
	s := f.device.service
	s.mu.Lock()
	revoked := f.revoked
	s.mu.Unlock()
	if revoked {
		return 0, unix.ENODEV
	}
	err := ioctlCalls[c.Cmd].do(f, ctx, c)
	f.wake() // a change of mode may have queued breaks
	return 0, err
}

// locked is a call that only looks at or changes what Service.mu guards.
func locked(do func(f *File, c *cuse.Ioctl) error) func(*File, context.Context, *cuse.Ioctl) error {
	return func(f *File, _ context.Context, c *cuse.Ioctl) error {
		s := f.device.service
		s.mu.Lock()
		defer s.mu.Unlock()
		return do(f, c)
	}
}

func refused(*File, context.Context, *cuse.Ioctl) error { return unix.EPERM }

// getByte is a call that gives a char of C; get is called under the lock.
func getByte(get func(f *File) byte) ioctlCall {
	return ioctlCall{0, 1, locked(func(f *File, c *cuse.Ioctl) error {
		c.Out[0] = get(f)
		return nil
	})}
}

// getInt is a call that gives an int of C; get is called under the lock.
func getInt(get func(f *File) int) ioctlCall {
	return ioctlCall{0, 4, locked(func(f *File, c *cuse.Ioctl) error {
		putInt(c.Out, get(f))
		return nil
	})}
}

func putInt(out []byte, v int) { binary.NativeEndian.PutUint32(out, uint32(v)) }

// setLEDs is KDSETLED: the LEDs of its argument, or with any of the higher bits those of the lock flags.
func (f *File) setLEDs(_ context.Context, c *cuse.Ioctl) error {
	return f.changeLEDs(func() error {
		f.showFlags = c.Arg > 7
		if !f.showFlags {
			f.keyboard.SetLEDs(atkbd.LEDs(c.Arg))
		}
		return nil
	})
}

// setLockFlags is KDSKBLED. The flags have no meaning for scancodes; the LEDs show them if KDSETLED says so.
func (f *File) setLockFlags(_ context.Context, c *cuse.Ioctl) error {
	return f.changeLEDs(func() error {
		if c.Arg&^lockFlagBits != 0 {
			return unix.EINVAL
		}
		f.lockFlags = byte(c.Arg)
		return nil
	})
}

// repeatLocked is KDKBDREP, struct kbd_repeat: delay and period in ms, what is not above 0 stays; both come back as
// they are then.
func (f *File) repeatLocked(c *cuse.Ioctl) error {
	delay, period := f.keyboard.Typematic()
	for i, d := range []*time.Duration{&delay, &period} {
		if ms := int32(binary.NativeEndian.Uint32(c.In[4*i:])); ms > 0 {
			*d = time.Duration(ms) * time.Millisecond
		}
		putInt(c.Out[4*i:], int(d.Milliseconds()))
	}
	f.keyboard.SetTypematic(delay, period)
	return nil
}

// setMetaLocked is KDSKBMETA. It is kept, and has no effect on scancodes.
func (f *File) setMetaLocked(c *cuse.Ioctl) error {
	if c.Arg != kMetaBit && c.Arg != kEscPrefix {
		return unix.EINVAL
	}
	f.meta = int(c.Arg)
	return nil
}

// keymapEntry is KDGKBENT, struct kbentry, answered from the kernel's own map.
func (f *File) keymapEntry(_ context.Context, c *cuse.Ioctl) error {
	value, err := f.console().KeymapEntry(c.In[0], c.In[1])
	if err != nil {
		return err
	}
	copy(c.Out, c.In[:2])
	binary.NativeEndian.PutUint16(c.Out[2:], value)
	return nil
}

// setDisplayLocked is KDSETMODE. It is kept and no more: a program that dies in graphics mode must not leave the screen
// in it.
func (f *File) setDisplayLocked(c *cuse.Ioctl) error {
	if c.Arg != kdText && c.Arg != kdGraphics {
		return unix.EINVAL
	}
	f.display = int(c.Arg)
	return nil
}

// setVTModeLocked is VT_SETMODE, struct vt_mode. It is kept and no more: nobody is asked before a switch.
func (f *File) setVTModeLocked(c *cuse.Ioctl) error {
	if c.In[0] > vtProcess {
		return unix.EINVAL
	}
	copy(f.vtMode[:], c.In)
	clear(f.vtMode[6:]) // frsig, which the kernel ignores and forgets (drivers/tty/vt/vt_ioctl.c)
	return nil
}

// vtState is VT_GETSTATE, struct vt_stat.
func (f *File) vtState(_ context.Context, c *cuse.Ioctl) error {
	active, open, err := f.console().State()
	if err != nil {
		return err
	}
	binary.NativeEndian.PutUint16(c.Out[0:], active)
	binary.NativeEndian.PutUint16(c.Out[4:], open)
	return nil
}

// setExclusiveLocked is TIOCEXCL.
func (f *File) setExclusiveLocked(*cuse.Ioctl) error {
	if slices.ContainsFunc(f.device.files, func(other *File) bool { return other != f && !other.revoked }) {
		return unix.EBUSY
	}
	f.exclusive = true
	return nil
}

// isExclusiveLocked is TIOCGEXCL.
func (f *File) isExclusiveLocked(c *cuse.Ioctl) error {
	if f.device.exclusiveLocked() {
		putInt(c.Out, 1)
	}
	return nil
}

package test

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// The calls of a console's keyboard, as <linux/kd.h> and <linux/vt.h> name them.
const (
	KDGKBTYPE    = 0x4b33
	KDGKBMODE    = 0x4b44
	KDSKBMODE    = 0x4b45
	KDGETLED     = 0x4b31
	KDSETLED     = 0x4b32
	KDGKBLED     = 0x4b64
	KDSKBLED     = 0x4b65
	KDKBDREP     = 0x4b52
	KDGKBMETA    = 0x4b62
	KDSKBMETA    = 0x4b63
	KDGKBENT     = 0x4b46
	KDSKBENT     = 0x4b47
	KDSKBSENT    = 0x4b49
	KDSKBDIACR   = 0x4b4b
	KDSKBDIACRUC = 0x4bfb
	KDSETKEYCODE = 0x4b4d
	KDSETMODE    = 0x4b3a
	KDGETMODE    = 0x4b3b

	VTGETMODE    = 0x5601
	VTSETMODE    = 0x5602
	VTGETSTATE   = 0x5603
	VTRELDISP    = 0x5605
	VTACTIVATE   = 0x5606
	VTWAITACTIVE = 0x5607
)

// The modes of KDSKBMODE.
const (
	modeRaw, modeXlate, modeMediumRaw, modeUnicode, modeOff = 0, 1, 2, 3, 4
)

// ioctl is ioctl(2) with the address of p for its argument.
func ioctl[T any](fd int, request uint, p *T) error {
	_, err := uninterrupted(func() (int, error) {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(p))); errno != 0 {
			return 0, errno
		}
		return 0, nil
	})
	return err
}

// set is ioctl(2) with a number for its argument.
func (d *descriptor) set(request uint, value int) {
	d.t.Helper()
	if err := unix.IoctlSetInt(d.fd, request, value); err != nil {
		d.t.Fatalf("ioctl %#x, %d: %v", request, value, err)
	}
}

// bytes is what an ioctl gives, in hex.
func (d *descriptor) bytes(request uint, in ...byte) string {
	d.t.Helper()
	var buf [64]byte
	for i := range buf {
		buf[i] = 0xdb
	}
	copy(buf[:], in)
	if err := ioctl(d.fd, request, &buf); err != nil {
		d.t.Fatalf("ioctl %#x: %v", request, err)
	}
	end := len(buf)
	for end > 0 && buf[end-1] == 0xdb {
		end--
	}
	return fmt.Sprintf("% x", buf[:end])
}

// openBoth opens the device, and the console for comparison.
func openBoth(t *testing.T) (d, console *descriptor) {
	t.Helper()
	fd, err := unix.Open("/dev/tty1", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return openDescriptor(t, os.O_RDWR), &descriptor{t, fd}
}

// TestFreshFileAnswersAsAConsoleDoes asks for all that can be asked for. Only the keyboard mode is another than a
// console's.
func TestFreshFileAnswersAsAConsoleDoes(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	d, console := openBoth(t)
	for name, request := range map[string]uint{
		"KDGKBTYPE": KDGKBTYPE, "KDGETLED": KDGETLED, "KDGKBLED": KDGKBLED, "KDGKBMETA": KDGKBMETA, "KDGETMODE": KDGETMODE,
		"VT_GETMODE": VTGETMODE, "TCGETS": unix.TCGETS, "TCGETS2": unix.TCGETS2,
		"TIOCGEXCL": unix.TIOCGEXCL, "FIONREAD": unix.TIOCINQ,
	} {
		if got, want := d.bytes(request), console.bytes(request); got != want {
			t.Errorf("%s gives %s, on a console %s", name, got, want)
		}
	}
	var state [6]byte // the console leaves the middle of it as it is
	if got, want := d.bytes(VTGETSTATE, state[:]...), console.bytes(VTGETSTATE, state[:]...); got != want {
		t.Errorf("VT_GETSTATE gives %s, on a console %s", got, want)
	}
	if got := d.bytes(KDGKBMODE); got != "00 00 00 00" {
		t.Errorf("KDGKBMODE gives %s, want K_RAW", got)
	}
}

// badCalls are those that fail; all but those that set maps fail on a console too.
var badCalls = []struct {
	name    string
	request uint
	arg     uintptr
	want    error
}{
	{"KDSKBMODE", KDSKBMODE, 5, unix.EINVAL},
	{"KDSKBMODE", KDSKBMODE, ^uintptr(0), unix.EINVAL},
	{"KDSKBLED", KDSKBLED, 0x08, unix.EINVAL},
	{"KDSKBLED", KDSKBLED, 0x80, unix.EINVAL},
	{"KDSKBMETA", KDSKBMETA, 0, unix.EINVAL},
	{"KDSKBMETA", KDSKBMETA, 5, unix.EINVAL},
	{"KDSETMODE", KDSETMODE, 4, unix.EINVAL},
	{"TCFLSH", unix.TCFLSH, 3, unix.EINVAL},
	{"VT_ACTIVATE", VTACTIVATE, 0, unix.ENXIO},
	{"VT_ACTIVATE", VTACTIVATE, 64, unix.ENXIO},
	{"VT_WAITACTIVE", VTWAITACTIVE, 0, unix.ENXIO},
	{"VT_WAITACTIVE", VTWAITACTIVE, 64, unix.ENXIO},

	{"KDGKBTYPE", KDGKBTYPE, 1, unix.EFAULT},
	{"KDGKBMODE", KDGKBMODE, 1, unix.EFAULT},
	{"KDGETLED", KDGETLED, 1, unix.EFAULT},
	{"KDGKBLED", KDGKBLED, 1, unix.EFAULT},
	{"KDKBDREP", KDKBDREP, 1, unix.EFAULT},
	{"KDGKBMETA", KDGKBMETA, 1, unix.EFAULT},
	{"KDGKBENT", KDGKBENT, 1, unix.EFAULT},
	{"KDGETMODE", KDGETMODE, 1, unix.EFAULT},
	{"VT_GETMODE", VTGETMODE, 1, unix.EFAULT},
	{"VT_SETMODE", VTSETMODE, 1, unix.EFAULT},
	{"VT_GETSTATE", VTGETSTATE, 1, unix.EFAULT},
	{"TCGETS", unix.TCGETS, 1, unix.EFAULT},
	{"TCSETS", unix.TCSETS, 1, unix.EFAULT},
	{"TCSETSW", unix.TCSETSW, 1, unix.EFAULT},
	{"TCSETSF", unix.TCSETSF, 1, unix.EFAULT},
	{"TCGETS2", unix.TCGETS2, 1, unix.EFAULT},
	{"TCSETS2", unix.TCSETS2, 1, unix.EFAULT},
	{"TCSETSW2", unix.TCSETSW2, 1, unix.EFAULT},
	{"TCSETSF2", unix.TCSETSF2, 1, unix.EFAULT},
	{"TIOCGEXCL", unix.TIOCGEXCL, 1, unix.EFAULT},
	{"FIONREAD", unix.TIOCINQ, 1, unix.EFAULT},

	{"of the kd calls, unknown", 0x4bff, 0, unix.ENOTTY},
	{"of the vt calls, unknown", 0x56ff, 0, unix.ENOTTY},
	{"of the terminal's calls, unknown", 0x54ff, 0, unix.ENOTTY},
	{"EVIOCGVERSION", 0x80044501, 1, unix.ENOTTY},
	{"of a size beyond all", 0xffff4bff, 1, unix.ENOTTY},

	{"KDSKBENT", KDSKBENT, 1, unix.EPERM},
	{"KDSKBSENT", KDSKBSENT, 1, unix.EPERM},
	{"KDSKBDIACR", KDSKBDIACR, 1, unix.EPERM},
	{"KDSKBDIACRUC", KDSKBDIACRUC, 1, unix.EPERM},
	{"KDSETKEYCODE", KDSETKEYCODE, 1, unix.EPERM},
}

func TestBadCallsFailAsOnAConsole(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	d, console := openBoth(t)
	call := func(d *descriptor, request uint, arg uintptr) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), uintptr(request), arg); errno != 0 {
			return errno
		}
		return nil
	}
	for _, c := range badCalls {
		if got := call(d, c.request, c.arg); got != c.want {
			t.Errorf("%s with %#x: %v, want %v", c.name, c.arg, got, c.want)
		}
		if c.want == unix.EPERM {
			continue
		}
		if got := call(console, c.request, c.arg); got != c.want {
			t.Errorf("%s with %#x on a console: %v, want %v", c.name, c.arg, got, c.want)
		}
	}
	if got := d.bytes(KDGKBMODE); got != "00 00 00 00" {
		t.Errorf("after all that KDGKBMODE gives %s", got)
	}
}

// TestVTModesAreTakenAsOnAConsole sets VT_AUTO and VT_PROCESS with signals, of which the kernel drops one, and no mode.
func TestVTModesAreTakenAsOnAConsole(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	d, console := openBoth(t)
	t.Cleanup(func() { console.bytes(VTSETMODE, make([]byte, 8)...) })
	for _, mode := range []byte{1, 2, 0, 0xff} {
		in := [8]byte{mode, 1, 10, 0, 12, 0, 7, 0}
		got, want := ioctl(d.fd, VTSETMODE, &in), ioctl(console.fd, VTSETMODE, &in)
		if got != want {
			t.Errorf("VT_SETMODE to %d: %v, on a console %v", mode, got, want)
		}
		if got, want := d.bytes(VTGETMODE), console.bytes(VTGETMODE); got != want {
			t.Errorf("after VT_SETMODE to %d the mode is %s, on a console %s", mode, got, want)
		}
	}
}

// TestWhatIsSetIsKept sets what has no effect on scancodes, for one file, and what has.
func TestWhatIsSetIsKept(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	d, other := openDescriptor(t, os.O_RDWR), openDescriptor(t, os.O_RDWR)
	for _, c := range []struct {
		name     string
		set, get uint
		value    int
		want     string
	}{
		{"meta", KDSKBMETA, KDGKBMETA, 3, "03 00 00 00"},
		{"display", KDSETMODE, KDGETMODE, 1, "01 00 00 00"},
		{"lock flags", KDSKBLED, KDGKBLED, 0x72, "72"},
		{"LEDs", KDSETLED, KDGETLED, 5, "05"},
		{"LEDs of the lock flags", KDSETLED, KDGETLED, 8, "02"},
		{"mode", KDSKBMODE, KDGKBMODE, modeUnicode, "03 00 00 00"},
	} {
		before := other.bytes(c.get)
		d.set(c.set, c.value)
		if got := d.bytes(c.get); got != c.want {
			t.Errorf("%s: set to %#x, it is %s", c.name, c.value, got)
		}
		if got := other.bytes(c.get); got != before {
			t.Errorf("%s: set to %#x for one file, it is %s for another", c.name, c.value, got)
		}
	}
	process := []byte{1, 0, 10, 0, 12, 0, 0, 0} // VT_PROCESS, and the signals
	d.bytes(VTSETMODE, process...)
	if got := d.bytes(VTGETMODE); got != fmt.Sprintf("% x", process) {
		t.Errorf("VT_GETMODE gives %s", got)
	}
	d.set(VTRELDISP, 1)
	d.close()

	fresh := openDescriptor(t, os.O_RDWR)
	for _, get := range []uint{KDGKBMETA, KDGETMODE, KDGKBLED, KDGETLED, KDGKBMODE, VTGETMODE} {
		if got, want := fresh.bytes(get), other.bytes(get); got != want {
			t.Errorf("the next file has %s for %#x, want %s", got, get, want)
		}
	}
}

// TestKeymapIsTheConsoles asks for all of the plain map, and for some keys of each of the others: it takes a millisecond to
// ask under emulation, and there are 65536 entries.
func TestKeymapIsTheConsoles(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	d, console := openBoth(t)
	type entry struct {
		table, index uint8
		value        uint16
	}
	const noSuchMap = 0x027f // K_NOSUCHMAP
	maps := 0
	for table := range 256 {
		step := 11
		if table == 0 {
			step = 1
		}
		for index := 0; index < 256; index += step {
			want := entry{table: uint8(table), index: uint8(index)}
			got := want
			if err := ioctl(console.fd, KDGKBENT, &want); err != nil {
				t.Fatal(err)
			}
			if err := ioctl(d.fd, KDGKBENT, &got); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("table %d, key %d: %#x, on the console %#x", table, index, got.value, want.value)
			}
			if index == 0 && want.value == noSuchMap {
				break
			}
			if index == 0 {
				maps++
			}
		}
	}
	if maps < 2 {
		t.Errorf("the console has %d maps, too few to tell", maps)
	}
}

// TestKeymapIsTheConsolesWhenItWasChanged has A type z.
func TestKeymapIsTheConsolesWhenItWasChanged(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	d := openDescriptor(t, os.O_RDONLY)
	tty0, err := os.OpenFile("/dev/tty0", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty0.Close()
	const plain = 0
	was := d.bytes(KDGKBENT, plain, byte(machine.KeyA))
	entry := func(letter byte) *[4]byte { return &[4]byte{plain, byte(machine.KeyA), letter, 0x0b} } // KT_LETTER
	set := func(letter byte) {
		if err := ioctl(int(tty0.Fd()), KDSKBENT, entry(letter)); err != nil {
			t.Fatal(err)
		}
	}
	defer set('a')
	for _, letter := range []byte("za") {
		set(letter)
		if got, want := d.bytes(KDGKBENT, plain, byte(machine.KeyA)), fmt.Sprintf("% x", *entry(letter)); got != want {
			t.Errorf("set to %s the entry is %s", want, got)
		}
		d.close()
		keyboard.Tap(machine.KeyA)
		wantScreen(t, tty, string(letter))
		tty.Clear()
		d = openDescriptor(t, os.O_RDONLY)
	}
	if got := d.bytes(KDGKBENT, plain, byte(machine.KeyA)); got != was {
		t.Errorf("the entry was %s, and is %s", was, got)
	}
}

func TestVTCallsSwitchTheScreen(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	d := openDescriptor(t, os.O_RDWR)
	waited := start(t, unix.SYS_IOCTL, func() error {
		_, err := uninterrupted(func() (int, error) { return 0, unix.IoctlSetInt(d.fd, VTWAITACTIVE, 2) })
		return err
	})
	d.set(VTACTIVATE, 2)
	if err := result(t, waited); err != nil {
		t.Errorf("VT_WAITACTIVE: %v", err)
	}
	if n, err := machine.ActiveVT(); n != 2 || err != nil {
		t.Errorf("tty%d is active, %v; want tty2", n, err)
	}
	var state [3]uint16
	if err := ioctl(d.fd, VTGETSTATE, &state); err != nil || state[0] != 2 {
		t.Errorf("VT_GETSTATE gives %v, %v; want 2 first", state, err)
	}
}

package test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/scancode"
	"kbdd/test/machine"
)

// An oracle knows the bytes that come of what is typed on a keyboard.
type oracle interface {
	// heard is what has come since the last call, in hex.
	heard() string
}

// A stroke is what comes of a key at its press and at its release, in hex.
type stroke struct{ press, release string }

// A setting is what the special keys depend on: the keys that are held, and whether NumLock is lit.
type setting struct {
	name    string
	held    []scancode.Key
	numLock bool
}

var (
	alone             = setting{name: "alone"}
	leftShift         = setting{name: "left Shift", held: []scancode.Key{scancode.KeyLeftShift}}
	rightShift        = setting{name: "right Shift", held: []scancode.Key{scancode.KeyRightShift}}
	bothShifts        = setting{name: "both Shifts", held: []scancode.Key{scancode.KeyLeftShift, scancode.KeyRightShift}}
	leftCtrl          = setting{name: "left Ctrl", held: []scancode.Key{scancode.KeyLeftCtrl}}
	rightCtrl         = setting{name: "right Ctrl", held: []scancode.Key{scancode.KeyRightCtrl}}
	leftAlt           = setting{name: "left Alt", held: []scancode.Key{scancode.KeyLeftAlt}}
	rightAlt          = setting{name: "right Alt", held: []scancode.Key{scancode.KeyRightAlt}}
	numLock           = setting{name: "NumLock", numLock: true}
	numLockLeftShift  = setting{name: "NumLock, left Shift", held: leftShift.held, numLock: true}
	numLockRightShift = setting{name: "NumLock, right Shift", held: rightShift.held, numLock: true}

	settings = []setting{
		alone, leftShift, rightShift, bothShifts, leftCtrl, rightCtrl, leftAlt, rightAlt,
		numLock, numLockLeftShift, numLockRightShift,
	}
)

func (in setting) hold(keyboard *machine.Keyboard) {
	for _, key := range in.held {
		keyboard.Press(machine.Key(key))
	}
}

func (in setting) letGo(keyboard *machine.Keyboard) {
	for _, key := range in.held {
		keyboard.Release(machine.Key(key))
	}
}

// light is the host command that lights NumLock or not.
func (in setting) light() []byte {
	if in.numLock {
		return []byte{0xed, 0x02}
	}
	return []byte{0xed, 0x00}
}

// A typed is a key that was typed in a setting.
type typed struct {
	setting string
	key     scancode.Key
}

func (k typed) String() string { return fmt.Sprintf("%s (%s)", k.key, k.setting) }

// ask types the keys in the setting and has the oracle tell what comes of each.
func ask(o oracle, keyboard *machine.Keyboard, in setting, keys []scancode.Key) map[typed]stroke {
	all := map[typed]stroke{}
	in.hold(keyboard)
	o.heard()
	for _, key := range keys {
		if slices.Contains(in.held, key) {
			continue
		}
		keyboard.Press(machine.Key(key))
		press := o.heard()
		keyboard.Release(machine.Key(key))
		all[typed{in.name, key}] = stroke{press, o.heard()}
	}
	in.letGo(keyboard)
	o.heard()
	return all
}

// rawConsole is a virtual terminal whose keyboard is in one of the kernel's raw modes.
type rawConsole struct {
	t  *testing.T
	fd int
}

// The keyboard modes of <linux/kd.h>.
const (
	kdGKBMode, kdSKBMode = 0x4b44, 0x4b45
	kRaw, kMediumRaw     = 0, 2
)

// openRawConsole puts tty1 and its keyboard in a raw mode until the test ends. The kernel then takes no key for an order
// to switch terminals or the like.
func openRawConsole(t *testing.T, mode int) *rawConsole {
	t.Helper()
	// SysRq takes PrintScreen under Alt for itself, if it is on (drivers/tty/sysrq.c, sysrq_handle_keypress).
	const sysrq = "/proc/sys/kernel/sysrq"
	was, err := os.ReadFile(sysrq)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sysrq, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(sysrq, was, 0) })

	fd, err := unix.Open("/dev/tty1", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	cooked, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	wasMode, err := unix.IoctlGetInt(fd, kdGKBMode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
		unix.IoctlSetInt(fd, kdSKBMode, wasMode)
		unix.IoctlSetTermios(fd, unix.TCSETS, cooked)
	})
	raw := *cooked
	raw.Iflag, raw.Lflag = 0, 0
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(fd, kdSKBMode, mode); err != nil {
		t.Fatal(err)
	}
	return &rawConsole{t, fd}
}

// heard is complete: before read(2) says that there is nothing, it has the terminal take all keys that the kernel has
// for it (drivers/tty/n_tty.c, n_tty_read).
func (c *rawConsole) heard() string {
	c.t.Helper()
	return fmt.Sprintf("% x", readAll(c.t, c.fd))
}

// readAll reads what is there.
func readAll(t testing.TB, fd int) (all []byte) {
	t.Helper()
	for {
		var buf [256]byte
		n, err := unix.Read(fd, buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return all
		case err != nil && !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
		all = append(all, buf[:max(n, 0)]...)
	}
}

// wire is that of the PS/2 keyboard, through the controller.
type wire struct{ *machine.RawPS2 }

func (w wire) heard() string { return fmt.Sprintf("% x", w.Bytes()) }

// cable is an open /dev/kbd0, and the keyboard to type on.
type cable struct {
	*file
	keyboard *machine.Keyboard
	set      scancode.Set
}

// plugIn opens /dev/kbd0, where what is typed on the keyboard comes in set 1.
func plugIn(t *testing.T, keyboard *machine.Keyboard) *cable {
	t.Helper()
	return &cable{open(t, os.O_RDWR), keyboard, scancode.Set1}
}

// answer writes host commands and returns what they are answered, in hex. The answers are there when write(2) returns.
func (c *cable) answer(commands ...byte) string {
	c.t.Helper()
	if _, err := c.Write(commands); err != nil {
		c.t.Fatal(err)
	}
	conn, err := c.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	var got []byte
	conn.Control(func(fd uintptr) { got = readAll(c.t, int(fd)) })
	return fmt.Sprintf("% x", got)
}

// command writes host commands whose answers are known.
func (c *cable) command(want string, commands ...byte) {
	c.t.Helper()
	if got := c.answer(commands...); got != want {
		c.t.Fatalf("% x is answered %q, want %q", commands, got, want)
	}
}

// check types the keys in the setting and checks what comes of each.
func (c *cable) check(in setting, keys []scancode.Key, want map[typed]stroke) {
	c.t.Helper()
	in.hold(c.keyboard)
	c.upTo(machine.KeyA)
	for _, key := range keys {
		if !slices.Contains(in.held, key) {
			c.checkStroke(typed{in.name, key}, want[typed{in.name, key}])
		}
	}
	in.letGo(c.keyboard)
	c.upTo(machine.KeyA)
}

// checkStroke types one key. On a busy host the machine may hold it for so long that it repeats; so a slow one that
// brings what it should not is typed again, rather than that bytes be left out of what came.
func (c *cable) checkStroke(k typed, want stroke) {
	c.t.Helper()
	const typematicDelay = 500 * time.Millisecond
	key, mark := machine.Key(k.key), machine.KeyA
	if key == mark {
		mark = machine.KeyEnter
	}
	var got stroke
	for range 3 {
		begin := time.Now()
		c.keyboard.Press(key)
		got.press = c.read(want.press, mark)
		c.keyboard.Release(key)
		got.release = c.read(want.release, mark)
		if got == want {
			return
		}
		if time.Since(begin) < typematicDelay {
			break
		}
	}
	c.t.Errorf("%v gives %q, want %q", k, got, want)
}

// read reads what a key has brought. It takes what is wanted for complete, since a key's bytes come in one piece, and
// more of them would be found by the next key. Where it is not, or nothing is wanted, the mark tells the end.
func (c *cable) read(want string, mark machine.Key) string {
	c.t.Helper()
	const patience = 2 * time.Second // shorter than machine.Limit: there may be many keys to complain of
	c.SetReadDeadline(time.Now().Add(patience))
	var got []byte
	for wanted := (len(want) + 1) / len("00 "); len(got) < wanted; {
		var buf [256]byte
		n, err := c.Read(buf[:])
		if err != nil {
			break
		}
		got = append(got, buf[:n]...)
	}
	if len(got) > 0 && fmt.Sprintf("% x", got) == want {
		return want
	}
	return strings.TrimSpace(fmt.Sprintf("% x ", got) + c.upTo(mark))
}

// marks are what comes of the keys that serve for marks.
var marks = map[scancode.Set]map[machine.Key][]byte{
	scancode.Set1:      {machine.KeyA: {0x1e, 0x9e}, machine.KeyEnter: {0x1c, 0x9c}},
	scancode.Set2:      {machine.KeyA: {0x1c, 0xf0, 0x1c}, machine.KeyEnter: {0x5a, 0xf0, 0x5a}},
	scancode.Set3:      {machine.KeyA: {0x1c, 0xf0, 0x1c}, machine.KeyEnter: {0x5a, 0xf0, 0x5a}},
	scancode.MediumRaw: {machine.KeyA: {0x1e, 0x9e}, machine.KeyEnter: {0x1c, 0x9c}},
}

// upTo types the mark and reads up to its bytes, for what came before: nothing is on its way then.
func (c *cable) upTo(mark machine.Key) string {
	c.t.Helper()
	end := marks[c.set][mark]
	c.keyboard.Tap(mark)
	c.SetReadDeadline(time.Now().Add(machine.Limit))
	var got []byte
	for !bytes.HasSuffix(got, end) {
		var buf [256]byte
		n, err := c.Read(buf[:])
		if err != nil {
			c.t.Fatalf("read % x, then %v; want % x in the end", got, err, end)
		}
		got = append(got, buf[:n]...)
	}
	return fmt.Sprintf("% x", bytes.TrimSuffix(got, end))
}

// A difference says what hardware sends where an oracle does not. An asterisk stands for what the oracle has.
type difference struct {
	settings []setting
	keys     []scancode.Key
	stroke
}

// hardware is what the oracle has, but for the differences.
func hardware(oracle map[typed]stroke, differences []difference) map[typed]stroke {
	want := maps.Clone(oracle)
	for _, d := range differences {
		for _, in := range d.settings {
			for _, key := range d.keys {
				if has, ok := oracle[typed{in.name, key}]; ok {
					want[typed{in.name, key}] = stroke{
						strings.ReplaceAll(d.press, "*", has.press), strings.ReplaceAll(d.release, "*", has.release),
					}
				}
			}
		}
	}
	return want
}

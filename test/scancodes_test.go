package test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/scancode"
	"kbdd/test/machine"
)

// The special keys send other bytes in other settings, for the sake of software that knew fewer keys. The last of these
// is an ordinary one.
var (
	arrows = []scancode.Key{
		scancode.KeyInsert, scancode.KeyDelete, scancode.KeyHome, scancode.KeyEnd, scancode.KeyPageUp, scancode.KeyPageDown,
		scancode.KeyUp, scancode.KeyDown, scancode.KeyLeft, scancode.KeyRight,
	}
	slash    = []scancode.Key{scancode.KeyKPSlash}
	specials = slices.Concat(arrows, slash, []scancode.Key{
		scancode.KeySysRq, scancode.KeyPause, scancode.KeyHangeul, scancode.KeyHanja, scancode.KeyA,
	})
)

// fakeShifts are the differences of an oracle that knows no fake shifts. The keypad's slash has none for NumLock.
// Source: IBM, PS/2 Hardware Interface Technical Reference, Keyboards (101- and 102-Key), Set 1 Scan-Code Tables
// (pages 27 to 30) and Set 2 Scan-Code Tables (pages 30 to 33), keys 75 to 95 in their shift cases.
func fakeShifts(set scancode.Set) []difference {
	leftMake, leftBreak, rightMake, rightBreak := "e0 2a", "e0 aa", "e0 36", "e0 b6"
	if set == scancode.Set2 {
		leftMake, leftBreak, rightMake, rightBreak = "e0 12", "e0 f0 12", "e0 59", "e0 f0 59"
	}
	underLeft := stroke{leftBreak + " *", "* " + leftMake}
	underRight := stroke{rightBreak + " *", "* " + rightMake}
	underBoth := stroke{leftBreak + " " + rightBreak + " *", "* " + leftMake + " " + rightMake}
	underNumLock := stroke{leftMake + " *", "* " + leftBreak}
	return []difference{
		{[]setting{leftShift}, arrows, underLeft},
		{[]setting{rightShift}, arrows, underRight},
		{[]setting{bothShifts}, arrows, underBoth},
		{[]setting{numLock}, arrows, underNumLock},
		{[]setting{leftShift, numLockLeftShift}, slash, underLeft},
		{[]setting{rightShift, numLockRightShift}, slash, underRight},
		{[]setting{bothShifts}, slash, underBoth},
	}
}

// rawModeDifferences is where the kernel, besides, shortens or reorders what hardware sends (drivers/tty/vt/keyboard.c,
// emulate_raw). Source: the same of IBM's, Set 1 Scan-Code Tables, keys 124 and 126.
var rawModeDifferences = []difference{{
	[]setting{alone, numLock},
	[]scancode.Key{scancode.KeySysRq},
	stroke{"e0 2a e0 37", "e0 b7 e0 aa"},
}, {
	[]setting{leftShift, rightShift, bothShifts, leftCtrl, rightCtrl, numLockLeftShift, numLockRightShift},
	[]scancode.Key{scancode.KeySysRq},
	stroke{"e0 37", "e0 b7"},
}, {
	[]setting{alone, leftShift, rightShift, bothShifts, leftAlt, rightAlt, numLock, numLockLeftShift, numLockRightShift},
	[]scancode.Key{scancode.KeyPause},
	stroke{"e1 1d 45 e1 9d c5", ""},
}, {
	[]setting{leftCtrl, rightCtrl},
	[]scancode.Key{scancode.KeyPause},
	stroke{"e0 46 e0 c6", ""},
}}

// allKeys are the key codes that a console knows, to be typed alone; in other settings, the special keys.
func allKeys(in setting) (keys []scancode.Key) {
	if in.name != alone.name {
		return specials
	}
	for key := scancode.Key(1); key <= 255; key++ {
		keys = append(keys, key)
	}
	return keys
}

func TestScancodesAreThoseOfAConsoleInRawMode(t *testing.T) {
	machine.Require(t)
	keyboard := &machine.NewUinput(t, machine.UinputConfig{Name: "all keys"}).Keyboard
	console := openRawConsole(t, kRaw)
	startKbdd(t)
	has := map[typed]stroke{}
	for _, in := range settings {
		maps.Copy(has, ask(console, keyboard, in, allKeys(in)))
	}
	// Those behind KEY_UWB have no scancode: this is what keeps the comparison from being one of nothing with nothing.
	for k, s := range has {
		if silent := s == (stroke{}); silent != (k.key > scancode.KeyUWB) {
			t.Errorf("the console gives %q for %v", s, k)
		}
	}

	want := hardware(has, slices.Concat(fakeShifts(scancode.Set1), rawModeDifferences))
	f := plugIn(t, keyboard)
	for _, in := range settings {
		f.command("fa fa", in.light()...)
		f.check(in, allKeys(in), want)
	}
	console.wantPowerKeys(has)
}

// wantPowerKeys checks that a muted console has heard the keys for logind, Power, Sleep and Suspend, and no other: like
// the power button of a PC's case, they are on a device of their own.
func (c *rawConsole) wantPowerKeys(has map[typed]stroke) {
	c.t.Helper()
	var want []string
	for _, key := range []scancode.Key{scancode.KeyPower, scancode.KeySleep, scancode.KeySuspend} {
		s := has[typed{alone.name, key}]
		want = append(want, s.press, s.release)
	}
	if heard := c.heard(); heard != strings.Join(want, " ") {
		c.t.Errorf("meanwhile the console heard %s, want %s", heard, strings.Join(want, " "))
	}
}

func TestKeyCodesAreThoseOfAConsoleInMediumRawMode(t *testing.T) {
	machine.Require(t)
	keyboard := &machine.NewUinput(t, machine.UinputConfig{Name: "all keys"}).Keyboard
	console := openRawConsole(t, kMediumRaw)
	startKbdd(t)
	has := map[typed]stroke{}
	for _, in := range settings {
		maps.Copy(has, ask(console, keyboard, in, allKeys(in)))
	}
	for k, s := range has {
		if s.press == "" || s.release == "" {
			t.Errorf("the console gives %q for %v", s, k)
		}
	}

	f := plugIn(t, keyboard)
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), kdSKBMode, kMediumRaw) })
	if err != nil {
		t.Fatalf("KDSKBMODE K_MEDIUMRAW: %v", err)
	}
	f.set = scancode.MediumRaw
	for _, in := range settings {
		f.check(in, allKeys(in), has)
	}
	console.wantPowerKeys(has)
}

// ps2Keys are all keys that QEMU's PS/2 keyboard can type, to be typed alone; in other settings, some special keys, for
// here a key takes its time.
func ps2Keys(in setting) (keys []scancode.Key) {
	if in.name != alone.name {
		return []scancode.Key{
			scancode.KeySysRq, scancode.KeyPause, scancode.KeyKPSlash, scancode.KeyHome, scancode.KeyA,
		}
	}
	for _, key := range machine.QEMUKeys() {
		keys = append(keys, scancode.Key(key))
	}
	return keys
}

// askPS2 types them on the wire of the PS/2 keyboard, after the commands.
func askPS2(t *testing.T, settings []setting, commands ...byte) map[typed]stroke {
	t.Helper()
	all := map[typed]stroke{}
	if !t.Run("wire", func(t *testing.T) {
		w := wire{machine.OpenRawPS2(t)}
		w.Send(commands...)
		for _, in := range settings {
			w.Send(in.light()...)
			maps.Copy(all, ask(w, machine.PS2(t), in, ps2Keys(in)))
		}
	}) {
		t.FailNow()
	}
	return all
}

// checkPS2 types them at /dev/kbd0. The wire must be free again.
func checkPS2(t *testing.T, f *cable, want map[typed]stroke) {
	t.Helper()
	for k, s := range want {
		// Two keys QEMU can type in set 1 only, to which its keyboard is not set here.
		if s == (stroke{}) && k.key != scancode.KeyHangeul && k.key != scancode.KeyHanja {
			t.Errorf("nothing comes of %v on the wire", k)
		}
	}
	for _, in := range settings {
		f.command("fa fa", in.light()...)
		f.check(in, ps2Keys(in), want)
	}
}

// The PS/2 keyboard is in set 2, as always, and the controller makes set 1 of it.
func TestScancodesAreThoseOfAPS2Keyboard(t *testing.T) {
	machine.Require(t)
	want := hardware(askPS2(t, settings), fakeShifts(scancode.Set1))
	startKbdd(t)
	checkPS2(t, plugIn(t, machine.PS2(t)), want)
}

// requireDirect skips a test if the machine's controller translates what the keyboard sends. The kernel says so by its
// command line.
func requireDirect(t *testing.T) {
	t.Helper()
	machine.Require(t)
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(line)), "i8042.direct") {
		t.Skip("this test needs a machine that was booted with i8042.direct: run it with make test")
	}
}

func TestDirectScancodesAreThoseOfAPS2KeyboardInSet2(t *testing.T) {
	requireDirect(t)
	want := hardware(askPS2(t, settings, 0xf0, 0x02), fakeShifts(scancode.Set2))
	startKbdd(t)
	f := plugIn(t, machine.PS2(t))
	f.command("fa fa", 0xf0, 0x02)
	f.set = scancode.Set2
	checkPS2(t, f, want)
}

// set3Differences is where QEMU has other codes in set 3. Source: IBM, as above, Set 3 Scan Code Tables (pages 34 to 36),
// keys 95 and 105. The other keys IBM's keyboards have not: Linux knows two codes each for the calculator and the home
// page (drivers/input/keyboard/atkbd.c, atkbd_set3_keycode), of which QEMU has the later; and the Japanese key beside the
// right Shift, which QEMU lacks, has its code of set 2.
var set3Differences = []difference{
	{[]setting{alone}, slash, stroke{"77", "f0 77"}},
	{[]setting{alone}, []scancode.Key{scancode.KeyKPMinus}, stroke{"84", "f0 84"}},
	{[]setting{alone}, []scancode.Key{scancode.KeyCalc}, stroke{"99", "f0 99"}},
	{[]setting{alone}, []scancode.Key{scancode.KeyHomePage}, stroke{"92", "f0 92"}},
	{[]setting{alone}, []scancode.Key{scancode.KeyRo}, stroke{"51", "f0 51"}},
	// The break comes with the make: in set 2, in which the kernel has the PS/2 keyboard, Pause is released at once.
	{[]setting{alone}, []scancode.Key{scancode.KeyPause}, stroke{"62 f0 62", ""}},
}

func TestDirectScancodesAreThoseOfAPS2KeyboardInSet3(t *testing.T) {
	requireDirect(t)
	const allTypematicMakeBreak = 0xfa // as QEMU's keyboard has all keys anyway
	want := hardware(askPS2(t, []setting{alone}, 0xf0, 0x03, allTypematicMakeBreak), set3Differences)
	startKbdd(t)
	f := plugIn(t, machine.PS2(t))
	f.command("fa fa fa", 0xf0, 0x03, allTypematicMakeBreak)
	f.set = scancode.Set3
	f.check(alone, ps2Keys(alone), want)
}

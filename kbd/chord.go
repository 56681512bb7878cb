package kbd

import (
	"kbdd/scancode"
)

// Chords are the keys that go on to the system around a muted keyboard.
type Chords struct {
	VT         bool // Ctrl-Alt-F1 to F12 switch the terminal
	SysRq      bool // Alt-SysRq and a key is a command to the kernel; with R it frees the keyboard too
	CtrlAltDel bool // Ctrl-Alt-Del is a signal to PID 1
	Power      bool // the keys Power, Sleep, Suspend and Restart are heard by logind, and by the reader as well
}

// AllChords is what a person at a keyboard expects.
var AllChords = Chords{VT: true, SysRq: true, CtrlAltDel: true, Power: true}

// Keys above keyCount, which no scancode stands for, but which the system wants (linux/input-event-codes.h).
const (
	keyPower2  scancode.Key = 0x164
	keyRestart scancode.Key = 0x198
)

var (
	ctrlKeys  = setOf(scancode.KeyLeftCtrl, scancode.KeyRightCtrl)
	altKeys   = setOf(scancode.KeyLeftAlt, scancode.KeyRightAlt)
	powerKeys = setOf(scancode.KeyPower, scancode.KeySleep, scancode.KeySuspend)
)

// A chord follows one keyboard for the keys that are not the reader's. As on a console, Ctrl and Alt may be down on another
// keyboard, and SysRq may not.
//
//	Ctrl+Alt  + F1 ... F12, Del      one tap at the bypass, with its modifiers
//	Alt+SysRq + key ...              Alt and SysRq at the bypass with the first key, until SysRq is up
//	Power ...                        as it is
//
// The bypass has the modifiers down only as long as it needs them, so that none sticks there. Its taps end at once
// where the person holds the key: the kernel acts on the press.
type chord struct {
	modifiers keySet // Ctrl, Alt and SysRq keys that are down on this keyboard
	taken     keySet // keys that are down and are not the reader's
	command   bool   // the bypass has Alt and SysRq down
}

// An action is what to do for a key besides, or instead of, telling the reader.
type action struct {
	taken    bool // the reader is not told
	bypass   []stroke
	terminal int  // switch to this terminal; 0: none
	unraw    bool // free the keyboard from those who hold it
}

// A stroke is a press or release of a key.
type stroke struct {
	key     scancode.Key
	pressed bool
}

// idle tells if nothing is down that makes a difference to the next key.
func (c *chord) idle() bool { return c.modifiers.empty() && c.taken.empty() }

// starts tells if a key makes a difference to an idle chord.
func (on Chords) starts(key scancode.Key) bool {
	return on != Chords{} &&
		(key >= keyCount || ctrlKeys.has(key) || altKeys.has(key) || powerKeys.has(key) || key == scancode.KeySysRq ||
			functionKey(key) > 0 || isDelete(key))
}

// key takes a press or release. ctrlAlt tells that Ctrl and Alt are down, on whatever keyboard.
func (c *chord) key(on Chords, key scancode.Key, pressed, ctrlAlt bool) action {
	switch {
	case ctrlKeys.has(key), altKeys.has(key), key == scancode.KeySysRq:
		return c.modifier(key, pressed)
	case isPower(key):
		if on.Power {
			return action{bypass: []stroke{{key, pressed}}}
		}
		return action{}
	case !pressed:
		return c.release(key)
	}
	return c.press(on, key, ctrlAlt)
}

func isPower(key scancode.Key) bool {
	return powerKeys.has(key) || key == keyPower2 || key == keyRestart
}

func (c *chord) holds(keys keySet) bool {
	for key := range keys.all() {
		if c.modifiers.has(key) {
			return true
		}
	}
	return false
}

// modifier follows the modifiers, which the reader hears of too. SysRq counts if Alt was down before it.
func (c *chord) modifier(key scancode.Key, pressed bool) (a action) {
	switch {
	case !pressed:
		c.modifiers.remove(key)
	case key != scancode.KeySysRq || c.holds(altKeys):
		c.modifiers.add(key)
	}
	if !c.holds(altKeys) {
		c.modifiers.remove(scancode.KeySysRq)
	}
	if c.command && !c.modifiers.has(scancode.KeySysRq) {
		c.command = false
		a.bypass = []stroke{{scancode.KeySysRq, false}, {scancode.KeyLeftAlt, false}}
	}
	return a
}

func (c *chord) press(on Chords, key scancode.Key, ctrlAlt bool) (a action) {
	sysRq := c.modifiers.has(scancode.KeySysRq)
	switch terminal := functionKey(key); {
	case sysRq && on.SysRq:
		if !c.command {
			c.command = true
			a.bypass = []stroke{{scancode.KeyLeftAlt, true}, {scancode.KeySysRq, true}}
		}
		a.bypass = append(a.bypass, tap(key)...)
		a.unraw = key == scancode.KeyR
	case ctrlAlt && terminal > 0 && on.VT:
		a.terminal = terminal
		a.bypass = ctrlAltTap(key)
	case ctrlAlt && isDelete(key) && on.CtrlAltDel:
		a.bypass = ctrlAltTap(key)
	default:
		return a
	}
	a.taken = true
	c.taken.add(key)
	return a
}

// release takes what was taken at its press.
func (c *chord) release(key scancode.Key) action {
	return action{taken: c.taken.remove(key)}
}

// functionKey is n for Fn, or 0.
func functionKey(key scancode.Key) int {
	switch {
	case key >= scancode.KeyF1 && key <= scancode.KeyF10:
		return int(key-scancode.KeyF1) + 1
	case key == scancode.KeyF11:
		return 11
	case key == scancode.KeyF12:
		return 12
	}
	return 0
}

func isDelete(key scancode.Key) bool { return key == scancode.KeyDelete || key == scancode.KeyKPDot }

func tap(key scancode.Key) []stroke {
	return []stroke{{key, true}, {key, false}}
}

func ctrlAltTap(key scancode.Key) []stroke {
	const ctrl, alt = scancode.KeyLeftCtrl, scancode.KeyLeftAlt
	return []stroke{{ctrl, true}, {alt, true}, {key, true}, {key, false}, {alt, false}, {ctrl, false}}
}

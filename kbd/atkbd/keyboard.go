package atkbd

import (
	"time"

	"kbdd/scancode"
)

// A Keyboard is one AT keyboard on a cable of its own. It is made by [New]. It has no lock: its owner sees to it that one
// call comes after the other.
//
//	Key ---> held --+--> enc --> out ---> Read
//	Tick -----------+             ^
//	Write --> command ------------+ answers
type Keyboard struct {
	held   keySet           // the keys that are down and were pressed while the keyboard scanned
	enc    scancode.Encoder // what the reader will take the keys for, once it has read all
	behind bool             // held and enc differ, for there was no room; see level
	out    queue

	repeat  repeat
	command command
	types   keyTypes
	typed   bool // types may differ from defaultTypes

	scanning    bool
	leds        LEDs
	powerOnLEDs LEDs

	dropped, overruns uint64
}

// LEDs are the keyboard's lights, in the bits of the host command ED, which are those of KDGETLED too.
type LEDs byte

// The lights.
const (
	ScrollLock LEDs = 1 << iota
	NumLock
	CapsLock

	allLEDs = ScrollLock | NumLock | CapsLock
)

// New makes a keyboard that was switched on this moment: scanning, in set 1, no key down, nothing to read, and with the
// given LEDs lit. Hardware lights none; here they are those that the person sees on the keyboard already.
func New(leds LEDs) *Keyboard {
	k := &Keyboard{powerOnLEDs: leds & allLEDs}
	k.powerOn()
	return k
}

func (k *Keyboard) powerOn() {
	k.enc.Reset(scancode.Set1)
	k.setDefaults()
	k.scanning = true
	k.command = command{last: selfTestPassed}
	k.SetLEDs(k.powerOnLEDs)
}

// Key tells that the key was pressed or released at the time now, by a clock of the caller's that never goes back.
// Autorepeat is not passed: the keyboard makes its own. A key without a code in the selected set is none of this
// keyboard's: it sends nothing and stops no other's repeat.
func (k *Keyboard) Key(now time.Duration, key scancode.Key, pressed bool) {
	switch {
	case !k.Set().Has(key):
		if pressed {
			k.dropped++
		}
	case !pressed:
		k.release(key)
	case k.scanning && !k.held.has(key):
		k.press(now, key)
	}
}

func (k *Keyboard) press(now time.Duration, key scancode.Key) {
	k.startRepeat(now, key)
	if k.breaks(key) {
		k.held.add(key)
	}
	if !k.behind {
		k.send(key, true)
	}
}

func (k *Keyboard) release(key scancode.Key) {
	k.held.remove(key)
	if k.repeat.key == key {
		k.stopRepeat()
	}
	if k.scanning && !k.behind && k.enc.Down(key) {
		k.send(key, false)
	}
}

// ReleaseAll releases every key that is down, as when the keyboard is unplugged. A key that was down must be pressed
// anew to be heard of; that it was released in between need not be told.
func (k *Keyboard) ReleaseAll() {
	k.stopRepeat() // of a key that has no break, and so is not held
	for key := range k.held.all() {
		k.release(key)
	}
}

// send queues a make or break, or the overrun code if it may not fit. Hardware drops the whole sequence too, never a
// part of it.
func (k *Keyboard) send(key scancode.Key, pressed bool) bool {
	if k.out.keyRoom() < scancode.MaxLen+1 {
		k.overrun()
		return false
	}
	var buf [scancode.MaxLen]byte
	if !pressed {
		k.out.push(k.remember(k.enc.Append(buf[:0], key, false)), key, breakCode)
		return true
	}
	b := k.remember(k.appendMake(buf[:0], key))
	if k.enc.Down(key) {
		k.out.push(b, key, makeCode)
	} else {
		k.out.push(b, key, otherCode)
	}
	return true
}

// appendMake appends the make of a key, or its repeat if the reader takes it to be down. If the key's type is one
// without breaks, the reader is owed none.
func (k *Keyboard) appendMake(dst []byte, key scancode.Key) []byte {
	dst = k.enc.Append(dst, key, true)
	if !k.breaks(key) {
		var unsent [scancode.MaxLen]byte
		k.enc.Append(unsent[:0], key, false)
	}
	return dst
}

// overrun puts the overrun code in the place of the keys that do not fit: one for all that are lost until the reader
// has been brought level.
func (k *Keyboard) overrun() {
	if k.behind {
		return
	}
	k.behind = true
	k.sendOverrun()
}

// Overrun tells that keys were lost on the way to this keyboard. Its owner sees to those that are down, or not any more.
func (k *Keyboard) Overrun() {
	switch {
	case !k.scanning || k.behind: // the reader is told nothing, or was told already
	case k.out.keyRoom() < scancode.MaxLen+1:
		k.overrun()
	default:
		k.sendOverrun()
	}
}

func (k *Keyboard) sendOverrun() {
	k.overruns++
	switch k.Set() {
	case scancode.Set1:
		k.out.push([]byte{0xff}, 0, otherCode)
	case scancode.Set2, scancode.Set3:
		k.out.push([]byte{0x00}, 0, otherCode)
	}
}

// level sends the breaks and makes that the reader lacks: after an overrun, and when scanning returns. What does not
// fit yet comes after a later Read.
func (k *Keyboard) level() {
	if !k.behind || !k.scanning {
		return
	}
	for key := range keys() {
		if k.enc.Down(key) && !k.held.has(key) && !k.send(key, false) {
			return
		}
	}
	for key := range k.held.all() {
		if !k.enc.Down(key) && k.breaks(key) && !k.send(key, true) {
			return
		}
	}
	k.behind = false
}

// Read takes what the keyboard has sent, up to len(p) bytes, and returns how many. It may make room for codes that were
// held back, so there can be more to read even if p was not filled.
func (k *Keyboard) Read(p []byte) int {
	n := k.out.pop(p)
	// Not at once: a reader that is too slow would be brought level and lose keys again with every few bytes.
	if k.out.keyRoom() >= QueueSize/2 {
		k.level()
	}
	return n
}

// Len is the number of bytes that wait for Read.
func (k *Keyboard) Len() int { return k.out.n }

// Flush drops what waits for Read, but for the breaks of the keys that the reader knows to be down and the makes of
// those that still are.
func (k *Keyboard) Flush() {
	k.out.clear(clearAnswers)
	k.level()
}

// Set is the selected scancode set.
func (k *Keyboard) Set() scancode.Set { return k.enc.Set() }

// SelectSet selects the set as the host command F0 does, without its answer. [scancode.MediumRaw] can be selected this
// way only. The reader gets the breaks of the keys that it knows to be down in the old set; keys that are held are heard
// of in the new one when they are pressed anew. To select the set that is selected changes nothing.
func (k *Keyboard) SelectSet(set scancode.Set) {
	if set != k.Set() {
		k.forgetKeys()
		k.enc.Reset(set)
	}
}

// forgetKeys drops the unread codes and tells the reader that all keys are up. There is room for that always: see
// QueueSize.
func (k *Keyboard) forgetKeys() {
	k.stopRepeat()
	told := k.out.clear(clearMakes)
	for key := range keys() {
		if k.enc.Down(key) && !told.has(key) {
			var buf [scancode.MaxLen]byte
			k.out.push(k.remember(k.enc.Append(buf[:0], key, false)), key, breakCode)
		}
	}
	k.enc.Reset(k.Set())
	k.held = keySet{}
	k.behind = false
}

// LEDs tells which lights are lit. Only Write and SetLEDs change them.
func (k *Keyboard) LEDs() LEDs { return k.leds }

// SetLEDs lights the LEDs as the host command ED does, without its answer.
func (k *Keyboard) SetLEDs(leds LEDs) {
	k.leds = leds & allLEDs
	k.enc.SetNumLock(k.leds&NumLock != 0)
}

// Dropped is how many presses had no code in the selected set.
func (k *Keyboard) Dropped() uint64 { return k.dropped }

// Overruns is how many times keys were lost, and the overrun code was sent in their place.
func (k *Keyboard) Overruns() uint64 { return k.overruns }

package atkbd

import (
	"time"

	"kbdd/scancode"
)

// defaultTypematic is the data byte of F3 for 500 ms and 10.9 repeats a second.
const defaultTypematic = 0x2b

// repeatRoom is how many bytes may wait for the reader when a repeat is sent: what hardware has room for in all. While
// the host does not read, hardware stores no repeats, lest a key that is held should fill the buffer.
const repeatRoom = 16

// A repeat is the typematic key and its timing.
type repeat struct {
	key           scancode.Key  // the key pressed last, if it repeats, is down and none was pressed since; or 0
	at            time.Duration // when the key repeats next
	delay, period time.Duration
}

// set takes the data byte of F3. IBM gives the delay as 250 ms times one more than bits 6 and 5, and the period as
// (8 + bits 2 to 0) * 2^(bits 4 and 3) * 4.17 ms: 250 ms to 1 s, and 30 to 2 a second.
func (r *repeat) set(b byte) {
	r.delay = time.Duration(b>>5&3+1) * 250 * time.Millisecond
	r.period = time.Duration(8+b&7) << (b >> 3 & 3) * 4170 * time.Microsecond
}

// startRepeat has the key repeat that was pressed last, if it does at all; the one before it repeats no more.
func (k *Keyboard) startRepeat(now time.Duration, key scancode.Key) {
	k.stopRepeat()
	if k.repeats(key) {
		k.repeat.key = key
		k.repeat.at = now + k.repeat.delay
	}
}

func (k *Keyboard) stopRepeat() { k.repeat.key, k.repeat.at = 0, 0 }

// Next tells when Tick is due, if it is.
func (k *Keyboard) Next() (at time.Duration, ok bool) {
	return k.repeat.at, k.repeat.key != 0
}

// Tick tells that it is now. If the key that is held is due to repeat, it does, once: a late Tick makes up for nothing.
func (k *Keyboard) Tick(now time.Duration) {
	if k.repeat.key == 0 || now < k.repeat.at {
		return
	}
	k.repeat.at += k.repeat.period
	if now >= k.repeat.at {
		k.repeat.at = now + k.repeat.period
	}
	if k.out.n > repeatRoom-scancode.MaxLen {
		return
	}
	var buf [scancode.MaxLen]byte
	k.out.push(k.remember(k.appendMake(buf[:0], k.repeat.key)), k.repeat.key, otherCode)
}

// Typematic tells how long a key is held before it repeats, and how long from one repeat to the next.
func (k *Keyboard) Typematic() (delay, period time.Duration) {
	return k.repeat.delay, k.repeat.period
}

// SetTypematic sets the delay before the first repeat and the period between repeats, as the host command F3 does but
// finer and without its answer. Less than a millisecond is taken for one.
func (k *Keyboard) SetTypematic(delay, period time.Duration) {
	k.repeat.delay, k.repeat.period = max(delay, time.Millisecond), max(period, time.Millisecond)
}

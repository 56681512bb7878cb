package input

import (
	"time"

	evdev "github.com/gvalkov/golang-evdev"
)

// A keyboard that repeats by itself lets pass, at the slowest that it can be set to, 1 s from a press to its first repeat,
// and 500 ms from one to the next. These are a little longer.
const (
	hardwareDelayMax  = 1100 * time.Millisecond
	hardwareRepeatMax = 550 * time.Millisecond
)

// A stream makes key presses and releases of a node's events, each press with its release.
type stream struct {
	node    interface{ Pressed() (keySet, error) }
	deliver Deliver
	lost    Lost
	pointer *pointer // nil if the node is a keyboard and nothing else

	down    keySet // pressed, as far as was delivered
	held    keySet // down by the kernel, as far as it was read
	dropped bool   // the kernel's buffer ran over; the events up to the next SYN_REPORT are not whole

	hidden hidden

	repeats   bool      // the keyboard repeats by itself
	repeatsBy time.Time // by when it has repeated the key that was pressed last, if that is held

	watched bool // giveBack is to be told when something has been delivered
}

// hidden are keys that are held since before the grab, with an injected release behind them. If their keyboard repeats by itself,
// the next repeat looks like a press: they do not count as pressed until they were up, or until that must have been seen.
type hidden struct {
	keys  keySet
	until time.Time
}

func (s *stream) hide(h hidden) {
	if s.repeats {
		s.hidden = h
	}
}

// take delivers events.
func (s *stream) take(events []evdev.InputEvent) {
	stale := false // what follows of keys is older than what level has found, and what undid it may be gone with that
	for i := range events {
		ev := &events[i]
		if stale && ev.Type == evdev.EV_KEY {
			continue
		}
		if s.pointer != nil {
			s.pointer.take(ev)
		}
		switch {
		case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_DROPPED:
			s.dropped = true
		case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_REPORT && s.dropped:
			s.dropped = false
			s.lost()
			s.level()
			stale = true
		case ev.Type == evdev.EV_KEY && !s.dropped:
			switch ev.Value {
			case 0:
				s.held.remove(ev.Code)
				s.release(ev.Code)
			case 1:
				s.held.add(ev.Code)
				s.press(ev.Code)
				s.expectRepeat(hardwareDelayMax)
			default:
				s.expectRepeat(hardwareRepeatMax)
			}
		}
	}
}

// expectRepeat notes how long from now on a keyboard that repeats by itself may be silent.
func (s *stream) expectRepeat(silence time.Duration) {
	if s.repeats {
		s.repeatsBy = time.Now().Add(silence)
	}
}

func (s *stream) press(code uint16) {
	if s.hidden.keys.has(code) {
		if time.Now().Before(s.hidden.until) {
			return
		}
		s.hidden = hidden{}
	}
	if s.down.add(code) {
		s.deliver(code, true)
	}
}

func (s *stream) release(code uint16) {
	s.hidden.keys.remove(code)
	if s.down.remove(code) {
		s.deliver(code, false)
	}
}

// level delivers what was lost with the kernel's buffer, as far as it made a difference: for each key that is up now its
// release, for each that is down its press. Should the node be gone, the next read tells.
func (s *stream) level() {
	now, err := s.node.Pressed()
	if err != nil {
		return
	}
	s.held = now
	if s.pointer != nil {
		s.pointer.level(now)
	}
	for code := range s.down.all() {
		if !now.has(code) {
			s.release(code)
		}
	}
	for code := range now.all() {
		if !s.down.has(code) {
			s.press(code)
			s.expectRepeat(hardwareDelayMax)
		}
	}
}

// releaseAll delivers a release for each key that is down.
func (s *stream) releaseAll() {
	if s.pointer != nil {
		s.pointer.release()
	}
	for code := range s.down.all() {
		s.release(code)
	}
}

package input

import (
	"errors"
	"time"

	evdev "github.com/gvalkov/golang-evdev"
)

// Neutral is the moment at which no key is down: then a keyboard changes hands, so that nobody gets half of a key press.

// NeutralLimit is how long a keyboard may take to become neutral before releases are injected.
const NeutralLimit = 500 * time.Millisecond

// deliverLimit is how long injected releases may take to be delivered.
const deliverLimit = 50 * time.Millisecond

var errUnwanted = errors.New("no longer wanted")

// settle grabs n at a neutral moment, or after NeutralLimit with releases injected for the console. To n's reader those keys
// are not down until pressed anew; what is no press, but may look like one, is returned.
func settle(n node, wanted func() bool) (h hidden, err error) {
	deadline := time.Now().Add(NeutralLimit)
	var last lastKey
	for {
		keys, err := n.Pressed()
		if err != nil {
			return h, err
		}
		last.look(keys)
		left := time.Until(deadline)
		if !keys.empty() && left > 0 {
			if err := n.Wait(left); err != nil {
				return h, err
			}
			// What is not a key Pressed leaves there, and the next Wait would not wait: for as long as a mouse moves.
			if _, err := drain(n, &last); err != nil {
				return h, err
			}
			continue
		}
		if !wanted() {
			return h, errUnwanted
		}
		if !keys.empty() {
			if err := n.Release(keys); err != nil {
				return h, err
			}
		}
		if err := n.Grab(); err != nil {
			return h, err
		}
		// A key that was pressed since the look at the keys may have been heard by the console. If so, it must hear
		// the release too.
		pressed, err := drain(n, &last)
		if err != nil || pressed.empty() {
			return last.hide(keys), err
		}
		for !pressed.empty() {
			if pressed, err = letGo(n, pressed); err != nil {
				return h, err
			}
		}
		last = lastKey{}
	}
}

// A lastKey is the key that was pressed last before a grab, the only one that a keyboard may repeat by itself.
type lastKey struct {
	code      uint16    // 0: which that is, is not known
	repeatsBy time.Time // by when it has repeated, the next time, if it is held
	down      keySet    // at the last look
}

// take has seen an event.
func (l *lastKey) take(ev *evdev.InputEvent) {
	switch {
	case ev.Type == evdev.EV_KEY && ev.Value == 1:
		l.code, l.repeatsBy = ev.Code, time.Now().Add(hardwareDelayMax)
	case ev.Type == evdev.EV_KEY && ev.Value == 2:
		l.code, l.repeatsBy = ev.Code, time.Now().Add(hardwareRepeatMax)
	case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_DROPPED:
		l.forget()
	}
}

// look has seen which keys are down. Of another one that is down since the last look the press may not have been seen.
func (l *lastKey) look(down keySet) {
	for code := range down.all() {
		if code != l.code && !l.down.has(code) {
			l.forget()
		}
	}
	l.down = down
}

// forget notes that some key may have been pressed this moment.
func (l *lastKey) forget() { l.code, l.repeatsBy = 0, time.Now().Add(hardwareDelayMax) }

// hide tells what of these keys, which are held, may seem to be pressed when it repeats.
func (l *lastKey) hide(keys keySet) (h hidden) {
	switch {
	case l.code == 0:
		h = hidden{keys, time.Now().Add(hardwareRepeatMax)}
		if h.until.Before(l.repeatsBy) {
			h.until = l.repeatsBy
		}
	case keys.has(l.code):
		h.until = l.repeatsBy
		h.keys.add(l.code)
	}
	return h
}

// drain throws away what was not read yet, and tells the keys whose press was among it. Where the kernel's buffer has run
// over those are all that are down.
func drain(n node, last *lastKey) (pressed keySet, err error) {
	lost := false
	err = n.TakeUnread(func(events []evdev.InputEvent) {
		for i := range events {
			ev := &events[i]
			last.take(ev)
			switch {
			case ev.Type == evdev.EV_KEY && ev.Value == 1:
				pressed.add(ev.Code)
			case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_DROPPED:
				lost = true
			}
		}
	})
	if err != nil || !lost {
		return pressed, err
	}
	down, err := n.Pressed()
	for code := range down.all() {
		pressed.add(code)
	}
	return pressed, err
}

// letGo undoes a grab at whose moment keys were pressed. For those that are up already the console may have heard the
// press and not the release. It is sent one; but the kernel sends none for a key that is up. So while the console
// does not hear it the key is pressed once more. A release too many means nothing to it.
//
// A key that was down at the look and is up right after may have been released too early for the console to hear it. Then
// all is as before: n is grabbed again, and those keys are returned with the ones that are down at that moment.
func letGo(n node, pressed keySet) (again keySet, err error) {
	down, err := n.Pressed()
	if err != nil {
		return again, err
	}
	up := pressed
	for code := range down.all() {
		up.remove(code)
	}
	if err := n.Press(up); err != nil {
		return again, err
	}
	if err := n.Ungrab(); err != nil {
		return again, err
	}
	down, err = n.Pressed()
	if err != nil {
		return again, err
	}
	if err := n.Release(up); err != nil {
		return again, err
	}
	for code := range down.all() {
		pressed.remove(code)
	}
	if pressed.empty() {
		return again, nil
	}
	if err := n.Grab(); err != nil {
		return again, err
	}
	again, err = drain(n, new(lastKey))
	for code := range pressed.all() {
		again.add(code)
	}
	for code := range down.all() { // those the console has heard, and does not hear go up from now on
		again.add(code)
	}
	return again, err
}

// giveBack ungrabs n at a neutral moment, or after NeutralLimit with releases injected, unless the keyboard is wanted
// again meanwhile. Before the console has the keyboard, all releases are delivered: those that go around the mute would
// come in between what is typed there.
//
// Neutral is that of the keys that were read none is down, and that there is nothing unread. To ask the kernel which
// are down would take unread keys away (drivers/input/evdev.c, evdev_handle_get_val), and their order.
func (k *Keyboard) giveBack(n node, s *stream, ended <-chan struct{}) {
	deadline := time.Now().Add(NeutralLimit)
	injected := false
	for {
		left := time.Until(deadline)
		late := left <= 0 && !injected
		if !k.gate.lockWithin(max(left, 0) + deliverLimit) { // run hangs in Deliver
			if !k.wants(muted) {
				k.wrest(n)
				<-ended
			}
			return
		}
		unread := n.Unread()
		if unread && late { // run does not come to read it
			if !k.passUnread(n, s) {
				k.gate.Unlock()
				<-ended
				return
			}
			unread = false
		}
		held, quiet := s.held, s.repeatsBy
		again := k.wants(muted) // looked at last: what is above may take a while
		s.watched = !again
		k.gate.Unlock()
		switch {
		case again:
			return
		case held.empty() && !unread, left <= 0 && injected:
			k.revoke(n)
			return
		case late && time.Until(quiet) > 0:
			// A keyboard that repeats by itself goes on after an injected release, and the console would take the next
			// repeat for a press. It has to be heard out.
			deadline = quiet
			continue
		case late:
			n.Release(held) // where this fails the keyboard is gone
			injected, deadline = true, time.Now().Add(deliverLimit)
			continue
		}
		select {
		case <-k.news:
		case <-ended:
			k.revoke(n)
			return
		case <-time.After(left):
		}
	}
}

// passUnread delivers what nobody has read yet, with gate locked. It tells if that took no longer than it may: else the console has
// its keyboard already.
func (k *Keyboard) passUnread(n node, s *stream) (inTime bool) {
	done := make(chan struct{})
	hangs := time.AfterFunc(deliverLimit, func() {
		defer close(done)
		k.wrest(n)
	})
	n.TakeUnread(func(events []evdev.InputEvent) { k.pass(s, events) }) // where this fails the keyboard is gone
	if inTime = hangs.Stop(); !inTime {
		<-done
	}
	return inTime
}

// wrest gives the console its keyboard though Deliver hangs. The watchdog sees to that.
func (k *Keyboard) wrest(n node) {
	if keys, err := n.Pressed(); err == nil {
		n.Release(keys)
	}
	k.letRevoke(n)
}

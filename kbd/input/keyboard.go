// Package input is the keyboards of this machine: which of the evdev nodes they are, and one of them in use. It does
// not know who listens, nor what the keys mean.
//
// A [Keyboard] is the console's until Mute, and again after Unmute. In between its node is open and grabbed, and a
// goroutine waits for its events. After Share it is open too, but not grabbed: the console hears it as well.
//
//	           Mute                  neutral, or 500 ms                Unmute
//	console ──────────► settling ────────────────────────► muted ───────────────► leaving
//	   ▲                 node open                          grabbed, keys         │ still grabbed
//	   └────────────────────────────────────────────────────delivered─────────────┘ neutral, or 500 ms
//
// Neutral is the moment when no key is down. Taking the keyboard or giving it back at another would leave the console
// with half of a key press: a Shift that it never hears released sticks, a key whose press it missed repeats into the
// shell. When the time is up, the releases are injected.
package input

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	evdev "github.com/gvalkov/golang-evdev"
	"golang.org/x/sys/unix"
)

// Deliver takes a key press or release of one keyboard: a Linux key code, and whether it went down. It is called for one
// key at a time, and must not wait. For every press that is delivered a release follows, also when the keyboard is given
// back or unplugged; repeats are not delivered.
type Deliver = func(code uint16, pressed bool)

// Lost takes the news that the kernel's buffer has run over, and that keys were lost with it. What is down is delivered
// from then on as ever. It is called as a Deliver is.
type Lost = func()

// A use is what is made of a keyboard.
type use int

const (
	unused use = iota // the console alone hears it; the node is not open
	shared            // the keys are delivered, and the console hears them as well
	muted             // the keys are delivered, and the console does not hear them
)

// A Keyboard is one evdev node that is a keyboard.
type Keyboard struct {
	Info

	log     *slog.Logger
	open    func() (node, error)
	pointer *pointer // what else the node is; nil: nothing; fixed

	mu      sync.Mutex
	want    use           // guarded by mu
	is      use           // guarded by mu; unused with no node
	deliver Deliver       // guarded by mu; of the last Mute or Share
	lost    Lost          // guarded by mu; likewise
	leds    int           // guarded by mu; of the last SetLEDs since then, or asTheyAre
	busy    bool          // guarded by mu; change runs
	settled chan struct{} // guarded by mu; closed when change ends
	node    node          // guarded by mu; open while shared, muted and leaving; closed by change while busy, else by run
	stream  *stream       // guarded by mu; of node; what it holds is guarded by gate
	ended   chan struct{} // guarded by mu; closed when run has ended
	end     error         // guarded by mu; why run has ended; nil while it runs
	revoked bool          // guarded by mu; revoke has ended run
	grabbed node          // guarded by mu; open while another program has grabbed the keyboard; see await
	failure error         // guarded by mu; what was logged of the last attempt to take the keyboard

	// For Stuck.
	turns   atomic.Uint64 // odd while keys are delivered, even while run waits in read(2)
	stalled uint64        // turns at the last look, if there was something to do then; guarded by mu

	// For giveBack, which waits for the keyboard to become neutral.
	news chan struct{} // has a token when there is reason to look again
	gate *gate         // locked by run from before events are read until they are delivered
}

// newKeyboard is the keyboard that info tells of. Nothing is opened yet.
func newKeyboard(info Info, log *slog.Logger) *Keyboard {
	k := &Keyboard{Info: info, log: log.With("keyboard", info.Name, "node", info.Path)}
	k.open = func() (node, error) { return openNode(info.Path) }
	k.leds = asTheyAre
	k.news, k.gate = make(chan struct{}, 1), newGate()
	return k
}

// Mute takes the keyboard from the console and gives its keys to deliver. It returns at once, and the channel that it
// returns is closed when that is done, or has failed, or an Unmute has overtaken it. A failure is logged.
func (k *Keyboard) Mute(deliver Deliver, lost Lost) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deliver, k.lost = deliver, lost
	return k.changeToLocked(muted)
}

// Share is Mute, but the console hears the keyboard as well: it has the LEDs, and what goes around a mute goes to the
// system by itself. There is no moment to wait for.
func (k *Keyboard) Share(deliver Deliver, lost Lost) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deliver, k.lost = deliver, lost
	return k.changeToLocked(shared)
}

// asTheyAre stands for LEDs that nobody has set.
const asTheyAre = -1

// SetLEDs lights the keyboard's LEDs while it is muted: bit 0 is Scroll Lock, 1 Num Lock, 2 Caps Lock. With Unmute they
// are the console's again: the kernel sees to that (drivers/tty/vt/keyboard.c, kbd_start).
func (k *Keyboard) SetLEDs(leds uint8) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.want != muted {
		return
	}
	k.leds = int(leds)
	k.showLocked()
}

// showLocked brings the LEDs to the keyboard.
func (k *Keyboard) showLocked() {
	if k.is != muted || k.leds == asTheyAre {
		return
	}
	if err := k.node.SetLEDs(uint8(k.leds)); err != nil && !errors.Is(err, unix.ENODEV) {
		k.log.Warn("cannot set LEDs", "err", err)
	}
}

// Unmute gives the keyboard back to the console. The channel that it returns is closed when the console has it.
func (k *Keyboard) Unmute() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changeToLocked(unused)
}

func (k *Keyboard) changeToLocked(want use) <-chan struct{} {
	k.want = want
	if want != muted {
		k.leds = asTheyAre
	}
	k.tell()
	if !k.busy {
		k.busy = true
		k.settled = make(chan struct{})
		go k.change()
	}
	return k.settled
}

func (k *Keyboard) tell() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// change makes the keyboard what it is wanted to be, however often that changes meanwhile.
func (k *Keyboard) change() {
	failed := false
	for {
		k.mu.Lock()
		if k.end != nil {
			failed = !k.revoked
			k.closeLocked()
		}
		n, s, ended, is, want := k.node, k.stream, k.ended, k.is, k.want
		if is == want || is == unused && failed {
			if want == unused {
				k.awaitNoLongerLocked()
			}
			k.busy = false
			close(k.settled)
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		switch is {
		case unused:
			failed = !k.take(want)
		case shared:
			failed = false
			k.revoke(n)
		default:
			failed = false
			k.giveBack(n, s, ended)
		}
	}
}

// closeLocked closes the node whose run has ended.
func (k *Keyboard) closeLocked() {
	switch {
	case k.revoked:
	case errors.Is(k.end, unix.ENODEV):
		k.log.Info("keyboard is gone")
	default:
		k.log.Error("cannot read keyboard", "err", k.end)
	}
	k.node.Close()
	k.node, k.stream, k.is, k.end, k.revoked = nil, nil, unused, nil, false
}

// take opens the node, grabs it if it is to be muted, and starts run. It tells whether that is done, or not wanted any more.
func (k *Keyboard) take(as use) bool {
	k.mu.Lock()
	k.awaitNoLongerLocked()
	k.mu.Unlock()
	n, err := k.open()
	if err == nil {
		var h hidden
		if as == muted {
			h, err = settle(n, func() bool { return k.wants(muted) })
		}
		if err == nil {
			k.mu.Lock()
			k.node, k.is, k.ended, k.failure = n, as, make(chan struct{}), nil
			k.stream = &stream{node: n, deliver: k.deliver, lost: k.lost, repeats: k.HardwareRepeat()}
			if as == muted {
				k.stream.pointer = k.pointer
			}
			k.stream.hide(h)
			k.turns.Store(k.turns.Load()&^1 + 2)
			go k.run(n, k.stream, k.ended)
			k.showLocked()
			k.mu.Unlock()
			return true
		}
		if errors.Is(err, unix.EBUSY) {
			k.await(n)
		} else {
			n.Close()
		}
	}
	if errors.Is(err, errUnwanted) {
		return true
	}
	k.complain(err)
	return false
}

// complain logs why the keyboard cannot be taken, if that is news.
func (k *Keyboard) complain(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil && k.failure.Error() == err.Error() {
		return
	}
	k.failure = err
	switch {
	case errors.Is(err, unix.EBUSY):
		k.log.Warn("another program has grabbed this keyboard; it is taken when that lets go")
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
		k.log.Info("keyboard is gone")
	default:
		k.log.Error("cannot take keyboard", "err", err)
	}
}

func (k *Keyboard) wants(as use) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.want == as
}

// run delivers n's keys until its grab is taken away or it is unplugged.
func (k *Keyboard) run(n node, s *stream, ended chan struct{}) {
	defer close(ended)
	err := n.Read(k.gate, func(events []evdev.InputEvent) (done bool) {
		k.pass(s, events)
		if s.watched {
			k.tell()
		}
		return false
	})
	k.gate.Lock()
	k.turns.Add(1)
	s.releaseAll()
	k.gate.Unlock()
	k.runEnded(err)
}

// pass delivers events, with gate locked.
func (k *Keyboard) pass(s *stream, events []evdev.InputEvent) {
	k.turns.Add(1)
	s.take(events)
	k.turns.Add(1)
}

// runEnded notes that the node cannot be read any more: revoked, or unplugged.
func (k *Keyboard) runEnded(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end = err
	if !k.busy {
		k.closeLocked()
	}
}

// revoke ends the use of n, with a release delivered for each key that is down.
func (k *Keyboard) revoke(n node) {
	<-k.letRevoke(n)
}

// letRevoke is revoke, but does not wait. The channel that it returns is closed when run has ended.
func (k *Keyboard) letRevoke(n node) <-chan struct{} {
	k.mu.Lock()
	ended := k.ended
	k.revoked = k.end == nil
	k.mu.Unlock()
	n.Revoke()
	return ended
}

// Describe is its name and its node.
func (k *Keyboard) Describe() (name, node string) { return k.Name, k.Path }

// Muted tells whether the keyboard is muted at this moment, and if not, what failed at the last attempt.
func (k *Keyboard) Muted() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.is == muted:
		return true, nil
	case errors.Is(k.failure, unix.EBUSY):
		return false, fmt.Errorf("another program has grabbed it: %w", k.failure)
	}
	return false, k.failure
}

// String names the keyboard in messages.
func (k *Keyboard) String() string { return fmt.Sprintf("%s (%s)", k.Name, k.Path) }

package input

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	evdev "github.com/gvalkov/golang-evdev"
	"golang.org/x/sys/unix"
)

// fakeNode is a keyboard and what the kernel makes of it: evdev for one reader, and the console.
type fakeNode struct {
	mu      sync.Mutex
	changed *sync.Cond
	down    keySet
	queue   []evdev.InputEvent
	grabbed bool
	taken   bool // another program has grabbed it
	revoked bool
	gone    bool
	closed  bool
	lose    bool // the queue runs over
	slow    bool // the reader does not come to read
	console []string
	leds    []uint8 // as they were set

	onWait    func() // what happens right before the next wait
	onGrab    func() // and at the very moment of the next grab
	afterGrab func() // and right after it
	onUngrab  func() // and right before the next ungrab
	freed     func() // and right after it
	onRevoke  func() // and at the moment of the next revoke
	onUnread  func() // and of the next look for what is unread
}

func newFakeNode() *fakeNode {
	n := &fakeNode{}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// put is a key event as the input core treats it.
func (n *fakeNode) put(code uint16, value int32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.putLocked(code, value)
}

func (n *fakeNode) putLocked(code uint16, value int32) {
	switch value {
	case 0:
		if !n.down.remove(code) {
			return
		}
	case 1:
		if !n.down.add(code) {
			return
		}
	}
	if n.taken {
		return
	}
	switch {
	case n.lose && len(n.queue) > 0 && n.queue[len(n.queue)-1].Code == evdev.SYN_DROPPED:
	case n.lose:
		n.queue = []evdev.InputEvent{{Type: evdev.EV_SYN, Code: evdev.SYN_DROPPED}}
	default:
		n.queue = append(n.queue, evdev.InputEvent{Type: evdev.EV_KEY, Code: code, Value: value}, evdev.InputEvent{Type: evdev.EV_SYN})
	}
	if !n.grabbed {
		n.console = append(n.console, fmt.Sprintf("%d:%d", code, value))
	}
	n.changed.Broadcast()
}

func (n *fakeNode) press(code uint16)   { n.put(code, 1) }
func (n *fakeNode) release(code uint16) { n.put(code, 0) }
func (n *fakeNode) repeat(code uint16)  { n.put(code, 2) }

func (n *fakeNode) Pressed() (keySet, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	packet := 0 // events of it that stay; with those that do not the empty reports go (drivers/input/evdev.c, __evdev_flush_queue)
	n.queue = slices.DeleteFunc(n.queue, func(ev evdev.InputEvent) bool {
		report := ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_REPORT
		switch {
		case ev.Type == evdev.EV_KEY, report && packet == 0:
			return true
		case report:
			packet = 0
		default:
			packet++
		}
		return false
	})
	if n.gone || n.revoked {
		return keySet{}, unix.ENODEV
	}
	return n.down, nil
}

func (n *fakeNode) Wait(d time.Duration) error {
	if f := n.onWait; f != nil {
		n.onWait = nil
		f()
	}
	timer := time.AfterFunc(d, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})
	defer timer.Stop()
	end := time.Now().Add(d)
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue) == 0 && !n.gone && time.Now().Before(end) {
		n.changed.Wait()
	}
	if n.gone {
		return unix.ENODEV
	}
	return nil
}

func (n *fakeNode) Unread() bool {
	if f := n.onUnread; f != nil {
		n.onUnread = nil
		f()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.queue) > 0
}

func (n *fakeNode) TakeUnread(take func([]evdev.InputEvent)) error {
	n.mu.Lock()
	events := n.queue
	n.queue = nil
	n.mu.Unlock()
	if len(events) > 0 {
		take(events)
	}
	return nil
}

func (n *fakeNode) Grab() error {
	if f := n.onGrab; f != nil {
		n.onGrab = nil
		f()
	}
	if f := n.afterGrab; f != nil {
		n.afterGrab = nil
		defer f()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.gone:
		return unix.ENODEV
	case n.taken:
		return unix.EBUSY
	}
	n.grabbed = true
	return nil
}

func (n *fakeNode) Ungrab() error {
	if f := n.onUngrab; f != nil {
		n.onUngrab = nil
		f()
	}
	if f := n.freed; f != nil {
		n.freed = nil
		defer f()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.grabbed = false
	return nil
}

func (n *fakeNode) Read(gate sync.Locker, take func([]evdev.InputEvent) (done bool)) error {
	for {
		n.mu.Lock()
		for (len(n.queue) == 0 || n.slow) && !n.gone && !n.revoked {
			n.changed.Wait()
		}
		n.mu.Unlock()
		if done, err := n.readOnce(gate, take); done || err != nil {
			return err
		}
	}
}

func (n *fakeNode) readOnce(gate sync.Locker, take func([]evdev.InputEvent) (done bool)) (done bool, err error) {
	gate.Lock()
	defer gate.Unlock()
	n.mu.Lock()
	events := n.queue
	n.queue = nil
	gone := n.gone || n.revoked
	n.mu.Unlock()
	switch {
	case gone:
		return false, unix.ENODEV
	case len(events) == 0:
		return false, nil
	}
	return take(events), nil
}

func (n *fakeNode) Press(keys keySet) error {
	for code := range keys.all() {
		n.press(code)
	}
	return nil
}

func (n *fakeNode) Release(keys keySet) error {
	for code := range keys.all() {
		n.release(code)
	}
	return nil
}

func (n *fakeNode) SetLEDs(leds uint8) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leds = append(n.leds, leds)
	return nil
}

func (n *fakeNode) Revoke() error {
	if f := n.onRevoke; f != nil {
		n.onRevoke = nil
		f()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.grabbed, n.revoked = false, true
	n.changed.Broadcast()
	return nil
}

func (n *fakeNode) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return nil
}

func (n *fakeNode) unplug() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	n.changed.Broadcast()
}

// setSlow keeps the reader from reading, or no longer.
func (n *fakeNode) setSlow(slow bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow = slow
	n.changed.Broadcast()
}

// setLose has the queue run over with the next key, or no longer.
func (n *fakeNode) setLose(lose bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lose = lose
}

// take has another program grab the keyboard, or let it go.
func (n *fakeNode) take(taken bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = taken
}

// desk is a Keyboard over fake nodes, and what it delivered.
type desk struct {
	*Keyboard
	t     *testing.T
	node  *fakeNode // as it is plugged in; each open(2) gets a descriptor of its own
	opens int

	mu  sync.Mutex
	got []string
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, node: newFakeNode()}
	d.Keyboard = newKeyboard(Info{Path: "/dev/input/event7", Name: "fake"}, slog.New(slog.DiscardHandler))
	d.open = func() (node, error) {
		d.node.mu.Lock()
		defer d.node.mu.Unlock()
		if d.node.gone {
			return nil, unix.ENOENT
		}
		d.opens++
		d.node.revoked, d.node.closed, d.node.queue = false, false, nil
		return d.node, nil
	}
	return d
}

// newMutedDesk is one whose keyboard is muted.
func newMutedDesk(t *testing.T) *desk {
	d := newDesk(t)
	d.settles(d.Mute(d.deliver), time.Millisecond)
	return d
}

func (d *desk) Mute(deliver Deliver) <-chan struct{} { return d.Keyboard.Mute(deliver, d.lost) }

func (d *desk) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, "lost")
}

func (d *desk) deliver(code uint16, pressed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	value := 0
	if pressed {
		value = 1
	}
	d.got = append(d.got, fmt.Sprintf("%d:%d", code, value))
}

// want checks what was heard since the last time, by the one who reads and by the console.
func (d *desk) want(reader, console string) {
	d.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	if got := fmt.Sprint(d.got); got != "["+reader+"]" {
		d.t.Errorf("the reader heard %s, want [%s]", got, reader)
	}
	if got := fmt.Sprint(d.node.console); got != "["+console+"]" {
		d.t.Errorf("the console heard %s, want [%s]", got, console)
	}
	d.got, d.node.console = nil, nil
}

func (d *desk) settles(done <-chan struct{}, within time.Duration) {
	d.t.Helper()
	select {
	case <-done:
	case <-time.After(within):
		d.t.Fatalf("still not settled after %v", within)
	}
}

const (
	a     = evdev.KEY_A
	b     = evdev.KEY_B
	shift = evdev.KEY_LEFTSHIFT
)

func TestMutedKeyboardIsHeardByTheReaderOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(a)
		d.node.release(a)
		d.want("", "30:1 30:0")
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.node.press(a)
		d.node.repeat(a)
		d.node.release(a)
		d.want("30:1 30:0", "")
		d.settles(d.Unmute(), time.Millisecond)
		d.node.press(b)
		d.node.release(b)
		d.want("", "48:1 48:0")
		if !d.node.closed {
			t.Error("the node is open though nobody listens")
		}
	})
}

func TestKeyReleasedBetweenTheLookAndTheWaitIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(a)
		d.node.onWait = func() { d.node.release(a) }
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.want("", "30:1 30:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestSharedKeyboardIsHeardByTheConsoleToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(shift)
		d.want("", "42:1")
		d.settles(d.Share(d.deliver, d.lost), time.Millisecond) // though a key is down
		d.SetLEDs(2)
		d.node.press(a)
		d.node.release(a)
		d.node.release(shift)
		d.want("30:1 30:0", "30:1 30:0 42:0")
		if isMuted, _ := d.Muted(); isMuted || len(d.node.leds) > 0 {
			t.Errorf("muted: %v, LEDs set: %v", isMuted, d.node.leds)
		}
		d.node.press(b)
		d.want("48:1", "48:1")
		d.settles(d.Unmute(), time.Millisecond)
		d.want("48:0", "")
		d.node.release(b)
		d.want("", "48:0")
		if !d.node.closed {
			t.Error("the node is open though nobody listens")
		}
	})
}

func TestSharedKeyboardIsMutedAndSharedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.settles(d.Share(d.deliver, d.lost), time.Millisecond)
		d.node.press(a)
		d.want("30:1", "30:1")
		muted := d.Mute(d.deliver)
		time.Sleep(100 * time.Millisecond)
		d.want("30:0", "")
		d.node.release(a)
		d.settles(muted, time.Millisecond)
		d.want("", "30:0")
		d.node.press(b)
		d.want("48:1", "")
		shared := d.Share(d.deliver, d.lost)
		time.Sleep(100 * time.Millisecond)
		d.node.release(b)
		d.settles(shared, time.Millisecond)
		d.node.press(a)
		d.node.release(a)
		d.want("48:0 30:1 30:0", "30:1 30:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestMuteWaitsForNeutral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(shift)
		muted := d.Mute(d.deliver)
		time.Sleep(100 * time.Millisecond)
		d.node.press(a)
		d.node.release(shift)
		d.node.release(a)
		d.settles(muted, time.Millisecond)
		d.want("", "42:1 30:1 42:0 30:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestMuteInjectsReleasesWhenTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(shift)
		start := time.Now()
		d.settles(d.Mute(d.deliver), time.Second)
		if took := time.Since(start); took != NeutralLimit {
			t.Errorf("muted after %v, want %v", took, NeutralLimit)
		}
		d.want("", "42:1 42:0")
		d.node.release(shift)
		d.want("", "")
		d.node.press(shift)
		d.node.release(shift)
		d.want("42:1 42:0", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestHeldKeyOfAKeyboardThatRepeatsStaysHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Bus = busI8042
		d.node.press(a)
		d.settles(d.Mute(d.deliver), time.Second)
		d.node.press(a) // its next repeat, to the kernel, after the injected release
		d.node.repeat(a)
		d.node.release(a)
		d.want("", "30:1 30:0")
		d.node.press(a)
		d.node.release(a)
		d.want("30:1 30:0", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

// A keyboard that repeats by itself repeats the key that was pressed last, and no other.
func TestOfTheHeldKeysTheOneThatRepeatsStaysHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Bus = busI8042
		d.node.press(shift)
		d.node.press(a)
		muted := d.Mute(d.deliver)
		time.Sleep(NeutralLimit / 2)
		d.node.repeat(a)
		d.settles(muted, NeutralLimit)
		d.want("", "42:1 30:1 30:2 30:0 42:0")
		d.node.press(a)       // its next repeat
		d.node.release(shift) // which the kernel takes to be up
		d.node.press(shift)
		d.node.press(b)
		d.node.release(b)
		d.node.release(shift)
		d.node.release(a)
		d.want("42:1 48:1 48:0 42:0", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyThatWasPressedShortlyBeforeALateGrabStaysHiddenUntilItRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Bus = busI8042
		d.node.press(a)
		muted := d.Mute(d.deliver)
		time.Sleep(NeutralLimit - 10*time.Millisecond)
		d.node.press(b)
		d.settles(muted, 20*time.Millisecond)
		d.want("", "30:1 48:1 30:0 48:0")
		time.Sleep(time.Second - 10*time.Millisecond)
		d.node.press(b) // its first repeat
		d.node.release(b)
		d.node.release(a)
		d.want("", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

// A key may be pressed shortly before a late grab in ways that hide which one was pressed last.
func TestKeyOfWhichTheLatePressIsNotKnownStaysHiddenUntilItRepeats(t *testing.T) {
	for _, c := range []struct {
		name    string
		onGrab  func(n *fakeNode) // b is pressed here,
		before  func(d *desk)     // or here, 20 ms before the grab
		console string
	}{
		{"at the moment of the grab", func(n *fakeNode) { n.press(b) }, func(*desk) {}, "30:1 30:0 48:1 48:0"},
		{
			"at the moment of a grab before that",
			func(n *fakeNode) { n.press(b) }, func(d *desk) { d.node.release(a) }, "30:1 30:0 48:1 48:0",
		},
		{"with another", func(*fakeNode) {}, func(d *desk) {
			d.node.mu.Lock()
			defer d.node.mu.Unlock()
			d.node.putLocked(shift, 1)
			d.node.putLocked(b, 1)
		}, "30:1 42:1 48:1 30:0 42:0 48:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.Bus = busI8042
				d.node.press(a)
				d.node.onGrab = func() { c.onGrab(d.node) }
				muted := d.Mute(d.deliver)
				time.Sleep(NeutralLimit - 20*time.Millisecond)
				c.before(d)
				d.settles(muted, time.Second)
				d.want("", c.console)
				time.Sleep(time.Second - 20*time.Millisecond)
				d.node.press(b) // its first repeat
				d.node.release(b)
				d.want("", "")
				d.settles(d.Unmute(), time.Millisecond)
			})
		})
	}
}

func TestKeyThatWasTappedBeforeALateGrabStopsTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Bus = busI8042
		d.node.press(a)
		muted := d.Mute(d.deliver)
		time.Sleep(NeutralLimit / 2)
		d.node.press(b)
		d.node.release(b)
		d.settles(muted, NeutralLimit)
		d.want("", "30:1 48:1 48:0 30:0")
		d.node.release(a) // which the kernel takes to be up
		d.node.press(a)
		d.node.release(a)
		d.want("30:1 30:0", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyPressedAtTheMomentOfTheGrabIsNotHalfHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.onGrab = func() { d.node.press(shift) }
		muted := d.Mute(d.deliver)
		synctest.Wait()
		d.node.release(shift)
		d.settles(muted, time.Millisecond)
		d.want("", "42:1 42:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyTappedAtTheMomentOfTheGrabIsNotHalfHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.onGrab = func() { d.node.press(shift) }
		d.node.afterGrab = func() { d.node.release(shift) }
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.want("", "42:1 42:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyPressedAtTheMomentOfALateGrabIsNotHalfHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(a)
		d.node.onGrab = func() { d.node.press(shift) }
		d.settles(d.Mute(d.deliver), time.Second)
		d.node.release(shift)
		d.want("", "30:1 30:0 42:1 42:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestUnmuteWaitsForNeutral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(a)
		d.want("30:1", "")
		unmuted := d.Unmute()
		time.Sleep(300 * time.Millisecond)
		d.node.repeat(a)
		d.node.release(a)
		d.settles(unmuted, time.Millisecond)
		d.want("30:0", "")
	})
}

func TestUnmuteInjectsReleasesWhenTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(a)
		d.want("30:1", "")
		start := time.Now()
		d.settles(d.Unmute(), time.Second)
		if took := time.Since(start); took != NeutralLimit {
			t.Errorf("given back after %v, want %v", took, NeutralLimit)
		}
		// The input core no longer takes the key to be down, so neither a repeat nor the release goes out.
		d.node.release(a)
		d.want("30:0", "")
	})
}

func TestUnmuteHearsOutAKeyboardThatRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Bus = busI8042
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.node.press(a)
		d.want("30:1", "")
		unmuted := d.Unmute()
		for range 100 {
			d.node.repeat(a)
			time.Sleep(33 * time.Millisecond)
		}
		d.node.release(a)
		d.settles(unmuted, time.Millisecond)
		d.want("30:0", "")
		// A key that is held, but does not repeat, since another was pressed after it and is up.
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.node.press(a)
		d.want("30:1", "")
		time.Sleep(hardwareDelayMax)
		d.settles(d.Unmute(), NeutralLimit+time.Millisecond)
	})
}

func TestUnmuteWaitsForTheFirstRepeatOfAKeyboardThatRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Bus = busI8042
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.node.press(a)
		d.want("30:1", "")
		unmuted := d.Unmute()
		time.Sleep(NeutralLimit - 50*time.Millisecond)
		d.node.press(b)
		d.node.release(a)
		time.Sleep(250 * time.Millisecond)
		d.node.repeat(b)
		d.node.release(b)
		d.settles(unmuted, time.Millisecond)
		d.want("48:1 30:0 48:0", "")
	})
}

func TestMuteAgainWhileAKeyIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(a)
		synctest.Wait()
		unmuted := d.Unmute()
		time.Sleep(100 * time.Millisecond)
		muted := d.Mute(d.deliver)
		d.settles(muted, time.Millisecond)
		d.settles(unmuted, time.Millisecond)
		d.node.release(a)
		d.node.press(b)
		d.node.release(b)
		d.want("30:1 30:0 48:1 48:0", "")
		if d.opens != 1 {
			t.Errorf("the node was opened %d times", d.opens)
		}
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestMuteAgainWhileTheKeyboardIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		var muted <-chan struct{}
		d.node.onUnread = func() { muted = d.Mute(d.deliver) }
		d.settles(d.Unmute(), time.Millisecond)
		d.settles(muted, time.Millisecond)
		d.node.press(a)
		d.node.release(a)
		d.want("30:1 30:0", "")
		if d.opens != 1 {
			t.Errorf("the node was opened %d times", d.opens)
		}
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestMuteAgainWhileAKeyDoesNotArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		arrive := make(chan struct{})
		deliver := func(code uint16, pressed bool) {
			if !pressed {
				<-arrive
			}
			d.deliver(code, pressed)
		}
		d.settles(d.Mute(deliver), time.Millisecond)
		d.node.press(a)
		d.node.release(a)
		synctest.Wait()
		d.Unmute()
		synctest.Wait()
		d.settles(d.Mute(deliver), NeutralLimit+deliverLimit+time.Millisecond)
		close(arrive)
		d.node.press(b)
		d.node.release(b)
		d.want("30:1 30:0 48:1 48:0", "")
		if d.opens != 1 {
			t.Errorf("the node was opened %d times", d.opens)
		}
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestNoKeySticksThroughMuteAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(a)
		d.want("30:1", "")
		d.Unmute()
		synctest.Wait()
		d.node.setSlow(true)
		d.node.release(a)
		d.node.press(b)
		d.tell() // so that giveBack looks at the keys
		synctest.Wait()
		d.node.setSlow(false)
		d.Mute(d.deliver)
		d.node.press(shift)
		d.want("30:0 48:1 42:1", "")
		d.node.release(b)
		d.node.release(shift)
		d.want("48:0 42:0", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeysKeepTheirOrderWhileANeutralMomentIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(shift)
		d.want("42:1", "")
		unmuted := d.Unmute()
		synctest.Wait()
		d.node.setSlow(true)
		d.node.press(b)
		d.node.press(a)
		d.node.release(b)
		d.node.release(shift)
		d.node.release(a)
		d.tell()
		synctest.Wait()
		d.node.setSlow(false)
		d.settles(unmuted, time.Millisecond)
		d.want("48:1 30:1 48:0 42:0 30:0", "")
	})
}

func TestWhatIsUnreadWhenTimeIsUpKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(shift)
		d.want("42:1", "")
		unmuted := d.Unmute()
		time.Sleep(NeutralLimit - time.Microsecond)
		d.node.setSlow(true)
		d.node.press(b)
		d.node.press(a)
		d.node.release(b)
		time.Sleep(2 * time.Microsecond)
		d.node.setSlow(false)
		d.settles(unmuted, deliverLimit+time.Millisecond)
		d.want("48:1 30:1 48:0 30:0 42:0", "")
	})
}

func TestKeyThatIsUnreadWhenTimeIsUpIsHeardOutToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, loses := range map[string]bool{"read": false, "dropped by the kernel": true} {
			d := newDesk(t)
			d.Bus = busI8042
			d.settles(d.Mute(d.deliver), time.Millisecond)
			d.node.press(shift)
			d.want("42:1", "")
			time.Sleep(2 * hardwareDelayMax) // it does not repeat, since another key was pressed after it
			unmuted := d.Unmute()
			time.Sleep(NeutralLimit - time.Microsecond)
			d.node.setSlow(true)
			d.node.setLose(loses)
			d.node.press(b)
			d.node.setLose(false)
			if loses {
				d.node.press(a) // with a SYN_REPORT, from which on it is whole again
			}
			time.Sleep(2 * time.Microsecond)
			d.node.setSlow(false)
			time.Sleep(300 * time.Millisecond)
			d.node.repeat(b)
			d.node.release(b)
			d.node.release(a)
			d.node.release(shift)
			d.settles(unmuted, time.Millisecond)
			if len(d.node.console) > 0 {
				t.Errorf("%s: the console heard %s", name, d.node.console)
			}
		}
	})
}

func TestGivenBackThoughAKeyDoesNotArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		arrive := make(chan struct{})
		d.settles(d.Mute(func(uint16, bool) { <-arrive }), time.Millisecond)
		d.node.press(a)
		synctest.Wait()
		unmuted := d.Unmute()
		time.Sleep(NeutralLimit + 2*deliverLimit)
		d.node.mu.Lock()
		if d.node.grabbed || !d.node.down.empty() {
			t.Error("the console does not have the keyboard, or with a key down")
		}
		d.node.mu.Unlock()
		close(arrive)
		<-unmuted
	})
}

// TestGivenBackThoughALateKeyDoesNotArrive is the same for a key that run has not come to read when the time is up.
func TestGivenBackThoughALateKeyDoesNotArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		arrive := make(chan struct{})
		d.settles(d.Mute(func(code uint16, _ bool) {
			if code == a {
				<-arrive
			}
		}), time.Millisecond)
		d.node.press(shift)
		unmuted := d.Unmute()
		synctest.Wait()
		d.node.setSlow(true)
		d.node.press(a)
		time.Sleep(NeutralLimit + 2*deliverLimit)
		d.node.mu.Lock()
		if d.node.grabbed || !d.node.down.empty() {
			t.Error("the console does not have the keyboard, or with a key down")
		}
		d.node.mu.Unlock()
		d.node.setSlow(false)
		muted := d.Mute(d.deliver)
		close(arrive)
		<-unmuted
		d.settles(muted, time.Millisecond)
		if is, err := d.Muted(); !is || err != nil {
			t.Errorf("the keyboard is not taken again: %v", err)
		}
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestGateIsWaitedForHoweverLateItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.Lock()
		time.AfterFunc(time.Millisecond, g.Unlock)
		if !g.lockWithin(2 * time.Millisecond) {
			t.Error("the gate is not locked within its limit")
		}
		if g.lockWithin(time.Millisecond) {
			t.Error("the gate is locked twice")
		}
		g.Unlock()
		if !g.lockWithin(-time.Millisecond) {
			t.Error("a gate that nobody has is not locked")
		}
	})
}

func TestGateForgetsNobodyWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if all wait
		const visitors, visits = 8, 1000
		g := newGate()
		inside := 0
		for i := range visitors {
			go func() {
				for range visits {
					if i%2 == 0 {
						g.Lock()
					} else if !g.lockWithin(time.Hour) {
						t.Error("somebody has waited for an hour")
						return
					}
					inside++
					runtime.Gosched()
					g.Unlock()
				}
			}()
		}
		synctest.Wait()
		if inside != visitors*visits {
			t.Errorf("%d of %d have been inside", inside, visitors*visits)
		}
	})
}

func TestKeyThatTheKernelDropsAtTheMomentOfTheGrabIsNotHalfHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.onGrab = func() {
			d.node.setLose(true)
			d.node.press(shift)
			d.node.setLose(false)
		}
		muted := d.Mute(d.deliver)
		time.Sleep(100 * time.Millisecond)
		d.node.release(shift)
		d.settles(muted, time.Millisecond)
		d.want("", "42:1 42:0")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyThatWasNotReadInTimeDoesNotStickAtTheConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(shift)
		d.want("42:1", "")
		unmuted := d.Unmute()
		synctest.Wait()
		d.node.setSlow(true)
		d.node.release(shift)
		d.node.press(a)
		d.settles(unmuted, NeutralLimit+deliverLimit+time.Millisecond)
		if !d.node.down.empty() {
			t.Error("the keyboard was given back with a key down")
		}
		d.want("42:0 30:1 30:0", "")
	})
}

func TestKeyPressedAtTheGrabAndReleasedAtTheUngrabDoesNotStick(t *testing.T) {
	for name, meanwhile := range map[string]func(n *fakeNode){
		"released":               func(n *fakeNode) { n.release(shift) },
		"released and again":     func(n *fakeNode) { n.release(shift); n.press(shift); n.release(shift) },
		"released and held anew": func(n *fakeNode) { n.release(shift); n.press(shift) },
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t)
			d.node.onGrab = func() { d.node.press(shift) }
			d.node.onUngrab = func() { meanwhile(d.node) }
			muted := d.Mute(d.deliver)
			d.settles(muted, time.Second)
			console := strings.Join(d.node.console, " ")
			if !strings.HasPrefix(console, "42:1 ") || !strings.HasSuffix(console, "42:0") {
				t.Errorf("%s: the console heard %s", name, console)
			}
			d.settles(d.Unmute(), time.Second)
		})
	}
}

// TestKeyHeldAtTheSecondGrabDoesNotStick has a key be released too early for the console to hear it, so that the keyboard
// is grabbed once more, and in between Shift go down, of which the console does not hear the release.
func TestKeyHeldAtTheSecondGrabDoesNotStick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.onGrab = func() { d.node.press(a) }
		d.node.onUngrab = func() { d.node.release(a) }
		d.node.freed = func() {
			d.node.press(shift)
			d.node.afterGrab = func() { d.node.release(shift) }
		}
		d.settles(d.Mute(d.deliver), time.Second)
		d.want("", "30:1 42:1 30:0 42:0")
		d.settles(d.Unmute(), time.Second)
	})
}

func TestReleasesAreDeliveredBeforeTheConsoleHasTheKeyboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, release := range map[string]func(d *desk){
			"by fingers":  func(d *desk) { d.node.release(shift) },
			"by us":       func(d *desk) {},
			"no reaction": nil,
		} {
			d := newMutedDesk(t)
			d.node.press(shift)
			d.want("42:1", "")
			revoked := false
			d.node.onRevoke = func() {
				revoked = true
				d.mu.Lock()
				defer d.mu.Unlock()
				if want := "42:0"; release != nil && !slices.Contains(d.got, want) {
					t.Errorf("%s: the console has the keyboard before the release is delivered", name)
				}
			}
			unmuted := d.Unmute()
			d.node.setSlow(true) // giveBack looks at the keys before run reads the release
			if release != nil {
				release(d)
				d.tell()
				synctest.Wait()
				d.node.setSlow(false)
			}
			d.settles(unmuted, NeutralLimit+deliverLimit+time.Millisecond)
			d.want("42:0", "")
			if !revoked {
				t.Errorf("%s: the console does not have the keyboard", name)
			}
		}
	})
}

func TestUnmuteWhileAKeyIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.press(a)
		d.Mute(d.deliver)
		time.Sleep(100 * time.Millisecond)
		d.settles(d.Unmute(), NeutralLimit)
		d.node.release(a)
		d.want("", "30:1 30:0")
		if !d.node.closed || d.node.grabbed {
			t.Error("the node is still open")
		}
	})
}

func TestUnpluggedKeyboardReleasesItsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(a)
		d.node.press(shift)
		d.want("30:1 42:1", "")
		d.node.unplug()
		d.want("30:0 42:0", "")
		if !d.node.closed {
			t.Error("the node is still open")
		}
		d.settles(d.Unmute(), time.Millisecond)
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeysThatTheKernelDroppedAreMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.press(a)
		d.want("30:1", "")
		d.node.setLose(true)
		d.node.press(shift)
		d.node.release(a)
		d.want("", "")
		d.node.setLose(false)
		d.node.press(b)
		// What comes up to the next SYN_REPORT is not whole; from there on the kernel's word on each key holds.
		d.want("lost 30:0 42:1 48:1", "")
		d.node.release(shift)
		d.node.release(b)
		d.want("42:0 48:0", "")
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestLEDsAreTheReadersWhileMuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.SetLEDs(1) // of the console's keyboard: not ours to set
		d.node.press(a)
		muted := d.Mute(d.deliver)
		synctest.Wait()
		d.SetLEDs(2) // while it waits for neutral
		d.node.release(a)
		d.settles(muted, time.Millisecond)
		d.SetLEDs(4)
		d.settles(d.Unmute(), time.Millisecond)
		d.SetLEDs(1)
		d.settles(d.Mute(d.deliver), time.Millisecond)
		d.settles(d.Unmute(), time.Millisecond)
		d.node.mu.Lock()
		defer d.node.mu.Unlock()
		if want := []uint8{2, 4}; !slices.Equal(d.node.leds, want) {
			t.Errorf("LEDs were set to %v, want %v", d.node.leds, want)
		}
	})
}

package input

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	evdev "github.com/gvalkov/golang-evdev"
)

// packets are what was written to a device, a string for each packet.
type packets []string

func (p *packets) write(events []evdev.InputEvent) error {
	var text []string
	for _, ev := range events {
		text = append(text, eventText(ev))
	}
	*p = append(*p, strings.Join(text, " "))
	return nil
}

func (p *packets) Close() error { return nil }

// The names of the events in these tests.
var eventNames = map[[2]uint16]string{
	{evdev.EV_SYN, evdev.SYN_REPORT}:    "report",
	{evdev.EV_SYN, evdev.SYN_DROPPED}:   "dropped",
	{evdev.EV_REL, evdev.REL_X}:         "x",
	{evdev.EV_REL, evdev.REL_Y}:         "y",
	{evdev.EV_REL, evdev.REL_WHEEL}:     "wheel",
	{evdev.EV_REL, 0x0b}:                "finewheel", // REL_WHEEL_HI_RES
	{evdev.EV_ABS, evdev.ABS_VOLUME}:    "volume",
	{evdev.EV_ABS, evdev.ABS_MT_SLOT}:   "slot",
	{evdev.EV_KEY, evdev.KEY_A}:         "a",
	{evdev.EV_KEY, evdev.BTN_LEFT}:      "left",
	{evdev.EV_KEY, evdev.BTN_RIGHT}:     "right",
	{evdev.EV_KEY, evdev.BTN_DPAD_LEFT}: "pad",
}

func eventText(ev evdev.InputEvent) string {
	return fmt.Sprintf("%s:%d", eventNames[[2]uint16{ev.Type, ev.Code}], ev.Value)
}

// events are those of a text: "x:5 left:1 report".
func events(t *testing.T, text string) (all []evdev.InputEvent) {
	t.Helper()
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, ":")
		var ev evdev.InputEvent
		for code, known := range eventNames {
			if name == known {
				ev.Type, ev.Code = code[0], code[1]
			}
		}
		if value != "" {
			if _, err := fmt.Sscan(value, &ev.Value); err != nil {
				t.Fatal(err)
			}
		}
		if eventNames[[2]uint16{ev.Type, ev.Code}] != name {
			t.Fatalf("%q is no event", word)
		}
		all = append(all, ev)
	}
	return all
}

// pressedKeys is a keyboard's node as far as a stream needs it.
type pressedKeys keySet

func (k *pressedKeys) Pressed() (keySet, error) { return keySet(*k), nil }

// combined is a keyboard that is a pointer too: what comes of it on either side.
type combined struct {
	stream
	t       *testing.T
	keys    []string
	packets packets
}

func newCombined(t *testing.T) *combined {
	c := &combined{t: t}
	c.node = &pressedKeys{}
	c.pointer = &pointer{dev: &c.packets}
	c.deliver = func(code uint16, pressed bool) {
		if !isPointerEvent(evdev.EV_KEY, code) {
			c.keys = append(c.keys, fmt.Sprint(code, pressed))
		}
	}
	c.lost = func() { c.keys = append(c.keys, "lost") }
	return c
}

// want checks what has come since the last time.
func (c *combined) want(keys []string, packets ...string) {
	c.t.Helper()
	if !slices.Equal(c.keys, keys) {
		c.t.Errorf("the reader heard %q, want %q", c.keys, keys)
	}
	if !slices.Equal(c.packets, packets) {
		c.t.Errorf("the pointer did %q, want %q", c.packets, packets)
	}
	c.keys, c.packets = nil, nil
}

func TestPointerGoesOnAndKeysDoNot(t *testing.T) {
	c := newCombined(t)
	c.take(events(t, "x:5 y:-3 report  a:1 report  left:1 report  wheel:1 finewheel:120 report  a:0 report  volume:7 report  left:0 report"))
	c.want([]string{"30 true", "30 false"}, "x:5 y:-3", "left:1", "wheel:1 finewheel:120", "volume:7", "left:0")
}

func TestPacketsStayWhole(t *testing.T) {
	c := newCombined(t)
	c.take(events(t, "x:5"))
	c.want(nil)
	c.take(events(t, "a:1 pad:1 y:2 report"))
	c.want([]string{"30 true"}, "x:5 pad:1 y:2")
	c.take(events(t, "a:2 report report"))
	c.want(nil)
}

func TestTouchesOfAKeyboardAreNone(t *testing.T) {
	c := newCombined(t)
	c.take(events(t, "slot:3 report"))
	c.want(nil)
}

func TestButtonsAreMendedAfterLostEvents(t *testing.T) {
	c := newCombined(t)
	c.take(events(t, "left:1 report x:1"))
	c.want(nil, "left:1")
	var now keySet
	now.add(evdev.BTN_RIGHT)
	*c.node.(*pressedKeys) = pressedKeys(now)
	c.take(events(t, "dropped x:9 report"))
	c.want([]string{"lost"}, "x:1", "left:0 right:1")
	c.take(events(t, "x:2 right:0 report"))
	c.want(nil, "x:2 right:0")
}

func TestKeysFromBeforeTheMendingAreNotHeard(t *testing.T) {
	c := newCombined(t)
	c.take(events(t, "a:1 report dropped a:0 report a:1 left:1 report x:2 report")) // by now both are up again
	c.want([]string{"30 true", "lost", "30 false"}, "x:2")
}

func TestButtonsAreReleasedAtTheEnd(t *testing.T) {
	c := newCombined(t)
	c.take(events(t, "left:1 report right:1 right:0 pad:1"))
	c.want(nil, "left:1")
	c.releaseAll()
	c.want(nil, "right:1 right:0 pad:1 left:0 pad:0")
	c.releaseAll()
	c.want(nil)
}

// movingNode is a held key beside a mouse that moves: there is always something to read, unless it was just drained.
type movingNode struct {
	*fakeNode
	t       *testing.T
	drained bool
}

func (n *movingNode) Wait(d time.Duration) error {
	if !n.drained {
		n.t.Error("Wait has nothing to wait for")
		n.release(shift)
	}
	time.Sleep(d / 2)
	n.drained = false
	return nil
}

func (n *movingNode) TakeUnread(take func([]evdev.InputEvent)) error {
	n.drained = true
	return n.fakeNode.TakeUnread(take)
}

func TestMovingMouseDoesNotKeepTheMuteBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &movingNode{newFakeNode(), t, true}
		n.press(shift)
		time.AfterFunc(300*time.Millisecond, func() { n.release(shift) })
		if _, err := settle(n, func() bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
}

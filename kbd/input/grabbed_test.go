package input

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestKeyboardOfAnotherProgramIsTakenWhenItLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.node.take(true)
		d.settles(d.Mute(d.deliver), time.Millisecond)
		if is, err := d.Muted(); is || err == nil {
			t.Errorf("muted: %v, %v", is, err)
		}
		d.node.press(a)
		d.node.release(a)
		d.want("", "")
		d.node.take(false)
		d.node.press(a)
		d.node.release(a)
		d.want("", "30:1 30:0") // so that it is known
		d.node.press(b)
		d.node.release(b)
		d.want("48:1 48:0", "")
		if is, err := d.Muted(); !is || err != nil {
			t.Errorf("muted: %v, %v", is, err)
		}
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyboardOfAnotherProgramIsAwaitedNoLongerThanItIsWanted(t *testing.T) {
	for name, end := range map[string]func(*desk){
		"given back": func(d *desk) { d.settles(d.Unmute(), time.Millisecond) },
		"unplugged":  func(d *desk) { d.node.unplug() },
		"tried again": func(d *desk) {
			d.node.take(false)
			d.settles(d.Mute(d.deliver), time.Millisecond)
			d.settles(d.Unmute(), time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.node.take(true)
				d.settles(d.Mute(d.deliver), time.Millisecond)
				end(d)
				synctest.Wait()
				d.node.mu.Lock()
				defer d.node.mu.Unlock()
				if !d.node.closed {
					t.Error("the node is open")
				}
			})
		})
	}
}

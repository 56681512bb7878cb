package input

import (
	"testing"
	"testing/synctest"
	"time"
)

func (d *desk) wantStuck(want bool) {
	d.t.Helper()
	synctest.Wait()
	if got := d.Stuck(); got != want {
		d.t.Errorf("the keyboard is stuck: %v, want %v", got, want)
	}
}

func TestKeyboardThatIsIdleOrTypesIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.wantStuck(false)
		d.wantStuck(false)
		d.settles(d.Mute(d.deliver), time.Millisecond)
		for range 3 {
			d.wantStuck(false)
			d.wantStuck(false)
			d.node.press(a)
			d.node.release(a)
		}
		d.settles(d.Unmute(), time.Millisecond)
		d.wantStuck(false)
		d.wantStuck(false)
	})
}

func TestKeyboardThatLeavesKeysUnreadIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMutedDesk(t)
		d.node.setSlow(true)
		d.node.press(a)
		d.wantStuck(false) // they may have come just now
		d.wantStuck(true)
		d.node.setSlow(false)
		d.wantStuck(false)
		d.wantStuck(false)
		d.node.release(a)
		d.settles(d.Unmute(), time.Millisecond)
	})
}

func TestKeyboardWhoseKeysDoNotArriveIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		arrive := make(chan struct{})
		d.settles(d.Mute(func(uint16, bool) { <-arrive }), time.Millisecond)
		d.node.press(a)
		d.wantStuck(false)
		d.wantStuck(true)
		close(arrive)
		d.wantStuck(false)
		d.node.release(a)
		d.settles(d.Unmute(), time.Millisecond)
	})
}

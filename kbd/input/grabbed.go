package input

import (
	"sync"

	evdev "github.com/gvalkov/golang-evdev"
)

// A keyboard that another program has grabbed stays that program's. The node is left open meanwhile: it hears nothing, and so the
// first key that it does hear tells that the other has let go. Then the keyboard is taken, once that key is up again: the
// console has heard it. To be told sooner would be to come between a remapper that is restarted and its keyboard.

// await has the keyboard taken by change when n is heard. It owns n from now on.
func (k *Keyboard) await(n node) {
	k.mu.Lock()
	k.grabbed = n
	k.mu.Unlock()
	go func() {
		err := n.Read(new(sync.Mutex), func([]evdev.InputEvent) bool { return true })
		k.mu.Lock()
		defer k.mu.Unlock()
		n.Close()
		if k.grabbed != n {
			return // nobody waits any more
		}
		k.grabbed = nil
		if err == nil {
			k.changeToLocked(k.want)
		}
	}()
}

// awaitNoLongerLocked ends the waiting, if there is any.
func (k *Keyboard) awaitNoLongerLocked() {
	if k.grabbed != nil {
		k.grabbed.Revoke() // where that fails it is gone, and so is the wait
		k.grabbed = nil
	}
}

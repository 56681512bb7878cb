package input

import (
	"sync"
	"time"

	evdev "github.com/gvalkov/golang-evdev"
)

// A node is an open evdev node. Its methods may be called while another goroutine is in Read; Close may not.
type node interface {
	// Pressed is the keys that are down, by the kernel. Key events that were not read yet are gone after it.
	Pressed() (keySet, error)
	// Wait waits until there are events to read, for d at most.
	Wait(d time.Duration) error
	// Unread tells if there are events to read.
	Unread() bool
	// TakeUnread gives take what was not read yet. It does not wait.
	TakeUnread(take func([]evdev.InputEvent)) error
	// Grab keeps the events from everybody else. What they have heard before is here to be read when it returns. EBUSY: somebody
	// else does so already.
	Grab() error
	// Ungrab undoes Grab. It takes some 30 ms, which the kernel waits for readers of its lists (synchronize_rcu).
	Ungrab() error
	// Read gives take the events as they come, until take is done with them or there are none to be had any more, and tells
	// which. From before it takes them from the kernel until take has returned it keeps gate locked.
	Read(gate sync.Locker, take func([]evdev.InputEvent) (done bool)) error
	// Press injects presses of keys: while the node is not grabbed, everybody hears them. Of keys that are down already
	// nobody does.
	Press(keys keySet) error
	// Release injects releases of keys in the same way.
	Release(keys keySet) error
	// SetLEDs switches the LEDs, as Keyboard.SetLEDs has them.
	SetLEDs(leds uint8) error
	// Revoke undoes Grab, and from then on there is nothing but ENODEV to be had, also for who waits in Read.
	Revoke() error
	Close() error
}

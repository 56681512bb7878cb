package input

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	evdev "github.com/gvalkov/golang-evdev"
)

// A typedOnNode is one on which somebody types all along: a few keys go down or up around each call.
type typedOnNode struct {
	*fakeNode
	rand *rand.Rand
	held keySet // by fingers
}

func (n *typedOnNode) fingers() {
	for range n.rand.IntN(3) {
		code := []uint16{a, b, shift}[n.rand.IntN(3)]
		if n.held.add(code) {
			n.press(code)
		} else {
			n.held.remove(code)
			n.release(code)
		}
	}
}

func (n *typedOnNode) around(call func() error) error {
	n.fingers()
	defer n.fingers()
	return call()
}

func (n *typedOnNode) Pressed() (keys keySet, err error) {
	err = n.around(func() error { keys, err = n.fakeNode.Pressed(); return err })
	return keys, err
}

func (n *typedOnNode) Wait(d time.Duration) error {
	time.Sleep(time.Duration(n.rand.Int64N(int64(d)) + 1))
	n.fingers()
	return nil
}

func (n *typedOnNode) TakeUnread(take func([]evdev.InputEvent)) error {
	return n.around(func() error { return n.fakeNode.TakeUnread(take) })
}

func (n *typedOnNode) Grab() error   { return n.around(n.fakeNode.Grab) }
func (n *typedOnNode) Ungrab() error { return n.around(n.fakeNode.Ungrab) }

func (n *typedOnNode) Press(keys keySet) error {
	return n.around(func() error { return n.fakeNode.Press(keys) })
}

func (n *typedOnNode) Release(keys keySet) error {
	return n.around(func() error { return n.fakeNode.Release(keys) })
}

// TestNoKeySticksAtTheConsoleHoweverTheKeyboardIsTakenFromIt has the console have heard of each key that it went up, when the
// keyboard is grabbed: it will not hear it later.
func TestNoKeySticksAtTheConsoleHoweverTheKeyboardIsTakenFromIt(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			n := &typedOnNode{fakeNode: newFakeNode(), rand: rand.New(rand.NewPCG(seed, 0))}
			n.fingers()
			if _, err := settle(n, func() bool { return true }); err != nil {
				t.Fatal(err)
			}
			down := map[string]bool{}
			for _, event := range n.console {
				var code string
				var value int
				if _, err := fmt.Sscanf(event, "%2s:%d", &code, &value); err != nil {
					t.Fatal(errors.Join(errors.New(event), err))
				}
				if down[code] = value != 0; !down[code] {
					delete(down, code)
				}
			}
			if len(down) > 0 || !n.grabbed {
				t.Fatalf("seed %d: the console takes %v to be down; it heard %v", seed, down, n.console)
			}
		})
	}
}

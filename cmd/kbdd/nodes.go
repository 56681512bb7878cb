package main

import (
	"context"
	"slices"
	"sync"

	"kbdd/cuse"
	"kbdd/kbd"
)

// nodes are the device nodes that this process serves.
type nodes struct {
	ended chan error // gets why one is no longer served
	store *store

	mu      sync.Mutex
	devices []*cuse.Device // guarded by mu
	closed  bool           // guarded by mu
	serving sync.WaitGroup
}

func newNodes(store *store) *nodes { return &nodes{ended: make(chan error, 1), store: store} }

// make is a kbd.NodeMaker.
func (n *nodes) make(node kbd.Node) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return cuse.ErrClosed
	}
	dev := n.store.resume(node)
	if dev == nil {
		var err error
		if dev, err = cuse.Create(node.Name, node.Open); err != nil {
			return err
		}
		if err := n.store.keep(dev, node.Label); err != nil {
			n.store.log.Warn("whoever opens a device loses it when kbdd ends", "device", node.Name, "err", err)
		}
	}
	n.devices = append(n.devices, dev)
	n.serving.Go(func() {
		if err := dev.Serve(); err != nil {
			select {
			case n.ended <- err:
			default:
			}
		}
	})
	return nil
}

// relabel is a kbd.Relabeler.
func (n *nodes) relabel(name, label string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, dev := range n.devices {
		if dev.Name() != name {
			continue
		}
		if err := dev.Relabel(label); err != nil {
			n.store.log.Warn("the next kbdd takes a device for that of another keyboard", "device", name, "err", err)
		}
	}
}

// waiters are the threads that wait for one of the nodes.
func (n *nodes) waiters() (waiters []cuse.Waiter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, dev := range n.devices {
		waiters = append(waiters, dev.Waiters()...)
	}
	return waiters
}

// unanswered tells if somebody waits for an answer of one of the nodes, as far as the kernel lets that be known.
func (n *nodes) unanswered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.devices, func(dev *cuse.Device) bool {
		requests, err := dev.Unanswered()
		return err == nil && requests > 0
	})
}

// check returns when all nodes are served: not, where one hangs.
func (n *nodes) check() {
	n.mu.Lock()
	devices := slices.Clone(n.devices)
	n.mu.Unlock()
	for _, dev := range devices {
		_ = dev.Check(context.Background()) // one that has ended hangs nobody
	}
}

// close takes all nodes away.
func (n *nodes) close() {
	n.mu.Lock()
	n.closed = true
	for _, dev := range n.devices {
		n.store.forget(dev.Name())
		dev.Close()
	}
	n.mu.Unlock()
	n.serving.Wait()
}

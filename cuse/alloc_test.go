package cuse

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A collection of garbage makes keys wait, so that a key makes none.
func TestAnswersAllocateNothing(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		var w well
		r := newRig(t, openWell(&w))
		r.openFile()
		checkAllocations(t, r, &w, func(msg []byte) error { return r.dev.dispatch(msg) })
	})
	t.Run("kept", func(t *testing.T) {
		k := newKeptRig(t)
		k.openFile()
		k.dev.witness = nil // the requests come again and again
		checkAllocations(t, k.rig, &k.files[0].well, func(msg []byte) error {
			n := copy(k.dev.inbox(), msg)
			defer k.dev.seenThrough(msg)
			return k.dev.dispatch(k.dev.inbox()[:n])
		})
	})
}

func checkAllocations(t *testing.T, r *rig, w *well, serve func(msg []byte) error) {
	read := r.request(opRead, body(fuse.ReadIn{Fh: 1, Size: 64}))
	poll := r.request(opPoll, body(pollIn{Fh: 1, Kh: 1, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))
	key := []byte{0x1e}
	dispatch := func(msg []byte) {
		if err := serve(msg); err != nil {
			t.Fatal(err)
		}
	}
	answers := func(want int) {
		for range want {
			if header, _ := r.answer(); header == nil || header.Status != 0 && header.Status != notifyPoll {
				t.Fatalf("the answer is %+v", header)
			}
		}
	}
	for _, way := range []struct {
		name string
		key  func()
	}{
		{"a read that waits", func() { dispatch(read); w.data = key; w.Wake(); answers(1) }},
		{"a read of what is there", func() { w.data = key; dispatch(read); answers(1) }},
		{"poll", func() {
			dispatch(poll)
			w.data = key
			w.Wake()
			dispatch(poll)
			dispatch(read)
			answers(4)
		}},
	} {
		if n := testing.AllocsPerRun(100, way.key); n != 0 {
			t.Errorf("%s: %v allocations", way.name, n)
		}
	}
}

package cuse

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// release is the RELEASE of the file that was opened first.
func release() []byte { return body(fuse.ReleaseIn{Fh: 1}) }

// wantOpens checks how often this server has called OpenFunc.
func (k *keptRig) wantOpens(want int) {
	k.t.Helper()
	if k.opens != want {
		k.t.Errorf("OpenFunc was called %d times, want %d", k.opens, want)
	}
}

// wantFiles checks how many files are open, and that no other takes up room.
func (k *keptRig) wantFiles(want int) {
	k.t.Helper()
	slots := 0
	for i := range k.dev.record.used {
		if *k.dev.record.slot(i).valid() != 0 {
			slots++
		}
	}
	if n := len(k.dev.snapshot()); n != want || slots != want {
		k.t.Errorf("%d files are open and %d are kept, want %d", n, slots, want)
	}
}

// awaitOpens is finish for opens alone.
func (k *keptRig) awaitOpens() {
	for opens := 1; opens > 0; runtime.Gosched() {
		k.dev.mu.Lock()
		opens = len(k.dev.waiting)
		k.dev.mu.Unlock()
	}
}

func TestOpenUnderWayIsFinished(t *testing.T) {
	k := newKeptRig(t)
	k.slow = true
	unique := k.ask(opOpen, body(fuse.OpenIn{}))
	k = k.die()
	k.finish()
	k.wantAnswer(unique, 0, opened(1))
	k.ask(opOpen, body(fuse.OpenIn{}))
	k.finish()
	k.wantAnswer(k.unique, 0, opened(2))
	k.wantFiles(2)
}

// TestOpenIsAnsweredOnceByWhomever has the server die when OpenFunc has made the file: nobody makes it once more.
func TestOpenIsAnsweredOnceByWhomever(t *testing.T) {
	for _, tt := range []struct {
		kills func(moment) bool
		sent  bool
	}{{beforeTheAnswer, false}, {afterTheAnswer, true}} {
		for _, seen := range []bool{false, true} {
			k := newKeptRig(t)
			k.kernel.kills = tt.kills
			unique := k.receive(opOpen, body(fuse.OpenIn{}))
			k.dispatch()
			k.finish()
			if seen {
				mapRecord(k.kernel.left).seenThrough(unique)
			}
			if tt.sent {
				k.wantAnswer(unique, 0, opened(1))
			}
			k = k.die()
			k.finish()
			if !tt.sent {
				k.wantAnswer(unique, 0, opened(1))
			}
			k.wantNothing()
			k.wantOpens(0)
			k.wantFiles(1)
			k.ask(opRelease, release())
			k.finish()
			k.wantAnswer(k.unique, 0, "")
			k.wantFiles(0)
		}
	}
}

// TestFileIsClosedBeforeItsOpenHasEnded has the client be faster than the goroutine that answered it.
func TestFileIsClosedBeforeItsOpenHasEnded(t *testing.T) {
	k := newKeptRig(t)
	var closes uint64
	gate, answered := make(chan struct{}), make(chan struct{})
	defer close(gate)
	k.kernel.then = func(uint64) {
		k.files[0].gate = gate // its Close takes long
		closes = k.ask(opRelease, release())
		close(answered)
	}
	opens := k.receive(opOpen, body(fuse.OpenIn{}))
	k.dispatch()
	<-answered
	k.awaitOpens()
	k.wantAnswer(opens, 0, opened(1))
	k = k.die()
	k.wantAnswer(closes, 0, "")
	k.wantFiles(0)
}

// TestFileIsPolledBeforeItsOpenHasEnded has the client be that fast, too, and the server die before anything else is noted.
func TestFileIsPolledBeforeItsOpenHasEnded(t *testing.T) {
	k := newKeptRig(t)
	k.kernel.then = func(opens uint64) {
		k.seeThrough()
		k.kernel.kills = func(m moment) bool { return m.unique != opens && m.sent }
		k.ask(opPoll, body(pollIn{Fh: 1, Kh: 77, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))
	}
	k.receive(opOpen, body(fuse.OpenIn{}))
	k.dispatch()
	k.finish()
	k = k.die()
	k.finish()
	k.rig.wantAnswer(notifyPoll, "\x4d\x00\x00\x00\x00\x00\x00\x00")
	k.wantOpens(0)
	k.wantFiles(1)
}

func TestOpenThatIsRefusedStaysSo(t *testing.T) {
	for _, tt := range []struct {
		kills func(moment) bool
		sent  bool
	}{{beforeTheAnswer, false}, {afterTheAnswer, true}} {
		k := newKeptRig(t)
		k.errno = unix.EBUSY
		k.kernel.kills = tt.kills
		unique := k.receive(opOpen, body(fuse.OpenIn{}))
		k.dispatch()
		k.finish()
		if tt.sent {
			k.wantAnswer(unique, unix.EBUSY, "")
		}
		k = k.die()
		k.finish()
		if !tt.sent {
			k.wantAnswer(unique, unix.EBUSY, "")
		}
		k.wantNothing()
		k.wantOpens(0)
		k.wantFiles(0)
	}
}

// TestOpenStaysInterrupted has the server die when it has seen an interrupt through, and OpenFunc has not ended. The next one
// is not told of the interrupt.
func TestOpenStaysInterrupted(t *testing.T) {
	k := newKeptRig(t)
	k.gate = make(chan struct{})
	defer close(k.gate)
	unique := k.ask(opOpen, body(fuse.OpenIn{}))
	k.ask(opInterrupt, body(fuse.InterruptIn{Unique: unique}))
	k = k.die(func(next *keptRig) { next.slow = true })
	k.wantAnswer(unique, unix.EINTR, "")
	k.wantNothing()
	k.wantFiles(0)
}

// TestServerDiesOverTheInterruptOfAnOpen has the open be answered by OpenFunc alone, which may have it fail, or may not.
func TestServerDiesOverTheInterruptOfAnOpen(t *testing.T) {
	for _, heeds := range []bool{false, true} {
		k := newKeptRig(t)
		k.slow = true
		unique := k.ask(opOpen, body(fuse.OpenIn{}))
		k.receive(opInterrupt, body(fuse.InterruptIn{Unique: unique}))
		gate := make(chan struct{})
		k = k.die(func(next *keptRig) { next.slow, next.gate = heeds, gate })
		k.wantNothing()
		close(gate)
		k.finish()
		if heeds {
			k.wantAnswer(unique, unix.EINTR, "")
			k.wantFiles(0)
		} else {
			k.wantAnswer(unique, 0, opened(1))
			k.wantFiles(1)
		}
		k.wantNothing()
	}
}

// TestOpenThatNobodyWaitsForIsUndone has the kernel refuse the answer.
func TestOpenThatNobodyWaitsForIsUndone(t *testing.T) {
	k := newKeptRig(t)
	for range 20 { // more than there is room for
		unique := k.receive(opOpen, body(fuse.OpenIn{}))
		delete(k.kernel.asked, unique)
		k.dispatch()
		k.finish()
		k.seeThrough()
	}
	k.wantFiles(0)
	k.slow = true
	unique := k.ask(opOpen, body(fuse.OpenIn{}))
	k = k.die(func(next *keptRig) { delete(next.kernel.asked, unique) })
	k.finish()
	k.wantFiles(0)
	if !k.files[0].closed {
		t.Error("the file is not closed")
	}
}

// TestOpenUnderWayFindsTheFilesThatWereOpenBefore has OpenFunc, which may count them, called when all are restored.
func TestOpenUnderWayFindsTheFilesThatWereOpenBefore(t *testing.T) {
	k := newKeptRig(t)
	free := k.ask(opOpen, body(fuse.OpenIn{})) // the first place, for the open that is under way
	k.finish()
	k.wantAnswer(free, 0, opened(1))
	for fh := uint64(2); fh <= 4; fh++ {
		k.ask(opOpen, body(fuse.OpenIn{}))
		k.finish()
		k.wantAnswer(k.unique, 0, opened(fh))
	}
	k.ask(opRelease, release())
	k.finish()
	k.wantAnswer(k.unique, 0, "")
	k.slow = true
	k.ask(opOpen, body(fuse.OpenIn{}))
	k = k.die(func(next *keptRig) {
		next.onRestored = func(w *keptWell) {
			w.dev.mu.Lock()
			defer w.dev.mu.Unlock()
			if n := len(w.dev.waiting); n != 0 {
				t.Errorf("%d opens are under way before file %d is restored", n, w.fh)
			}
		}
	})
	k.finish()
	k.wantOpens(1)
	k.wantFiles(4)
}

func TestReleaseUnderWayIsFinished(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.files[0].data = make([]byte, halfSize) // that there is no room for it does not matter any more
	gate := make(chan struct{})
	defer close(gate)
	k.files[0].gate = gate
	unique := k.ask(opRelease, release())
	k = k.die()
	k.wantAnswer(unique, 0, "")
	k.wantFiles(0)
	k = k.die()
	k.wantNothing()
	if len(k.files) != 0 {
		t.Error("the file is there still")
	}
}

func TestRoomIsFreedByAllThatEnds(t *testing.T) {
	k := newKeptRig(t)
	open := func() uint64 {
		k.ask(opOpen, body(fuse.OpenIn{}))
		k.finish()
		return k.unique
	}
	for fh := uint64(1); fh <= 20; fh++ {
		k.errno = nil
		k.wantAnswer(open(), 0, opened(2*fh-1))
		k.ask(opRelease, body(fuse.ReleaseIn{Fh: 2*fh - 1}))
		k.finish()
		k.wantAnswer(k.unique, 0, "")
		k.errno = unix.EBUSY
		k.wantAnswer(open(), unix.EBUSY, "")
	}
	k.wantFiles(0)
	k.errno = nil
	for range 8 {
		k.wantAnswer(open(), 0, "-")
	}
	k.wantAnswer(open(), unix.ENFILE, "")
	k = k.die()
	k.wantAnswer(open(), unix.ENFILE, "")
	k.ask(opRelease, body(fuse.ReleaseIn{Fh: 41}))
	k.finish()
	k.wantAnswer(k.unique, 0, "")
	k.wantAnswer(open(), 0, "-")
}

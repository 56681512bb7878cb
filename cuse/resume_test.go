package cuse

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestParkedReadsWaitOn(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	first := k.ask(opRead, readOf(1, 2))
	second := k.ask(opRead, readOf(1, 9))
	k = k.die().die() // twice
	k.wantNothing()
	if n := k.waiting(); n != 2 {
		t.Errorf("%d reads wait on, want 2", n)
	}
	k.put(0, "abc")
	k.wantAnswer(first, 0, "ab")
	k.wantAnswer(second, 0, "c")
	k = k.die()
	k.wantNothing()
}

func TestBytesAreKept(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.put(0, "abc")
	k.ask(opRead, readOf(1, 1))
	k.wantAnswer(k.unique, 0, "a")
	k = k.die()
	k.ask(opRead, readOf(1, 1))
	k.wantAnswer(k.unique, 0, "b")
	k.files[0].refused = []byte("x") // as if the kernel had not taken it
	k.files[0].Wake()
	k = k.die()
	k.ask(opRead, readOf(1, 9))
	k.wantAnswer(k.unique, 0, "x")
	k.ask(opRead, readOf(1, 9))
	k.wantAnswer(k.unique, 0, "c")
}

// TestServerDiesBetweenTheNoteAndTheAnswer has bytes noted that a read waits for: it gets them from the next server.
func TestServerDiesBetweenTheNoteAndTheAnswer(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.ask(opRead, readOf(1, 2))
	k.files[0].data = []byte("abc")
	k.note(0)
	k = k.die()
	k.wantAnswer(unique, 0, "ab")
	k.ask(opRead, readOf(1, 2))
	k.wantAnswer(k.unique, 0, "c")
}

// TestBytesAreGivenOnce has the server die right before it answers a read, and right after. Nobody else does anything.
func TestBytesAreGivenOnce(t *testing.T) {
	long := strings.Repeat("long ", 1000) // more than the smallest answer, so that there is one of another size
	there := func(k *keptRig) {
		k.put(0, long+"rest")
		k.receive(opRead, readOf(1, uint32(len(long))))
		k.dispatch()
	}
	waits := func(k *keptRig) {
		k.ask(opRead, readOf(1, uint32(len(long))))
		k.put(0, long+"rest")
	}
	// What the kernel has refused once, it is given again.
	again := func(k *keptRig) {
		lost := k.ask(opRead, readOf(1, uint32(len(long))))
		delete(k.kernel.asked, lost)
		k.put(0, long)
		k.put(0, "rest")
		k.receive(opRead, readOf(1, uint32(len(long))))
		k.dispatch()
	}
	for _, tt := range []struct {
		name  string
		read  func(k *keptRig)
		kills func(moment) bool
		sent  bool // the first server has sent the answer
	}{
		{"what is there, before", there, beforeTheAnswer, false},
		{"what is there, after", there, afterTheAnswer, true},
		{"what is waited for, before", waits, beforeTheAnswer, false},
		{"what is waited for, after", waits, afterTheAnswer, true},
		{"what was refused, before", again, beforeTheAnswer, false},
		{"what was refused, after", again, afterTheAnswer, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			k.kernel.kills = tt.kills
			tt.read(k)
			unique := k.unique
			if tt.sent {
				k.wantAnswer(unique, 0, long)
			}
			k = k.die()
			if !tt.sent {
				k.wantAnswer(unique, 0, long)
			}
			k.wantNothing()
			k = k.die() // once more: nothing is due
			k.wantNothing()
			k.ask(opRead, readOf(1, 100))
			k.wantAnswer(k.unique, 0, "rest")
			if n := k.waiting(); n != 0 {
				t.Errorf("%d reads wait", n)
			}
		})
	}
}

// TestBytesThatCameAfterAnEmptyAnswerAreKept has a read that does not wait find nothing, and bytes come before the server has
// seen it through: they are not that read's.
func TestBytesThatCameAfterAnEmptyAnswerAreKept(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.receive(opRead, body(fuse.ReadIn{Fh: 1, Size: 9, Flags: unix.O_NONBLOCK}))
	k.dispatch()
	k.wantAnswer(unique, unix.EAGAIN, "")
	k.put(0, "abc")
	k = k.die().die()
	k.ask(opRead, readOf(1, 9))
	k.wantAnswer(k.unique, 0, "abc")
}

// TestBytesThatTheKernelRefusesAreKept has the next server give them to another read, whatever its size.
func TestBytesThatTheKernelRefusesAreKept(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	long := strings.Repeat("long ", 1000)
	delete(k.kernel.asked, k.ask(opRead, readOf(1, maxTransfer)))
	k.put(0, long)
	k.wantNothing()
	k = k.die()
	k.wantNothing()
	for _, want := range []string{long[:2], long[2:]} {
		k.ask(opRead, readOf(1, uint32(len(want))))
		k.wantAnswer(k.unique, 0, want)
	}
}

// TestReadWaitsOnce has the server die when it has noted that the read waits, and not seen the request through.
func TestReadWaitsOnce(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.receive(opRead, readOf(1, 9))
	k.dispatch()
	k = k.die()
	if n := k.waiting(); n != 1 {
		t.Errorf("%d reads wait, want 1", n)
	}
	k.put(0, "abc")
	k.wantAnswer(unique, 0, "abc")
}

// TestSecondReaderIsServedWhenTheServerDiesOverTheFirst has two reads wait for what comes at once.
func TestSecondReaderIsServedWhenTheServerDiesOverTheFirst(t *testing.T) {
	for _, kills := range []func(moment) bool{beforeTheAnswer, afterTheAnswer} {
		k := newKeptRig(t)
		k.openFile()
		first := k.ask(opRead, readOf(1, 2))
		second := k.ask(opRead, readOf(1, 2))
		k.kernel.kills = kills
		k.put(0, "abcde")
		header, _ := k.answer()
		k = k.die()
		if header == nil {
			k.wantAnswer(first, 0, "ab")
		}
		k.wantAnswer(second, 0, "cd")
		k.wantNothing()
		k.ask(opRead, readOf(1, 2))
		k.wantAnswer(k.unique, 0, "e")
	}
}

func TestWakeBeforeAFileIsRestoredIsNone(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.ask(opRead, readOf(1, 2))
	k.files[0].data = []byte("abc")
	k.note(0)
	k = k.die(func(next *keptRig) { next.onRestore = (*Handle).Wake })
	k.wantAnswer(unique, 0, "ab")
}

func TestWhoPollsLooksAgain(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.ask(opPoll, body(pollIn{Fh: 1, Kh: 77, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))
	k.answer()
	k = k.die()
	if header, kh := k.answer(); header == nil || header.Unique != 0 || header.Status != notifyPoll || kh[0] != 77 {
		t.Errorf("answer %+v % x, want a notification", header, kh)
	}
}

func TestIoctlUnderWayIsInterrupted(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: waitingIoctl}))
	k = k.die()
	k.wantAnswer(unique, unix.EINTR, "")
	k = k.die()
	k.wantNothing()
}

func TestIoctlThatPanicsIsInterrupted(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: panickingIoctl}))
	k.dev.calls.Wait()
	k = k.die()
	k.wantAnswer(unique, unix.EINTR, "")
}

// TestWhatACallDidIsKept has the server die as soon as the client knows that it was done.
func TestWhatACallDidIsKept(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opcode uint32
		body   []byte
	}{
		{"write", opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 7)},
		{"ioctl", opIoctl, body(fuse.IoctlIn{Fh: 1, Arg: 7})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			k.kernel.kills = afterTheAnswer
			unique := k.receive(tt.opcode, tt.body)
			k.dispatch()
			k.finish()
			k.wantAnswer(unique, 0, "-")
			k = k.die()
			k.wantNothing()
			if k.files[0].mode != 7 {
				t.Errorf("the mode is %d, want 7", k.files[0].mode)
			}
		})
	}
}

// TestServerDiesOverARequest has it read one, and not begin.
func TestServerDiesOverARequest(t *testing.T) {
	pollOut := pollOut{Revents: unix.POLLIN | pollRdNorm}
	for _, tt := range []struct {
		name   string
		opcode uint32
		body   []byte
		status unix.Errno
		out    string
	}{
		{"read", opRead, readOf(1, 9), 0, "abc"},
		{"open", opOpen, body(fuse.OpenIn{}), 0, opened(2)},
		{"release", opRelease, body(fuse.ReleaseIn{Fh: 1}), 0, ""},
		{"poll", opPoll, body(pollIn{Fh: 1}), 0, string(bytesOf(&pollOut))},
		{"write", opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 'x'), unix.EINTR, ""},
		{"ioctl", opIoctl, body(fuse.IoctlIn{Fh: 1}), unix.EINTR, ""},
		{"another", 99, nil, unix.ENOSYS, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			k.put(0, "abc")
			unique := k.receive(tt.opcode, tt.body)
			k = k.die()
			k.finish()
			k.wantAnswer(unique, tt.status, tt.out)
			if k.dev.record.unseen() != nil {
				t.Error("the request is not seen through")
			}
			k = k.die()
			k.wantNothing()
		})
	}
}

// TestServerDiesOverAnInterrupt has the interrupted read be EINTR, and no other: before the server has begun, or when it has
// noted that the read does not wait, and not answered it.
func TestServerDiesOverAnInterrupt(t *testing.T) {
	for _, begins := range []bool{false, true} {
		k := newKeptRig(t)
		k.openFile()
		unique := k.ask(opRead, readOf(1, 9))
		next := k.ask(opRead, readOf(1, 9))
		k.receive(opInterrupt, body(fuse.InterruptIn{Unique: unique}))
		if begins {
			k.kernel.kills = beforeTheAnswer
			k.dispatch()
		}
		k = k.die()
		k.wantAnswer(unique, unix.EINTR, "")
		k.wantNothing()
		if n := k.waiting(); n != 1 {
			t.Errorf("%d reads wait, want 1", n)
		}
		k.put(0, "abc")
		k.wantAnswer(next, 0, "abc")
		k.wantNothing()
	}
}

func TestTooManyReadsAreTold(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	for range maxParked {
		k.ask(opRead, readOf(1, 2))
	}
	k.wantNothing()
	k.ask(opRead, readOf(1, 2)) // with EAGAIN it would try for ever
	k.wantAnswer(k.unique, unix.ENOBUFS, "")
	k.ask(opRead, body(fuse.ReadIn{Fh: 1, Size: 2, Flags: unix.O_NONBLOCK}))
	k.wantAnswer(k.unique, unix.EAGAIN, "")
	k = k.die()
	if n := k.waiting(); n != maxParked {
		t.Errorf("%d reads wait on, want %d", n, maxParked)
	}
}

func TestTooManyIoctlsAreTold(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	for range 2 * maxCalls { // one after the other are not too many
		k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1}))
		k.finish()
		k.wantAnswer(k.unique, 0, "-")
	}
	var waiting []uint64
	for range maxCalls {
		waiting = append(waiting, k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: waitingIoctl})))
	}
	k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1}))
	k.wantAnswer(k.unique, unix.ENOBUFS, "")
	k = k.die()
	for _, unique := range waiting {
		k.wantAnswer(unique, unix.EINTR, "")
	}
	k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1}))
	k.finish()
	k.wantAnswer(k.unique, 0, "-")
}

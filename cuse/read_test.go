package cuse

import (
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// refusing has the kernel refuse all answers while do runs.
func (r *rig) refusing(do func()) {
	full, err := unix.Open("/dev/full", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(full)
	fd := r.dev.fd
	r.dev.fd = full
	do()
	r.dev.fd = fd
}

func (r *rig) wantAnswer(status int32, want string) {
	r.t.Helper()
	header, got := r.answer()
	if header == nil || header.Status != status || string(got) != want {
		r.t.Fatalf("the answer is %+v %q, want %d %q", header, got, status, want)
	}
}

func read(size uint32, flags uint32) []byte {
	return body(fuse.ReadIn{Fh: 1, Size: size, Flags: flags})
}

func TestDataThatTheKernelRefusesGoesToTheNextRead(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	r.ask(opRead, read(10, 0))
	w.data = []byte("abcde")
	r.refusing(w.Wake)
	r.ask(opPoll, body(pollIn{Fh: 1, Events: unix.POLLIN}))
	if _, out := r.answer(); len(out) == 0 || out[0] != unix.POLLIN|pollRdNorm {
		t.Errorf("poll tells % x, want POLLIN", out)
	}
	w.data = []byte("f")
	r.refusing(func() { r.ask(opRead, read(2, 0)) })
	r.ask(opRead, read(2, unix.O_NONBLOCK))
	r.wantAnswer(0, "ab")
	r.refusing(func() { r.ask(opRead, read(10, 0)) })
	r.ask(opRead, read(10, 0))
	r.wantAnswer(0, "cde")
	r.ask(opRead, read(10, 0))
	r.wantAnswer(0, "f")
	r.ask(opRead, read(10, unix.O_NONBLOCK))
	r.wantAnswer(-int32(unix.EAGAIN), "")
}

func TestReadDoesNotOvertakeThoseThatWait(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	r.ask(opRead, read(1, 0))
	first := r.unique
	w.data = []byte("xy") // and Wake has not been called yet
	r.ask(opRead, read(1, unix.O_NONBLOCK))
	r.wantAnswer(-int32(unix.EAGAIN), "")
	r.ask(opRead, read(1, 0))
	w.Wake()
	if header, out := r.answer(); header == nil || header.Unique != first || string(out) != "x" {
		t.Errorf("first is answered %+v %q", header, out)
	}
	r.wantAnswer(0, "y")
}

func TestPollWaitsWhileThereIsNothing(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	poll := func(events uint32) {
		r.ask(opPoll, body(pollIn{Fh: 1, Kh: 77, PollFlags: pollScheduleNotify, Events: events}))
		r.wantAnswer(0, string(make([]byte, 8)))
	}
	poll(unix.POLLIN)
	poll(unix.POLLPRI)
	w.Wake()
	if header, _ := r.answer(); header != nil {
		t.Errorf("poll is woken for nothing: %+v", header)
	}
	w.data = []byte("x")
	w.Wake()
	r.wantAnswer(notifyPoll, "\x4d\x00\x00\x00\x00\x00\x00\x00")
	w.Wake()
	if header, _ := r.answer(); header != nil {
		t.Errorf("poll is woken twice: %+v", header)
	}
}

// TestPollIsWokenForWhatIsAskedForNow has one that polls be gone before another does, for something else.
func TestPollIsWokenForWhatIsAskedForNow(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	poll := func(events uint32) {
		r.ask(opPoll, body(pollIn{Fh: 1, Kh: 77, PollFlags: pollScheduleNotify, Events: events}))
		if header, _ := r.answer(); header == nil || header.Status != 0 {
			t.Fatalf("poll is answered with %+v", header)
		}
	}
	poll(unix.POLLIN)
	w.data = []byte("x")
	w.Wake()
	if header, _ := r.answer(); header == nil || header.Status != notifyPoll {
		t.Fatalf("poll is not woken: %+v", header)
	}
	poll(unix.POLLPRI)
	w.Wake()
	if header, _ := r.answer(); header != nil {
		t.Errorf("who waits for POLLPRI is woken by POLLIN: %+v", header)
	}
}

// TestWriteThatFailsInTheMiddleIsTakenInPart has the client try the rest, and hear of the error then.
func TestWriteThatFailsInTheMiddleIsTakenInPart(t *testing.T) {
	r := newRig(t, func(context.Context, *Handle) (File, error) { return new(fullWell), nil })
	r.openFile()
	r.ask(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 4}), "abcd"...))
	r.wantAnswer(0, "\x03\x00\x00\x00\x00\x00\x00\x00")
	r.ask(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 'd'))
	r.wantAnswer(-int32(unix.ENOSPC), "")
}

// A fullWell has room for 3 bytes.
type fullWell struct {
	well
	written int
}

func (w *fullWell) Write(p []byte) (int, error) {
	n := min(3-w.written, len(p))
	w.written += n
	if n < len(p) {
		return n, unix.ENOSPC
	}
	return n, nil
}

// TestLargeReadCostsWhatThereIs has the client ask for much.
func TestLargeReadCostsWhatThereIs(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	for _, tt := range []struct{ there, costs int }{
		{1, minAnswer}, {minAnswer - outHeaderSize - 1, minAnswer}, {minAnswer, 2 * minAnswer}, {5 * minAnswer, 8 * minAnswer},
	} {
		w.data = make([]byte, tt.there)
		r.ask(opRead, read(maxTransfer, 0))
		r.wantAnswer(0, string(make([]byte, tt.there)))
		if n := len(w.answer); n != tt.costs {
			t.Errorf("a read of %d bytes costs %d, want %d", tt.there, n, tt.costs)
		}
	}
}

func TestWhoIsInAnIoctlIsAWaiter(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(context.Context, *Handle) (File, error) {
		return &slowIoctler{began: began, end: end}, nil
	})
	r.openFile()
	msg := r.request(opIoctl, body(fuse.IoctlIn{Fh: 1}))
	view[fuse.InHeader](msg).Pid = 7
	if err := r.dev.dispatch(msg); err != nil {
		t.Fatal(err)
	}
	<-began
	if got := r.dev.Waiters(); len(got) != 1 || got[0].Thread != 7 {
		t.Errorf("%+v wait, want thread 7", got)
	}
	close(end)
	r.dev.calls.Wait()
	if got := r.dev.Waiters(); len(got) != 0 {
		t.Errorf("%+v wait, want none", got)
	}
}

func TestWhoIsInAnOpenIsAWaiter(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(context.Context, *Handle) (File, error) {
		close(began)
		<-end
		return nil, unix.EBUSY
	})
	before := time.Now()
	msg := r.request(opOpen, body(fuse.OpenIn{}))
	view[fuse.InHeader](msg).Pid = 7
	if err := r.dev.dispatch(msg); err != nil {
		t.Fatal(err)
	}
	<-began
	if got := r.dev.Waiters(); len(got) != 1 || got[0].Thread != 7 || got[0].Since.Before(before) {
		t.Errorf("%+v wait, want thread 7", got)
	}
	close(end)
	r.dev.calls.Wait()
	if got := r.dev.Waiters(); len(got) != 0 {
		t.Errorf("%+v wait, want none", got)
	}
}

// A slowIoctler is in an ioctl from began to end.
type slowIoctler struct {
	well
	began, end chan struct{}
}

func (*slowIoctler) IoctlSize(uint32) (in, out int, ok bool) { return 0, 0, true }

func (f *slowIoctler) Ioctl(context.Context, *Ioctl) (int, error) {
	close(f.began)
	<-f.end
	return 0, nil
}

func TestWaitersAreTheThreadsThatWaitOrMayAtAnyMoment(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	from := func(thread uint32, opcode uint32, body []byte) {
		msg := r.request(opcode, body)
		view[fuse.InHeader](msg).Pid = thread
		if err := r.dev.dispatch(msg); err != nil {
			t.Fatal(err)
		}
	}
	want := func(threads ...uint32) {
		t.Helper()
		var got []uint32
		for _, w := range r.dev.Waiters() {
			got = append(got, w.Thread)
		}
		if !slices.Equal(got, threads) {
			t.Errorf("threads %v wait, want %v", got, threads)
		}
	}
	want()
	from(7, opRead, read(1, unix.O_NONBLOCK))
	from(8, opRead, read(1, 0))
	from(9, opPoll, body(pollIn{Fh: 1, Events: unix.POLLIN}))
	for range 2 {
		from(10, opPoll, body(pollIn{Fh: 1, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))
	}
	from(11, opPoll, body(pollIn{Fh: 1, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))
	want(8, 10, 11)
	// Those who are answered come back.
	w.data = []byte("xy")
	w.Wake()
	want(8, 10, 11)
	from(12, opRead, read(1, 0))
	from(12, opPoll, body(pollIn{Fh: 1, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))
	want(8, 12, 12)
	for thread := range uint32(64) {
		from(100+thread, opRead, read(1, 0))
	}
	if got := r.dev.Waiters(); len(got) != 65 || got[0].Thread != 100 {
		t.Errorf("%d threads wait, from %d on", len(got), got[0].Thread)
	}
}

func TestReleaseEndsReadsThatLinuxWouldHaveEnded(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	r.ask(opRead, read(10, 0))
	r.ask(opRelease, body(fuse.ReleaseIn{Fh: 1}))
	r.dev.calls.Wait()
	r.wantAnswer(-int32(unix.EBADF), "")
	r.wantAnswer(0, "")
	w.Wake() // the well panics if it is read now
}

func TestOpenThatTheKernelRefusesClosesTheFile(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.refusing(func() {
		r.ask(opOpen, body(fuse.OpenIn{}))
		r.dev.calls.Wait()
	})
	if !w.closed || len(r.dev.handles) != 0 {
		t.Errorf("closed: %t; %d files are open", w.closed, len(r.dev.handles))
	}
}

// wakeAndRead is one key of a keyboard: a read waits, a byte comes, the read is answered.
func wakeAndRead(t testing.TB) func() {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	request := r.request(opRead, read(64, 0))
	data, buf := []byte("x"), make([]byte, 64)
	return func() {
		if err := r.dev.dispatch(request); err != nil {
			t.Fatal(err)
		}
		w.data = data
		w.Wake()
		if n, err := unix.Read(r.peer, buf); err != nil || n != outHeaderSize+1 {
			t.Fatal(n, err)
		}
	}
}

func TestAnswerToAReadAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, wakeAndRead(t)); n != 0 {
		t.Errorf("%v allocations for a read and its answer", n)
	}
}

func TestWakeOfPollAllocatesNothing(t *testing.T) {
	w := well{data: []byte("x")}
	r := newRig(t, openWell(&w))
	r.openFile()
	buf := make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() {
		w.armed, w.pollMask = true, unix.POLLIN
		w.Wake()
		if n, err := unix.Read(r.peer, buf); err != nil || n != outHeaderSize+8 {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a wake of poll(2)", n)
	}
}

func BenchmarkWakeAnswersRead(b *testing.B) {
	one := wakeAndRead(b)
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}

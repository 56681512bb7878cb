package cuse

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A keptWell is a well that can be kept.
type keptWell struct{ well }

func (w *keptWell) AppendBinary(dst []byte) ([]byte, error) { return append(dst, w.data...), nil }

func (w *keptWell) IoctlSize(uint32) (in, out int, ok bool) { return 0, 0, true }

func (w *keptWell) Ioctl(ctx context.Context, _ *Ioctl) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// A keptRig is a rig whose device is kept. It can die, and be resumed.
type keptRig struct {
	*rig
	mem   []byte
	files []*keptWell     // in the order of their opens, of this life
	slow  bool            // opens do not end
	known map[uint64]bool // requests that are answered
}

func newKeptRig(t testing.TB) *keptRig {
	k := &keptRig{mem: make([]byte, RecordSize(8)), known: make(map[uint64]bool)}
	k.rig = newRig(t, k.open)
	record, err := NewRecord(k.mem, "label")
	if err != nil {
		t.Fatal(err)
	}
	k.dev.Keep(record)
	return k
}

func (k *keptRig) open(ctx context.Context, h *Handle) (File, error) {
	if k.slow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	w := &keptWell{well{Handle: h}}
	k.files = append(k.files, w)
	return w, nil
}

func (k *keptRig) restore(h *Handle, state []byte) (File, error) {
	w := &keptWell{well{Handle: h, data: bytes.Clone(state)}}
	k.files = append(k.files, w)
	return w, nil
}

// ask has the device read a request, and see it through.
func (k *keptRig) ask(opcode uint32, body []byte) (unique uint64) {
	k.t.Helper()
	k.receive(opcode, body)
	k.dispatch()
	k.dev.seenThrough(k.dev.inbox())
	return k.unique
}

// dispatch has the device handle what it has received, and not see it through.
func (k *keptRig) dispatch() {
	k.t.Helper()
	msg := k.dev.inbox()
	if err := k.dev.dispatch(msg[:*view[uint32](msg)]); err != nil {
		k.t.Fatal(err)
	}
}

// receive has the device read a request, and no more.
func (k *keptRig) receive(opcode uint32, body []byte) (unique uint64) {
	copy(k.dev.inbox(), k.request(opcode, body))
	return k.unique
}

// die goes on with another server, as the kernel does when the first is killed at this moment.
func (k *keptRig) die() *keptRig {
	k.t.Helper()
	next := &keptRig{mem: bytes.Clone(k.mem), known: k.known}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { unix.Close(fds[1]) })
	next.rig = &rig{t: k.t, peer: fds[1], buf: make([]byte, maxTransfer+4096), unique: k.unique}
	record, err := OpenRecord(next.mem)
	if err != nil {
		k.t.Fatal(err)
	}
	if record.Label() != "label" {
		k.t.Fatalf("the label is %q", record.Label())
	}
	if next.dev, err = Resume(os.NewFile(uintptr(fds[0]), "/dev/cuse"), "rig", record, next.open, next.restore); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { next.dev.Close() })
	k.dev.Close()
	k.dev.cancel()
	return next
}

// answer takes the next message to the kernel, or nil. As the kernel does, it lets go those to requests that are answered.
func (k *keptRig) answer() (*fuse.OutHeader, []byte) {
	header, body := k.rig.answer()
	for header != nil && header.Unique != 0 && k.known[header.Unique] {
		header, body = k.rig.answer()
	}
	if header != nil {
		k.known[header.Unique] = true
	}
	return header, body
}

func (k *keptRig) wantAnswer(unique uint64, errno unix.Errno, out string) {
	k.t.Helper()
	header, body := k.answer()
	if header == nil || header.Unique != unique || header.Status != -int32(errno) || out != "-" && string(body) != out {
		k.t.Fatalf("answer %+v %q, want %d: %v %q", header, body, unique, errno, out)
	}
}

func (k *keptRig) wantNothing() {
	k.t.Helper()
	if header, body := k.answer(); header != nil {
		k.t.Fatalf("answer %+v %q, want none", header, body)
	}
}

// waiting is how many reads wait.
func (k *keptRig) waiting() (n int) {
	for _, h := range k.dev.snapshot() {
		n += len(h.parked)
	}
	return n
}

// readOf reads from the file that was opened as the fh-th.
func readOf(fh uint64, size uint32) []byte { return body(fuse.ReadIn{Fh: fh, Size: size}) }

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
	k.files[0].data = []byte("abc")
	k.files[0].Wake()
	k.wantAnswer(first, 0, "ab")
	k.wantAnswer(second, 0, "c")
	k = k.die()
	k.wantNothing()
}

func TestBytesAreKept(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.files[0].data = []byte("abc")
	k.files[0].Wake()
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
	k.files[0].note(open)
	k = k.die()
	k.wantAnswer(unique, 0, "ab")
	k.ask(opRead, readOf(1, 2))
	k.wantAnswer(k.unique, 0, "c")
}

// TestServerDiesBeforeTheAnswerIsSent has the file's bytes taken out of it already.
func TestServerDiesBeforeTheAnswerIsSent(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(k *keptRig)
	}{
		{"to a read that waits", func(k *keptRig) {
			k.ask(opRead, readOf(1, 2))
			k.files[0].data = []byte("abc")
			k.files[0].Wake()
		}},
		{"to a read of what is there", func(k *keptRig) {
			k.files[0].data = []byte("abc")
			k.files[0].Wake()
			k.receive(opRead, readOf(1, 2))
			k.dispatch()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			tt.do(k)
			k.rig.answer() // which goes nowhere
			unique := k.unique
			k = k.die()
			k.wantAnswer(unique, 0, "ab")
			k.wantNothing()
			k = k.die()
			k.ask(opRead, readOf(1, 2))
			k.wantAnswer(k.unique, 0, "c")
			if n := k.waiting(); n != 0 {
				t.Errorf("%d reads wait", n)
			}
		})
	}
}

// TestServerDiesWhenTheAnswerIsSent has it not come round to anything else: the read has its bytes once.
func TestServerDiesWhenTheAnswerIsSent(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.files[0].data = []byte("abc")
	k.files[0].Wake()
	k.receive(opRead, readOf(1, 2))
	k.dispatch()
	k.wantAnswer(k.unique, 0, "ab")
	k = k.die()
	k.wantNothing()
	k.ask(opRead, readOf(1, 2))
	k.wantAnswer(k.unique, 0, "c")
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
	unique := k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1}))
	k = k.die()
	k.wantAnswer(unique, unix.EINTR, "")
	k = k.die()
	k.wantNothing()
}

func TestOpenUnderWayIsFinished(t *testing.T) {
	k := newKeptRig(t)
	k.slow = true
	unique := k.ask(opOpen, body(fuse.OpenIn{}))
	k = k.die()
	k.dev.calls.Wait()
	out := fuse.OpenOut{Fh: 1}
	k.wantAnswer(unique, 0, string(bytesOf(&out)))
	k.ask(opOpen, body(fuse.OpenIn{}))
	k.dev.calls.Wait()
	out.Fh = 2
	k.wantAnswer(k.unique, 0, string(bytesOf(&out)))
}

func TestOpenThatIsRefusedStaysSo(t *testing.T) {
	k := newKeptRig(t)
	h := &Handle{dev: k.dev, unique: 100}
	h.slot, _ = k.dev.record.take()
	h.state, h.status = refused, status(unix.EBUSY)
	h.noteLocked()
	k = k.die()
	k.wantAnswer(100, unix.EBUSY, "")
	k = k.die()
	k.wantNothing()
}

func TestReleaseUnderWayIsFinished(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	h := k.files[0].Handle
	h.state, h.unique = closing, 100
	h.noteLocked()
	k = k.die()
	k.wantAnswer(100, 0, "")
	k = k.die()
	k.wantNothing()
	if len(k.files) != 0 {
		t.Error("the file is there still")
	}
}

// TestServerDiesOverARequest has it read one, and not begin.
func TestServerDiesOverARequest(t *testing.T) {
	openOut := fuse.OpenOut{Fh: 2}
	pollOut := pollOut{Revents: unix.POLLIN | pollRdNorm}
	for _, tt := range []struct {
		name   string
		opcode uint32
		body   []byte
		status unix.Errno
		out    string
	}{
		{"read", opRead, readOf(1, 9), 0, "abc"},
		{"open", opOpen, body(fuse.OpenIn{}), 0, string(bytesOf(&openOut))},
		{"release", opRelease, body(fuse.ReleaseIn{Fh: 1}), 0, ""},
		{"poll", opPoll, body(pollIn{Fh: 1}), 0, string(bytesOf(&pollOut))},
		{"write", opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 'x'), unix.EINTR, ""},
		{"ioctl", opIoctl, body(fuse.IoctlIn{Fh: 1}), unix.EINTR, ""},
		{"another", 99, nil, unix.ENOSYS, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			k.files[0].data = []byte("abc")
			k.files[0].Wake()
			unique := k.receive(tt.opcode, tt.body)
			k = k.die()
			k.dev.calls.Wait()
			k.wantAnswer(unique, tt.status, tt.out)
			k = k.die()
			k.wantNothing()
		})
	}
}

func TestServerDiesOverAnInterrupt(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	unique := k.ask(opRead, readOf(1, 9))
	k.receive(opInterrupt, body(fuse.InterruptIn{Unique: unique}))
	k = k.die()
	k.wantAnswer(unique, unix.EINTR, "")
	k.files[0].data = []byte("abc")
	k.files[0].Wake()
	k.answer() // a second one, which the kernel does not know any more
	k.wantNothing()
}

func TestFileThatCannotBeRestoredIsDead(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.files[0].data = make([]byte, halfSize) // more than there is room for
	k.files[0].Wake()
	k = k.die()
	k.ask(opRead, readOf(1, 9))
	k.wantAnswer(k.unique, unix.ENODEV, "")
	k.ask(opRelease, body(fuse.ReleaseIn{Fh: 1}))
	k.dev.calls.Wait()
	k.wantAnswer(k.unique, 0, "")
}

func TestRecordOfAnotherVersionIsRefused(t *testing.T) {
	mem := make([]byte, RecordSize(8))
	if _, err := OpenRecord(mem); err == nil {
		t.Error("memory that is no record is taken for one")
	}
	if _, err := OpenRecord(mem[:100]); err == nil {
		t.Error("a piece of memory is taken for a record")
	}
	if _, err := NewRecord(mem, strings.Repeat("x", maxLabel+1)); err == nil {
		t.Error("a label without end is taken")
	}
	r, err := NewRecord(mem, "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * maxTries { // with nothing in it
		if _, err := OpenRecord(mem); err != nil {
			t.Error(err)
		}
	}
	*r.slot(0).valid() = 1
	for range maxTries {
		if _, err := OpenRecord(mem); err != nil {
			t.Error(err)
		}
	}
	if _, err := OpenRecord(mem); err == nil {
		t.Error("a record that ends its servers is used for ever")
	}
	r.settled()
	if _, err := OpenRecord(mem); err != nil {
		t.Error(err)
	}
}

func TestRecordThatMakesNoSenseIsSurvived(t *testing.T) {
	for seed := range uint64(100) {
		k := newKeptRig(t)
		k.openFile()
		k.ask(opRead, readOf(1, 2))
		r := rand.New(rand.NewPCG(seed, 0))
		valid := *k.files[0].slot.valid()
		half := k.files[0].slot.half(valid)
		for range 1 + r.IntN(20) {
			half[r.IntN(fileRecordSize)] = byte(r.IntN(256))
		}
		copy(k.dev.inbox()[4:], half) // and a message that makes none
		k = k.die()
		k.dev.cancel()
		k.dev.calls.Wait()
	}
}

func TestTooManyReadsAreToldToTryAgain(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	for range maxParked {
		k.ask(opRead, readOf(1, 2))
	}
	k.wantNothing()
	k.ask(opRead, readOf(1, 2))
	k.wantAnswer(k.unique, unix.EAGAIN, "")
	k = k.die()
	if n := k.waiting(); n != maxParked {
		t.Errorf("%d reads wait on, want %d", n, maxParked)
	}
}

// TestNothingIsLostWhereverTheServerDies has files opened, read and closed at random, by servers that live short: each
// request gets one answer, and each file its bytes in order.
func TestNothingIsLostWhereverTheServerDies(t *testing.T) {
	for seed := range uint64(12) {
		l := newLives(t, seed)
		for range 300 {
			l.step()
		}
		l.end()
	}
}

// lives are servers one after the other, and what their clients did and got.
type lives struct {
	*keptRig
	chances *rand.Rand
	asked   map[uint64]uint64 // the file of each read that is not answered
	opens   map[uint64]bool   // opens that are not answered
	closes  map[uint64]bool   // closes likewise
	files   []uint64          // that are open, by fh
	given   map[uint64]byte   // the next byte that is put into each file
	got     map[uint64]byte   // the next one that its client should get
}

func newLives(t *testing.T, seed uint64) *lives {
	return &lives{
		keptRig: newKeptRig(t), chances: rand.New(rand.NewPCG(seed, 1)),
		asked: map[uint64]uint64{}, opens: map[uint64]bool{}, closes: map[uint64]bool{},
		given: map[uint64]byte{}, got: map[uint64]byte{},
	}
}

func (l *lives) step() {
	opcode, msg := uint32(0), []byte(nil)
	switch n := l.chances.IntN(10); {
	case n == 0 && len(l.files) < 5:
		opcode, msg = opOpen, body(fuse.OpenIn{})
		l.opens[l.unique+2] = true
	case len(l.files) == 0:
		return
	case n < 4:
		opcode, msg = opRead, readOf(l.file(), uint32(1+l.chances.IntN(3)))
		l.asked[l.unique+2] = l.file0(msg)
	case n == 4 && !l.isRead(l.files[0]):
		opcode, msg = opRelease, body(fuse.ReleaseIn{Fh: l.files[0]})
		l.closes[l.unique+2] = true
		l.files = l.files[1:]
	default:
		l.put(l.file())
	}
	dies := l.chances.IntN(3) == 0
	switch n := l.chances.IntN(3); {
	case opcode == 0:
	case dies && n > 0:
		l.receive(opcode, msg)
		if n > 1 && opcode == opRead { // it is seen to, but not seen through
			l.dispatch()
		}
	default:
		l.ask(opcode, msg)
	}
	l.dev.calls.Wait()
	l.hear(dies && l.chances.IntN(2) == 0)
	if dies {
		l.keptRig = l.die()
		l.dev.record.settled() // as after a while
		l.dev.calls.Wait()
		l.hear(false)
	}
}

func (l *lives) file() uint64 { return l.files[l.chances.IntN(len(l.files))] }

func (l *lives) file0(msg []byte) uint64 { return *view[uint64](msg) }

func (l *lives) isRead(fh uint64) bool {
	for _, asked := range l.asked {
		if asked == fh {
			return true
		}
	}
	return false
}

func (l *lives) put(fh uint64) {
	for _, w := range l.keptRig.files {
		if w.fh == fh {
			for range 1 + l.chances.IntN(3) {
				w.data = append(w.data, l.given[fh])
				l.given[fh]++
			}
			if l.chances.IntN(2) == 0 {
				w.note(open) // and no more: the server may die here
			}
			w.Wake()
		}
	}
}

// hear takes the answers; if early, the server was dead when it would have sent the last one.
func (l *lives) hear(early bool) {
	l.t.Helper()
	type answer struct {
		header fuse.OutHeader
		out    []byte
	}
	var answers []answer
	for header, out := l.rig.answer(); header != nil; header, out = l.rig.answer() {
		if !l.known[header.Unique] {
			answers = append(answers, answer{*header, bytes.Clone(out)})
		}
	}
	if n := len(answers); early && n > 0 && l.asked[answers[n-1].header.Unique] != 0 {
		answers = answers[:n-1]
	}
	for _, a := range answers {
		header, out := a.header, a.out
		l.known[header.Unique] = true
		fh, isRead := l.asked[header.Unique]
		switch {
		case header.Status != 0:
			l.t.Fatalf("request %d is answered with %v", header.Unique, unix.Errno(-header.Status))
		case l.opens[header.Unique]:
			delete(l.opens, header.Unique)
			l.files = append(l.files, l.file0(out))
			l.given[l.file0(out)], l.got[l.file0(out)] = 0, 0
		case l.closes[header.Unique]:
			delete(l.closes, header.Unique)
		case isRead:
			delete(l.asked, header.Unique)
			for _, b := range out {
				if b != l.got[fh] {
					l.t.Fatalf("file %d gives byte %d, want %d", fh, b, l.got[fh])
				}
				l.got[fh]++
			}
		default:
			l.t.Fatalf("request %d is answered, and was not asked or is answered twice", header.Unique)
		}
	}
}

func (l *lives) end() {
	for _, fh := range slices.Clone(l.files) {
		for n := 0; l.isRead(fh); n++ {
			if n > 1000 {
				l.t.Fatalf("a read of file %d is never answered", fh)
			}
			l.put(fh)
			l.hear(false)
		}
	}
	if len(l.opens)+len(l.closes) > 0 {
		l.t.Errorf("opens %v and closes %v are not answered", l.opens, l.closes)
	}
}

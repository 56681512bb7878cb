package cuse

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A keptRig is a rig whose device is kept. It can die, at any moment, and be resumed.
type keptRig struct {
	*rig
	kernel *keptKernel
	mu     sync.Mutex    // held by opens, which may be several at once
	files  []*keptWell   // in the order of their opens, of this life
	opens  int           // how often OpenFunc was called, in this life
	gate   chan struct{} // OpenFunc and Close wait until it is closed
	slow   bool          // opens end when they are interrupted
	errno  error         // with which opens are refused

	onRestore  func(h *Handle)   // comes first in a restore, if it is not nil
	onRestored func(w *keptWell) // comes last, if it is not nil
	dead       bool              // files are not restored
}

// A keptKernel is what the kernel and the next server see of a server: the answers to what was asked, and the record.
type keptKernel struct {
	mu    sync.Mutex
	asked map[uint64]bool // requests that are not answered
	mem   []byte          // the server's record

	// kills, if it is not nil, tells at which moment the server dies.
	kills func(m moment) bool
	left  []byte // the record as it was then, or nil
	// then, if it is not nil, is what happens behind an answer, before the server comes round to anything else.
	then func(unique uint64)
}

// A moment is one at which a server may die: when it sends an answer, or, unique being 0 then, a word to those who poll; or in
// the middle of a note.
type moment struct {
	unique uint64
	sent   bool // it has been sent just now
	noting bool
}

// witness is a Device's. It says ENOENT to an answer that nobody waits for, as Linux does (fs/fuse/dev.c, fuse_dev_do_write).
func (k *keptKernel) witness(unique uint64, sent bool) error {
	err := k.look(unique, sent)
	if then := k.then; err == nil && sent && then != nil {
		k.then = nil
		then(unique)
	}
	return err
}

func (k *keptKernel) look(unique uint64, sent bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.left != nil:
	case sent:
		delete(k.asked, unique)
	case unique != 0 && !k.asked[unique]:
		return unix.ENOENT
	}
	k.passLocked(moment{unique: unique, sent: sent})
	if k.left != nil {
		return ErrClosed // the dead send nothing
	}
	return nil
}

// pass lets a moment pass.
func (k *keptKernel) pass(m moment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.passLocked(m)
}

func (k *keptKernel) passLocked(m moment) {
	if k.left == nil && k.kills != nil && k.kills(m) {
		k.left = bytes.Clone(k.mem)
	}
}

func beforeTheAnswer(m moment) bool { return m.unique != 0 && !m.sent && !m.noting }

func afterTheAnswer(m moment) bool { return m.unique != 0 && m.sent }

// A keptWell is a well that can be kept. It has a mode, which is 0 when it is opened.
type keptWell struct {
	well
	kernel  *keptKernel
	gate    chan struct{} // Close waits until it is closed
	mode    byte
	broken  bool   // it cannot be kept now
	onWrite func() // comes first in Write, if it is not nil
}

func (w *keptWell) AppendBinary(dst []byte) ([]byte, error) {
	w.kernel.pass(moment{noting: true})
	if w.closed {
		panic("a closed file is noted")
	}
	if w.broken {
		return append(dst, w.mode), errors.New("broken")
	}
	return append(append(dst, w.mode), w.data...), nil
}

// Write sets the mode.
func (w *keptWell) Write(p []byte) (int, error) {
	if w.onWrite != nil {
		w.onWrite()
	}
	w.mode = p[0]
	return len(p), nil
}

func (w *keptWell) IoctlSize(uint32) (in, out int, ok bool) { return 0, 0, true }

// Ioctl sets the mode, if its argument is not 0; then it waits until it is interrupted, or panics, if its number says so.
func (w *keptWell) Ioctl(ctx context.Context, c *Ioctl) (int, error) {
	if c.Arg != 0 {
		w.mode = byte(c.Arg)
	}
	switch c.Cmd {
	case waitingIoctl:
		<-ctx.Done()
	case panickingIoctl:
		runtime.Goexit() // which runs what is deferred, as a panic does, and lets the test go on
	}
	return 0, ctx.Err()
}

func (w *keptWell) Close() error {
	<-w.gate
	return w.well.Close()
}

const (
	waitingIoctl   = 1
	panickingIoctl = 2
)

func newKeptRig(t testing.TB) *keptRig {
	k := &keptRig{kernel: &keptKernel{asked: map[uint64]bool{}, mem: make([]byte, RecordSize(8))}, gate: make(chan struct{})}
	k.rig = newRig(t, k.open)
	k.dev.witness = k.kernel.witness
	close(k.gate)
	record, err := NewRecord(k.kernel.mem, "label")
	if err != nil {
		t.Fatal(err)
	}
	k.dev.Keep(record)
	return k
}

func (k *keptRig) open(ctx context.Context, h *Handle) (File, error) {
	k.mu.Lock()
	k.opens++
	k.mu.Unlock()
	<-k.gate
	switch {
	case k.slow, h.Flags&unix.O_APPEND != 0:
		<-ctx.Done()
		return nil, ctx.Err()
	case k.errno != nil:
		return nil, k.errno
	case h.Flags&unix.O_EXCL != 0:
		return nil, unix.EBUSY
	}
	return k.made(h), nil
}

func (k *keptRig) restore(h *Handle, state []byte) (File, error) {
	if k.onRestore != nil {
		k.onRestore(h)
	}
	if k.dead {
		return nil, unix.EINVAL
	}
	w := k.made(h)
	if len(state) > 0 {
		w.mode, w.data = state[0], bytes.Clone(state[1:])
	}
	if k.onRestored != nil {
		k.onRestored(w)
	}
	return w, nil
}

func (k *keptRig) made(h *Handle) *keptWell {
	w := &keptWell{well: well{Handle: h}, kernel: k.kernel, gate: k.gate}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.files = append(k.files, w)
	return w
}

// openFile opens a file, which gets the handle 1.
func (k *keptRig) openFile() {
	k.t.Helper()
	unique := k.receive(opOpen, body(fuse.OpenIn{}))
	k.dispatch()
	k.finish()
	k.seeThrough()
	k.wantAnswer(unique, 0, opened(1))
}

// opened is the answer to the open of a file that is fh to the kernel.
func opened(fh uint64) string { return string(bytesOf(&fuse.OpenOut{Fh: fh})) }

// ask has the device read a request, and see it through.
func (k *keptRig) ask(opcode uint32, body []byte) (unique uint64) {
	k.t.Helper()
	unique = k.receive(opcode, body)
	k.dispatch()
	k.seeThrough()
	return unique
}

// receive has the device read a request, and no more.
func (k *keptRig) receive(opcode uint32, body []byte) (unique uint64) {
	msg := k.request(opcode, body)
	k.kernel.mu.Lock()
	defer k.kernel.mu.Unlock()
	if in := view[fuse.InterruptIn](msg); in != nil && opcode == opInterrupt {
		in.InHeader.Unique = in.Unique | 1
	} else if opcode != opInterrupt {
		k.kernel.asked[k.unique] = true
	}
	if k.kernel.left == nil {
		copy(k.dev.inbox(), msg)
	}
	return k.unique
}

// dispatch has it handle what it has read.
func (k *keptRig) dispatch() {
	k.t.Helper()
	msg := k.dev.inbox()
	if err := k.dev.dispatch(msg[:*view[uint32](msg)]); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keptRig) seeThrough() { k.dev.seenThrough(k.dev.inbox()) }

// finish waits for the calls that are under way.
func (k *keptRig) finish() { k.dev.calls.Wait() }

// put gives a file data.
func (k *keptRig) put(file int, data string) {
	k.files[file].data = append(k.files[file].data, data...)
	k.files[file].Wake()
}

// note has a file noted, which has a reason that is none of this package's.
func (k *keptRig) note(file int) {
	h := k.files[file].Handle
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noteLocked()
}

// die goes on with another server, as the kernel does when the first is killed at this moment, or at that which kills told.
func (k *keptRig) die(prepare ...func(next *keptRig)) *keptRig {
	k.t.Helper()
	k.kernel.mu.Lock()
	if k.kernel.left == nil {
		k.kernel.left = bytes.Clone(k.kernel.mem)
	}
	k.kernel.mu.Unlock()
	next := &keptRig{kernel: &keptKernel{asked: k.kernel.asked, mem: k.kernel.left}, gate: make(chan struct{})}
	close(next.gate)
	next.rig = &rig{t: k.t, buf: k.buf, unique: k.unique}
	for _, f := range prepare {
		f(next)
	}
	k.dev.Close()
	k.dev.cancel()
	next.resume()
	return next
}

// resume makes the device.
func (k *keptRig) resume() {
	k.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	k.peer = fds[1]
	k.t.Cleanup(func() { unix.Close(fds[1]) })
	record, err := OpenRecord(k.kernel.mem)
	if err != nil {
		k.t.Fatal(err)
	}
	if record.Label() != "label" {
		k.t.Fatalf("the label is %q", record.Label())
	}
	conn := os.NewFile(uintptr(fds[0]), "/dev/cuse")
	if k.dev, err = resumeWatched(conn, record, k.open, k.restore, k.kernel.witness); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { k.dev.Close() })
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

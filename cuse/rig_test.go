package cuse

import (
	"context"
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A rig is a device whose kernel is the test itself: it dispatches messages one by one, in its own goroutine as Serve
// would, and sees each answer as it goes out.
type rig struct {
	t      testing.TB
	dev    *Device
	peer   int // where the answers come out
	buf    []byte
	unique uint64 // of the last request
}

func newRig(t testing.TB, open OpenFunc) *rig {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	r := &rig{t: t, peer: fds[1], buf: make([]byte, maxTransfer+4096)}
	if _, err := unix.Write(r.peer, greeting(fuseMajor, fuseMinorMax)); err != nil {
		t.Fatal(err)
	}
	if r.dev, err = New(os.NewFile(uintptr(fds[0]), "/dev/cuse"), "rig", open); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.dev.Close() })
	if header, _ := r.answer(); header == nil {
		t.Fatal("the greeting is not answered")
	}
	return r
}

func greeting(major, minor uint32) []byte {
	in := cuseInitIn{Major: major, Minor: minor, InFlags: 1}
	in.Header.Opcode = opCuseInit
	in.Header.Length = uint32(len(bytesOf(&in)))
	return bytesOf(&in)
}

// request is a message of the kernel, numbered, with what stands behind its header.
func (r *rig) request(opcode uint32, body []byte) []byte {
	r.unique += 2
	in := fuse.InHeader{Opcode: opcode, Unique: r.unique, Length: uint32(inHeaderSize + len(body))}
	return append(bytesOf(&in), body...)
}

// body is what stands behind the header in a whole message.
func body[T any](in T) []byte { return bytesOf(&in)[inHeaderSize:] }

// ask dispatches a request, which is the kernel's own.
func (r *rig) ask(opcode uint32, body []byte) {
	r.t.Helper()
	if err := r.dev.dispatch(r.request(opcode, body)); err != nil {
		r.t.Fatal(err)
	}
}

// answer takes the next message to the kernel, or nil.
func (r *rig) answer() (*fuse.OutHeader, []byte) {
	n, err := unix.Read(r.peer, r.buf)
	if err == unix.EAGAIN || n == 0 {
		return nil, nil
	}
	header := view[fuse.OutHeader](r.buf[:max(n, 0)])
	if err != nil || header == nil || int(header.Length) != n {
		r.t.Fatalf("no message that Linux takes: % x (%v)", r.buf[:max(n, 0)], err)
	}
	return header, r.buf[outHeaderSize:n]
}

// openFile opens a file, which gets the handle 1.
func (r *rig) openFile() {
	r.t.Helper()
	r.ask(opOpen, body(fuse.OpenIn{}))
	r.dev.calls.Wait()
	if header, out := r.answer(); header == nil || header.Status != 0 || binary.NativeEndian.Uint64(out) != 1 {
		r.t.Fatalf("the open is answered with %+v % x", header, out)
	}
}

// A well is a file from which bytes come that are put there. It is not safe for use by several goroutines.
type well struct {
	*Handle
	data   []byte
	err    error
	closed bool
}

func openWell(into *well) OpenFunc {
	return func(_ context.Context, h *Handle) (File, error) {
		into.Handle = h
		return into, nil
	}
}

func (w *well) Read(p []byte) (int, error) {
	n := copy(p, w.data)
	w.data = w.data[n:]
	switch {
	case w.closed:
		panic("a closed file is read")
	case n == 0 && w.err != nil:
		return 0, w.err
	case n == 0:
		return 0, ErrWouldBlock
	}
	return n, nil
}

func (w *well) Write(p []byte) (int, error) { return len(p) / 2, nil }

func (w *well) Poll() uint32 {
	if len(w.data) > 0 {
		return unix.POLLIN
	}
	return 0
}

func (w *well) Close() error {
	w.closed = true
	return nil
}

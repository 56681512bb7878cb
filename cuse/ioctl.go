package cuse

import (
	"context"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// An Ioctler is a File that takes ioctls. To other files every ioctl is ENOTTY.
type Ioctler interface {
	// IoctlSize tells how many bytes the ioctl cmd reads and writes at its argument; 0 and 0 where the argument is no
	// address. ok is false for an ioctl that the file does not know, whose caller gets ENOTTY. It must not wait.
	IoctlSize(cmd uint32) (in, out int, ok bool)

	// Ioctl carries the call out. The caller's ioctl(2) returns result, which is 0 or more; with an error c.Out is not
	// copied. ctx ends when the caller is interrupted.
	Ioctl(ctx context.Context, c *Ioctl) (result int, err error)
}

// An Ioctl is one ioctl(2) on its way to a File.
type Ioctl struct {
	Cmd    uint32 // the request number
	Arg    uint64 // the argument as the caller passed it
	In     []byte // what stands at Arg, as long as IoctlSize said
	Out    []byte // what goes to Arg when the call succeeds, as long as IoctlSize said; zeroed
	Compat bool   // the caller is a 32-bit program
}

// maxIoctl is the kernel's bound on what an ioctl copies: what fits in FUSE_MAX_PAGES_PER_REQ pages at least.
const maxIoctl = 4096

// startIoctl answers an ioctl(2). The kernel cannot know what an ioctl copies. So the first answer tells it (RETRY),
// and it asks again with the data; that is hidden here (fs/fuse/ioctl.c, fuse_do_ioctl).
func (d *Device) startIoctl(h *Handle, in *fuse.IoctlIn, payload []byte) {
	f, ok := h.file.(Ioctler)
	if !ok {
		d.reply(in.Unique, unix.ENOTTY)
		return
	}
	inSize, outSize, ok := f.IoctlSize(in.Cmd)
	switch {
	case !ok:
		d.reply(in.Unique, unix.ENOTTY)
		return
	case inSize < 0 || inSize > maxIoctl || outSize < 0 || outSize > maxIoctl:
		d.reply(in.Unique, unix.EINVAL)
		return
	case int(in.InSize) < inSize || int(in.OutSize) < outSize || len(payload) < inSize:
		d.replyRetry(in, inSize, outSize)
		return
	}
	c := &Ioctl{
		Cmd: in.Cmd, Arg: in.Arg,
		In: append([]byte(nil), payload[:inSize]...), Out: make([]byte, outSize),
		Compat: in.Flags&fuse.IOCTL_COMPAT != 0,
	}
	unique := in.Unique
	if !h.beginCall(unique, in.Pid) {
		d.reply(unique, unix.ENOBUFS)
		return
	}
	d.start(unique, nil, func(ctx context.Context) {
		result, err := f.Ioctl(ctx, c)
		h.note() // what it did, before its caller knows
		if err != nil {
			d.reply(unique, err)
		} else {
			out := fuse.IoctlOut{Result: int32(result)}
			d.replyWith(unique, append(bytesOf(&out), c.Out...))
		}
		h.endCall(unique) // not deferred: after a panic the next server answers
	})
}

// A callUnderWay is an ioctl that is not answered yet.
type callUnderWay struct {
	unique uint64
	thread uint32    // 0: unknown, of an earlier server
	since  time.Time // when it began
}

// beginCall notes that an ioctl is under way. It is false where too many are.
func (h *Handle) beginCall(unique uint64, thread uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) == maxCalls {
		return false
	}
	h.calls = append(h.calls, callUnderWay{unique, thread, time.Now()})
	h.noteWaitersLocked()
	return true
}

func (h *Handle) endCall(unique uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = slices.DeleteFunc(h.calls, func(c callUnderWay) bool { return c.unique == unique })
	h.noteLocked()
}

// replyRetry asks for the call again with inSize bytes of the caller's memory, and room for outSize.
func (d *Device) replyRetry(in *fuse.IoctlIn, inSize, outSize int) {
	out := fuse.IoctlOut{Flags: fuse.IOCTL_RETRY}
	var iovs []byte
	if inSize > 0 {
		out.InIovs = 1
		iovs = append(iovs, bytesOf(&ioctlIovec{Base: in.Arg, Len: uint64(inSize)})...)
	}
	if outSize > 0 {
		out.OutIovs = 1
		iovs = append(iovs, bytesOf(&ioctlIovec{Base: in.Arg, Len: uint64(outSize)})...)
	}
	d.replyWith(in.Unique, append(bytesOf(&out), iovs...))
}

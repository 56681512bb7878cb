package cusetest

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The messages that go-fuse does not export (include/uapi/linux/fuse.h).
type (
	cuseInitIn struct{ Major, Minor, Unused, InFlags uint32 }
	pollIn     struct {
		Fh, Kh        uint64
		Flags, Events uint32
	}
	fhIn struct {
		Fh, Offset           uint64
		Size, ReadWriteFlags uint32
		LockOwner            uint64
		Flags, Padding       uint32
	}
	releaseIn struct {
		Fh                  uint64
		Flags, ReleaseFlags uint32
		LockOwner           uint64
	}
)

// maxTransfer is the most that one READ or WRITE is for; the kernel sends several for more.
const maxTransfer = 128 << 10

const rdNorm, wrNorm = 0x40, 0x100 // include/uapi/asm-generic/poll.h

// largeFile is O_LARGEFILE, which a 64-bit kernel sets on every open file.
const largeFile = 0x8000

// A File is an open file of the device, as a client's descriptor has it. Its methods may be used from several
// goroutines at once.
type File struct {
	k    *Kernel
	cred Cred
	fh   uint64
	kh   uint64 // the poll handle

	opened bool // the server knows of it

	flags atomic.Uint32
	once  sync.Once
}

// Open opens the device for this process.
func (k *Kernel) Open(flags int) (*File, error) {
	return k.OpenAs(context.Background(), Self(), flags)
}

// OpenAs opens the device for cred. When ctx ends, the open(2) is interrupted.
func (k *Kernel) OpenAs(ctx context.Context, cred Cred, flags int) (*File, error) {
	// The last of these never gets into an open file (fs/open.c), and the others not to the server (fs/fuse/file.c,
	// fuse_send_open).
	flags &^= unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_CLOEXEC
	flags |= largeFile
	f := &File{k: k, cred: cred}
	f.flags.Store(uint32(flags))
	if err := f.open(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unique += uniqueStep
	f.kh = k.unique // any number that is no other file's
	return f, nil
}

// open is fuse_file_open of fs/fuse/file.c.
func (f *File) open(ctx context.Context) error {
	if f.k.noOpen.Load() {
		return nil
	}
	body, err := f.k.call(ctx, opOpen, f.cred, f.flags.Load(), uint32(0))
	switch err {
	case nil:
		var out fuse.OpenOut
		if _, err := binary.Decode(body, binary.NativeEndian, &out); err != nil {
			return unix.EIO
		}
		f.fh, f.opened = out.Fh, true
		return nil
	case unix.ENOSYS: // for good, and for all files
		f.k.noOpen.Store(true)
		return nil
	case unix.ENOTCONN:
		return unix.ENODEV // the device is gone
	}
	return err
}

// Kernel is the kernel that the file is open in.
func (f *File) Kernel() *Kernel { return f.k }

// SetNonblock sets or clears O_NONBLOCK, as fcntl(2) does.
func (f *File) SetNonblock(on bool) {
	if on {
		f.flags.Or(unix.O_NONBLOCK)
	} else {
		f.flags.And(^uint32(unix.O_NONBLOCK))
	}
}

// Read is read(2). Unlike an io.Reader it returns 0 bytes and no error at the end of the file.
func (f *File) Read(p []byte) (int, error) {
	return f.ReadContext(context.Background(), p)
}

// ReadContext is read(2) in a thread that gets a signal when ctx ends.
func (f *File) ReadContext(ctx context.Context, p []byte) (n int, err error) {
	for n < len(p) {
		size := min(len(p)-n, maxTransfer)
		body, err := f.k.call(ctx, opRead, f.cred, fhIn{Fh: f.fh, Offset: uint64(n), Size: uint32(size), Flags: f.flags.Load()})
		if err == nil && len(body) > size {
			err = unix.EIO
		}
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		n += copy(p[n:], body)
		if len(body) < size {
			break
		}
	}
	return n, nil
}

// Write is write(2).
func (f *File) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+maxTransfer, len(p))]
		in := fhIn{Fh: f.fh, Offset: uint64(n), Size: uint32(len(part)), Flags: f.flags.Load()}
		body, err := f.k.call(context.Background(), opWrite, f.cred, in, part)
		var out fuse.WriteOut
		if err == nil {
			if _, e := binary.Decode(body, binary.NativeEndian, &out); e != nil || int(out.Size) > len(part) {
				err = unix.EIO
			}
		}
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		n += int(out.Size)
		if int(out.Size) < len(part) {
			break
		}
	}
	return n, nil
}

// Poll is poll(2) on the file alone: it waits until one of events holds, or POLLERR or POLLHUP, or until ctx ends.
func (f *File) Poll(ctx context.Context, events uint32) (revents uint32, err error) {
	for {
		woken := f.k.woken(f.kh)
		if revents = f.look(events, scheduleNotify); revents != 0 {
			return revents, nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return 0, unix.EINTR
		}
	}
}

// PollNow is poll(2) with a timeout of 0.
func (f *File) PollNow(events uint32) (revents uint32) { return f.look(events, 0) }

// look is fuse_file_poll of fs/fuse/file.c.
func (f *File) look(events, flags uint32) (revents uint32) {
	const always = unix.POLLIN | unix.POLLOUT | rdNorm | wrNorm
	if f.k.noPoll.Load() {
		return events & always
	}
	events |= unix.POLLERR | unix.POLLHUP
	body, err := f.k.call(context.Background(), opPoll, f.cred, pollIn{Fh: f.fh, Kh: f.kh, Flags: flags, Events: events})
	switch {
	case err == unix.ENOSYS: // for good, and for all files
		f.k.noPoll.Store(true)
		return events & always
	case err != nil || len(body) != 8:
		return unix.POLLERR
	}
	return binary.NativeEndian.Uint32(body) & events
}

// Close is the close(2) of the last descriptor; it returns when the server has answered. A second one does nothing.
func (f *File) Close() (err error) {
	f.once.Do(func() {
		if !f.opened {
			return
		}
		// The kernel releases a file in nobody's name (fs/fuse/file.c, fuse_prepare_release).
		_, err = f.k.call(context.Background(), opRelease, Cred{}, releaseIn{Fh: f.fh, Flags: f.flags.Load()})
		f.k.mu.Lock()
		delete(f.k.polling, f.kh)
		f.k.mu.Unlock()
	})
	return err
}

package cusetest

import (
	"context"
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// argAddress is where the argument of an ioctl stands, to the server.
const argAddress = 0x7f00_0000_1000

const fionbio = 0x5421

type ioctlIn struct {
	Fh              uint64
	Flags, Cmd      uint32
	Arg             uint64
	InSize, OutSize uint32
}

// Ioctl is ioctl(2) with an argument that is a number, or an address where no memory is.
func (f *File) Ioctl(cmd uint32, arg uint64) (int, error) {
	return f.IoctlContext(context.Background(), cmd, arg)
}

// IoctlContext is Ioctl in a thread that gets a signal when ctx ends.
func (f *File) IoctlContext(ctx context.Context, cmd uint32, arg uint64) (int, error) {
	return f.ioctl(ctx, cmd, arg, nil)
}

// IoctlPtr is ioctl(2) with the address of p for its argument; p is read and written as the server asks. An address
// beyond p is EFAULT.
func (f *File) IoctlPtr(cmd uint32, p []byte) (int, error) {
	if cmd == fionbio && len(p) == 4 { // which is not the driver's (fs/ioctl.c, do_vfs_ioctl)
		f.SetNonblock(binary.NativeEndian.Uint32(p) != 0)
		return 0, nil
	}
	return f.ioctl(context.Background(), cmd, argAddress, p)
}

// ioctl is fuse_do_ioctl of fs/fuse/ioctl.c, unrestricted.
func (f *File) ioctl(ctx context.Context, cmd uint32, arg uint64, mem []byte) (int, error) {
	in := ioctlIn{Fh: f.fh, Flags: fuse.IOCTL_UNRESTRICTED, Cmd: cmd, Arg: arg}
	var m gathered
	for {
		in.InSize, in.OutSize = uint32(len(m.in)), uint32(len(m.out))
		body, err := f.k.call(ctx, opIoctl, f.cred, in, m.in)
		if err == unix.ENOSYS {
			err = unix.ENOTTY
		}
		if err != nil {
			return 0, err
		}
		var reply fuse.IoctlOut
		n, err := binary.Decode(body, binary.NativeEndian, &reply)
		if err != nil {
			return 0, unix.EIO
		}
		body = body[n:]
		switch {
		case reply.Flags&fuse.IOCTL_RETRY != 0:
			if m, err = gather(mem, body, reply); err != nil {
				return 0, err
			}
			continue
		case len(body) > len(m.out):
			return 0, unix.EIO
		case m.fault && len(body) > 0:
			return 0, unix.EFAULT
		}
		copy(m.out, body)
		if reply.Result < 0 {
			return 0, unix.Errno(-reply.Result)
		}
		return int(reply.Result), nil
	}
}

// gathered is the memory that an ioctl is about.
type gathered struct {
	in, out []byte
	fault   bool // out is where no memory is: that is noticed when there is something to put there
}

// gather gives the parts of mem that the iovecs of a RETRY ask for.
func gather(mem, iovs []byte, reply fuse.IoctlOut) (m gathered, err error) {
	count := int(reply.InIovs) + int(reply.OutIovs)
	if len(iovs) != 16*count || reply.OutIovs > 1 { // more is not made here
		return m, unix.EIO
	}
	for i := range count {
		base := binary.NativeEndian.Uint64(iovs[16*i:])
		size := binary.NativeEndian.Uint64(iovs[16*i+8:])
		if size > maxTransfer {
			return m, unix.ENOMEM
		}
		// With a base below argAddress the difference is larger than any memory.
		ok := base-argAddress <= uint64(len(mem)) && size <= uint64(len(mem))-(base-argAddress)
		switch isIn := i < int(reply.InIovs); {
		case isIn && ok:
			m.in = append(m.in, mem[base-argAddress:][:size]...)
		case isIn:
			return m, unix.EFAULT
		case ok:
			m.out = mem[base-argAddress:][:size]
		default:
			m.out, m.fault = make([]byte, size), true
		}
	}
	return m, nil
}

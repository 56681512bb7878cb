package cuse

import (
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// dispatch answers one request, or has it answered later. An error ends the connection: the message cannot be one of
// the kernel's. A request that makes no sense gets an error for its answer.
func (d *Device) dispatch(msg []byte) error {
	header := view[fuse.InHeader](msg)
	if header == nil || int(header.Length) != len(msg) {
		return fmt.Errorf("a message of %d bytes from the kernel is not as long as its header says", len(msg))
	}
	switch header.Opcode {
	case opOpen:
		if in := view[fuse.OpenIn](msg); in != nil {
			d.startOpen(in)
		} else {
			d.reply(header.Unique, unix.EPROTO)
		}
	case opInterrupt:
		if in := view[fuse.InterruptIn](msg); in != nil {
			d.interrupt(in.Unique)
		}
	case opRead, opWrite, opPoll, opIoctl, opRelease:
		if err := d.dispatchFile(header.Opcode, header.Unique, msg); err != nil {
			d.reply(header.Unique, err)
		}
	default:
		d.reply(header.Unique, unix.ENOSYS)
	}
	return nil
}

// dispatchFile is dispatch for what is asked of an open file. A request that it returns an error for is not answered yet.
func (d *Device) dispatchFile(opcode uint32, unique uint64, msg []byte) error {
	fh := view[uint64](msg[inHeaderSize:]) // where all five of them have it
	if fh == nil {
		return unix.EPROTO
	}
	h := d.handle(*fh)
	if h == nil {
		return unix.EBADF
	}
	switch opcode {
	case opRead:
		if in := view[fuse.ReadIn](msg); in != nil {
			h.read(in)
			return nil
		}
	case opWrite:
		if in := view[fuse.WriteIn](msg); in != nil && int(in.Size) == len(msg)-writeInSize {
			h.write(unique, msg[writeInSize:])
			return nil
		}
	case opPoll:
		if in := view[pollIn](msg); in != nil {
			h.poll(in)
			return nil
		}
	case opIoctl:
		if in := view[fuse.IoctlIn](msg); in != nil && int(in.InSize) == len(msg)-ioctlInSize {
			d.startIoctl(h, in, msg[ioctlInSize:])
			return nil
		}
	case opRelease:
		if in := view[fuse.ReleaseIn](msg); in != nil {
			d.startRelease(h, unique)
			return nil
		}
	}
	return unix.EPROTO
}

package cuse

import (
	"fmt"
	"io"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A RestoreFunc makes a File again of what its AppendBinary gave. The File must be as it was: reads that wait are
// answered from it before Resume returns. With an error the file is dead: its client gets ENODEV from now on.
type RestoreFunc func(h *Handle, state []byte) (File, error)

// Keep has the device note in r what another server needs to go on where this one ends, however it does. It is called
// before Serve.
//
// Close leaves to that server what is in r, as the end of the process does: what is not answered by then it answers. Whoever
// wants the clients to know that the device is gone lets go of the other descriptors of /dev/cuse, too.
func (d *Device) Keep(r *Record) { d.record = r }

// Resume goes on with the device that another server made and kept in r, over the same descriptor of /dev/cuse, which must
// be in non-blocking mode. It owns conn from now on. That server must have ended.
//
// Open files go on: reads that wait wait on, opens and closes under way are finished, and whoever polls does so anew.
// An ioctl or write that was under way is EINTR, and may have been carried out.
func Resume(conn *os.File, name string, r *Record, open OpenFunc, restore RestoreFunc) (*Device, error) {
	d, err := newDevice(conn, name, open)
	if err != nil {
		conn.Close()
		return nil, err
	}
	d.record = r
	var files []*Handle
	for _, s := range r.taken() {
		if h := d.restore(s, restore); h != nil {
			files = append(files, h)
		}
	}
	noted := d.noted(r.unseen()) // before it is answered
	for _, h := range files {
		h.goOn()
	}
	d.takeUp(r.unseen(), noted)
	return d, nil
}

// restore makes one file again; nil where it was not open, or not any more.
func (d *Device) restore(s *slot, restore RestoreFunc) *Handle {
	h := &Handle{dev: d, resumed: true}
	text, err := s.read(h)
	if err != nil {
		s.free() // of nobody
		return nil
	}
	d.lastFh = max(d.lastFh, h.fh)
	for _, c := range h.calls {
		d.reply(c.unique, unix.EINTR)
	}
	h.calls = nil
	switch h.state {
	case opening:
		d.finishOpen(h)
		return nil
	case refused:
		d.reply(h.unique, unix.Errno(-h.status))
		h.gone()
		return nil
	case closing:
		d.reply(h.unique, nil)
		h.gone()
		return nil
	}
	var file File
	if h.state == lost {
		err = fmt.Errorf("cuse: %s: there was no room to keep a file", d.name)
	} else {
		file, err = restore(h, text)
	}
	if err != nil {
		file = deadFile{}
	}
	d.install(h, file)
	return h
}

// goOn answers what waits on a file that was restored.
func (h *Handle) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.parked) > 0 {
		n, err := h.fillLocked(h.parked[0].size)
		if n == 0 && err == ErrWouldBlock {
			break
		}
		if n > 0 || err == io.EOF {
			err = nil
		}
		// Where the kernel does not want the bytes it had them from the last server, which ended before it could note that.
		h.dev.send(h.answer[:outHeaderSize+n], h.parked[0].unique, err)
		h.refused = h.refused[min(n, len(h.refused)):]
		h.parked = h.parked[1:]
	}
	if h.armed {
		h.armed = false
		msg := notifyPollMessage(h.pollKh)
		h.dev.write(msg[:])
	}
	h.state = open
	h.noteLocked()
}

// takeUp handles the request over which the last server ended: it may have been answered, noted in a slot, or neither.
func (d *Device) takeUp(msg []byte, noted bool) {
	header := view[fuse.InHeader](msg)
	if header == nil {
		return
	}
	switch header.Opcode {
	case opInterrupt:
		if in := view[fuse.InterruptIn](msg); in != nil {
			d.interrupt(in.Unique)
			d.reply(in.Unique, unix.EINTR) // if it was taken out of the queue, and not answered yet
		}
	case opWrite, opIoctl:
		d.reply(header.Unique, unix.EINTR)
	case opOpen, opRead, opRelease:
		if noted {
			break
		}
		fallthrough
	default:
		if d.dispatch(msg) != nil {
			d.reply(header.Unique, unix.EINTR)
		}
	}
	d.record.seenThrough(header.Unique)
}

// noted tells if a request is known from a slot.
func (d *Device) noted(msg []byte) bool {
	header := view[fuse.InHeader](msg)
	if header == nil {
		return false
	}
	d.mu.Lock()
	_, known := d.waiting[header.Unique]
	d.mu.Unlock()
	for _, h := range d.snapshot() {
		h.mu.Lock()
		known = known || h.unique == header.Unique
		for _, r := range h.parked {
			known = known || r.unique == header.Unique
		}
		h.mu.Unlock()
	}
	return known
}

// inbox is where requests are read into.
func (d *Device) inbox() []byte {
	if d.record != nil {
		return d.record.inbox
	}
	return make([]byte, max(minReadBuffer, writeInSize+maxTransfer))
}

// seenThrough notes that the request in the inbox is answered, or noted elsewhere. It is false where Close came before it was.
func (d *Device) seenThrough(msg []byte) bool {
	return d.record == nil || d.record.seenThrough(view[fuse.InHeader](msg).Unique)
}

// A deadFile is what is left of a file that could not be restored.
type deadFile struct{}

func (deadFile) Read([]byte) (int, error)  { return 0, unix.ENODEV }
func (deadFile) Write([]byte) (int, error) { return 0, unix.ENODEV }
func (deadFile) Close() error              { return nil }
func (deadFile) Poll() uint32              { return unix.POLLIN | unix.POLLOUT | unix.POLLHUP | unix.POLLERR }

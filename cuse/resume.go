package cuse

import (
	"os"
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A RestoreFunc makes a File again of what its AppendBinary gave; state is only valid during the call. The File must be as it
// was, and so get nothing new before Resume returns: reads that wait are answered from it. With an error the file is dead: its
// client gets ENODEV from now on.
type RestoreFunc func(h *Handle, state []byte) (File, error)

// Keep has the device note in r what another server needs to go on where this one ends, however it does. It is called
// before Serve.
//
// Close leaves to that server what is in r, as the end of the process does: what is not answered by then it answers. Whoever
// wants the clients to know that the device is gone lets go of the other descriptors of /dev/cuse, too.
func (d *Device) Keep(r *Record) { d.record = r }

// Relabel gives the record of the device, if it has one, another label.
func (d *Device) Relabel(label string) error {
	d.sending.Lock() // so that Close does not freeze the record meanwhile
	defer d.sending.Unlock()
	switch {
	case d.record == nil || d.record.frozen.Load():
	case len(label) > maxLabel:
		return errLabel
	default:
		d.record.setLabel(label)
	}
	return nil
}

// Resume goes on with the device that another server made and kept in r, over the same descriptor of /dev/cuse, which must
// be in non-blocking mode. It owns conn from now on. That server must have ended, or its Close and Serve have returned.
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
	d.goOn(restore)
	return d, nil
}

// goOn takes over all files, and then the request over which the last server ended.
func (d *Device) goOn(restore RestoreFunc) {
	unseen, noted := d.record.unseen(), false
	var opens []*Handle
	for _, s := range d.record.taken() {
		h := &Handle{dev: d}
		state, err := s.read(h)
		if err != nil || d.handles[h.fh] != nil {
			s.free() // of nobody
			continue
		}
		noted = noted || h.knows(unseen)
		d.lastFh = max(d.lastFh, h.fh)
		if h.state == opening {
			opens = append(opens, h)
			continue
		}
		d.restore(h, state, restore)
	}
	for _, h := range opens { // now that OpenFunc finds the others
		d.finishOpen(h)
	}
	d.takeUp(unseen, noted)
}

// knows tells if a request is noted in the file's slot, be it answered or not.
func (h *Handle) knows(msg []byte) bool {
	header := view[fuse.InHeader](msg)
	return header != nil && (h.unique == header.Unique || h.lastRead == header.Unique)
}

// restore goes on with one file that was not about to be opened.
func (d *Device) restore(h *Handle, state []byte, restore RestoreFunc) {
	for _, c := range h.calls {
		d.reply(c.unique, unix.EINTR)
	}
	h.calls = nil
	switch h.state {
	case refused:
		d.reply(h.unique, unix.Errno(-h.status))
		h.gone()
		return
	case closing:
		d.reply(h.unique, nil)
		h.gone()
		return
	}
	file, err := File(nil), error(nil)
	if h.state != lost {
		file, err = restore(h, state)
	}
	if file == nil || err != nil {
		file = deadFile{}
	}
	h.goOn(file)
	d.install(h)
}

// goOn answers what waits on a file that was restored.
func (h *Handle) goOn(file File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answerOpen(h.unique) // unless it is answered: see finishOpen
	if len(h.parked) > 0 && len(h.refused) > 0 {
		// The read has been given that, or was about to be: see answerFirstLocked.
		n, _ := h.fillLocked(h.parked[0].size)
		err := h.dev.send(h.answer[:outHeaderSize+n], h.parked[0].unique, nil)
		if err == nil || err == unix.ENOENT {
			h.refused = h.refused[n:]
		}
		h.parked = slices.Delete(h.parked, 0, 1)
	}
	h.openLocked(file)
	for len(h.parked) > 0 && h.answerFirstLocked() {
		continue
	}
	if h.armed {
		h.armed = false
		msg := notifyPollMessage(h.pollKh)
		h.dev.write(msg[:])
	}
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
		if in := view[fuse.InterruptIn](msg); in != nil && !d.interrupt(in.Unique) {
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

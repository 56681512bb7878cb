package cuse

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A File is one open(2) of the device until the last descriptor of it is closed. Its methods are called from several
// goroutines, Read and Poll never two at once, and none after Close.
type File interface {
	// Read fills p with what there is now, or returns ErrWouldBlock. It must not wait. It may return less than len(p);
	// 0 bytes with no error, or io.EOF, are the end of the file. p is only valid during the call.
	io.Reader
	// Write takes p, or as much of it as it returns. It must not wait. p is only valid during the call.
	io.Writer
	// Close is called once, after the last close(2), whose caller waits for it. Its error is told to no one.
	io.Closer
}

// A Handle is the kernel's side of an open file: who opened it, how, and who waits on it.
type Handle struct {
	UID, GID uint32 // of the opener, effective, at open(2)
	PID      uint32 // the opener's thread id; 0 if it is in a PID namespace that the server cannot see
	// Flags are those of open(2). O_CREAT, O_EXCL, O_NOCTTY and O_TRUNC never arrive (fs/fuse/file.c, fuse_send_open),
	// nor does O_CLOEXEC; 64-bit kernels add their O_LARGEFILE, 0x8000.
	Flags int

	dev    *Device
	fh     uint64
	file   File                    // set before the client knows of the file, and nil when it is shut; written under mu
	keeper encoding.BinaryAppender // file, if it can be kept; guarded by mu

	mu       sync.Mutex
	slot     *slot          // where the file is noted, or nil; guarded by mu
	state    fileState      // guarded by mu
	status   int32          // with which the open is refused; guarded by mu
	unique   uint64         // of the request that state is about; guarded by mu
	lastRead uint64         // unique of the read that came last; guarded by mu
	calls    []callUnderWay // ioctls; guarded by mu
	parked   []parkedRead   // reads that wait, oldest first; guarded by mu
	answer   []byte         // where answers to reads are made, header first; guarded by mu
	refused  []byte         // what Read gave and the kernel did not take: the next read has it first; guarded by mu
	armed    bool           // the kernel asked to hear of the next change; guarded by mu
	pollKh   uint64         // and by this name; guarded by mu
	pollMask uint32         // events asked for since it was armed; guarded by mu
	pollers  []Waiter       // threads that asked since then; guarded by mu
	readers  []Waiter       // threads that read and would wait, the last of them; guarded by mu
}

// startOpen answers an open(2), in a goroutine of its own.
func (d *Device) startOpen(in *fuse.OpenIn) {
	h := &Handle{UID: in.Uid, GID: in.Gid, PID: in.Pid, Flags: int(in.Flags), dev: d, state: opening, unique: in.Unique}
	if d.record != nil {
		var err error
		if h.slot, err = d.record.take(); err != nil {
			d.reply(in.Unique, err)
			return
		}
	}
	d.mu.Lock()
	d.lastFh++
	h.fh = d.lastFh
	d.mu.Unlock()
	h.note()
	d.finishOpen(h)
}

// finishOpen makes the file, and tells the client who waits for it.
//
// The file is noted as open before the answer, since after it the client may ask for the next thing, to close it even, and
// that is noted by others. So a file that is open may lack its answer, which goOn sends; one that is opening always does.
func (d *Device) finishOpen(h *Handle) {
	d.start(h.unique, h, func(ctx context.Context) {
		file, err := d.open(ctx, h)
		if err != nil {
			h.refuse(err)
			return
		}
		unique := h.unique // which is the RELEASE's as soon as one comes
		h.mu.Lock()
		h.openLocked(file)
		h.noteLocked()
		h.mu.Unlock()
		d.install(h)
		if h.answerOpen(unique) != nil {
			// The kernel does not know the file, so no RELEASE will come.
			d.forget(h.fh)
			h.shut().Close()
			h.gone()
		}
	})
}

func (h *Handle) openLocked(file File) {
	h.file, h.keeper, h.state = file, keeperOf(file), open
}

// install lets requests find the file.
func (d *Device) install(h *Handle) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handles[h.fh] = h
}

// answerOpen lets open(2) return.
func (h *Handle) answerOpen(unique uint64) error {
	out := fuse.OpenOut{Fh: h.fh}
	return h.dev.replyWith(unique, bytesOf(&out))
}

// note brings the record up to date about the file.
func (h *Handle) note() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noteLocked()
}

// refuse answers the open with an error, but never with ENOSYS: to the kernel that means, for all files of the device, that
// opening needs no server, and it sends no OPEN and no RELEASE any more (fs/fuse/file.c, fuse_file_open).
func (h *Handle) refuse(err error) {
	if status(err) == -int32(unix.ENOSYS) {
		err = unix.EIO
	}
	h.mu.Lock()
	h.state, h.status = refused, status(err)
	h.noteLocked()
	h.mu.Unlock()
	h.dev.reply(h.unique, err)
	h.gone()
}

// gone has nothing kept of the file any more: the kernel does not know it.
func (h *Handle) gone() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slot != nil {
		h.slot.free()
		h.slot = nil
	}
}

// An underWay is an open or an ioctl that is not answered yet.
type underWay struct {
	cancel context.CancelFunc
	opens  *Handle   // the file that is to be; nil: it is an ioctl, and among its file's calls
	since  time.Time // when it began
}

// start runs a call that may wait, under a context that an INTERRUPT ends. opens is the file that it opens, or nil.
func (d *Device) start(unique uint64, opens *Handle, call func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(d.ctx)
	d.mu.Lock()
	d.waiting[unique] = underWay{cancel, opens, time.Now()}
	d.mu.Unlock()
	d.calls.Go(func() {
		// The kernel may use the unique anew as soon as it is answered, but not before the number went round.
		defer func() {
			d.mu.Lock()
			delete(d.waiting, unique)
			d.mu.Unlock()
			cancel()
		}()
		call(ctx)
	})
}

// handle is the open file fh, or nil.
func (d *Device) handle(fh uint64) *Handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.handles[fh]
}

func (d *Device) forget(fh uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.handles, fh)
}

// interrupt ends the call that waits under unique, and tells if there is one. One that is not known was answered meanwhile.
// The INTERRUPT itself gets no answer; ENOSYS would turn interrupts off for the whole device (fs/fuse/dev.c,
// fuse_dev_do_write).
func (d *Device) interrupt(unique uint64) bool {
	d.mu.Lock()
	call := d.waiting[unique]
	d.mu.Unlock()
	if call.cancel == nil {
		return slices.ContainsFunc(d.snapshot(), func(h *Handle) bool { return h.interrupt(unique) })
	}
	if call.opens != nil {
		call.opens.interruptOpen()
	}
	call.cancel()
	return true
}

// interruptOpen notes that the open is to be EINTR if this server ends before OpenFunc does: the next one would not hear of
// the interrupt again, and the client cannot be killed meanwhile.
func (h *Handle) interruptOpen() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == opening {
		h.state, h.status = refused, status(unix.EINTR)
		h.noteLocked()
	}
}

// snapshot is the open files of this moment.
func (d *Device) snapshot() []*Handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.handles))
}

// A Waiter is a thread that waits for a file, or has done so lately.
type Waiter struct {
	Thread uint32
	Since  time.Time // at which it was there. It may be gone, and its number another's
}

// Waiters are the threads that wait for one of the device's files, or have done so lately and may again at any moment: in
// open(2), in ioctl(2), in read(2), or, as far as can be known, in poll(2) and its kin. While one waits, the machine cannot be
// suspended, for the kernel does not freeze a thread whose request a frozen server has (kernel/power/process.c); whoever wants
// it to be must have them stop.
//
// Who waits in close(2) is not among them: the kernel does not tell (fs/fuse/file.c, fuse_prepare_release).
func (d *Device) Waiters() []Waiter {
	var waiters []Waiter
	d.mu.Lock()
	for _, call := range d.waiting {
		if call.opens != nil {
			waiters = append(waiters, Waiter{call.opens.PID, call.since})
		}
	}
	d.mu.Unlock()
	for _, h := range d.snapshot() {
		h.mu.Lock()
		waiters = append(append(waiters, h.readers...), h.pollers...)
		for _, c := range h.calls {
			waiters = append(waiters, Waiter{c.thread, c.since})
		}
		h.mu.Unlock()
	}
	return waiters
}

// Unanswered is how many requests of clients have no answer yet, by the kernel's count (/sys/class/cuse/NAME/waiting): also
// those that Serve has not read. To ask needs root, and sysfs on /sys.
func (d *Device) Unanswered() (int, error) {
	text, err := os.ReadFile(filepath.Join("/sys/class/cuse", sysName(d.name), "waiting"))
	if err != nil {
		return 0, fmt.Errorf("cuse: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// write answers a write(2), when what it did is noted.
func (h *Handle) write(unique uint64, p []byte) {
	n, err := h.file.Write(p)
	h.note()
	if n == 0 && err != nil {
		h.dev.reply(unique, err)
		return
	}
	out := fuse.WriteOut{Size: uint32(n)}
	h.dev.replyWith(unique, bytesOf(&out))
}

// startRelease closes the file, in a goroutine of its own, and then lets close(2) return.
func (d *Device) startRelease(h *Handle, unique uint64) {
	d.forget(h.fh)
	file := h.shut()
	h.mu.Lock()
	h.state, h.unique = closing, unique
	h.noteLocked()
	h.mu.Unlock()
	d.calls.Go(func() {
		file.Close()
		d.reply(unique, nil)
		h.gone()
	})
}

// shut ends all waiting on a file that is to be closed: Wake does nothing from now on. No read waits when the kernel
// releases a file, since each of them holds it open; at the end of the device some may, and nobody hears the answer.
func (h *Handle) shut() (file File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.parked {
		h.dev.reply(r.unique, unix.EBADF)
	}
	h.parked, h.armed = nil, false
	file, h.file = h.file, nil
	return file
}

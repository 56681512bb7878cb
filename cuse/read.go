package cuse

import (
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ErrWouldBlock is what a File's Read answers, as it is, when it has nothing now: the read waits for the next Wake.
const ErrWouldBlock = syscall.EAGAIN

// minAnswer is what a file that is read costs at least, in bytes.
const minAnswer = 512

type parkedRead struct {
	unique uint64
	size   int
	thread uint32
}

// read answers a read(2), or parks it.
func (h *Handle) read(in *fuse.ReadIn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readLocked(in)
}

func (h *Handle) readLocked(in *fuse.ReadIn) {
	r := parkedRead{unique: in.Unique, size: int(min(in.Size, maxTransfer)), thread: in.Pid}
	h.lastRead = r.unique // in whatever is noted next: all that is answered is noted before or has no effect
	if in.Flags&unix.O_NONBLOCK == 0 {
		h.readers = remember(h.readers, r.thread)
	}
	// While others wait there is nothing to read.
	if len(h.parked) == 0 {
		h.parked = append(h.parked, r)
		if h.answerFirstLocked() {
			return
		}
		h.parked = h.parked[:0]
	}
	switch {
	case in.Offset > 0:
		// The middle of one big read(2): what it has so far is its answer.
		h.dev.reply(r.unique, nil)
	case in.Flags&unix.O_NONBLOCK != 0:
		h.dev.reply(r.unique, unix.EAGAIN)
	case len(h.parked) == maxParked:
		// Not EAGAIN, on which a client that blocks would try again at once.
		h.dev.reply(r.unique, unix.ENOBUFS)
	default:
		h.parked = append(h.parked, r)
		h.noteWaitersLocked()
	}
}

// remember puts a thread among the last ones that waited, or would have if there had been nothing.
func remember(waiters []Waiter, thread uint32) []Waiter {
	const most = 64
	i := slices.IndexFunc(waiters, func(w Waiter) bool { return w.Thread == thread })
	switch {
	case i >= 0:
		waiters[i].Since = time.Now()
		return waiters
	case len(waiters) == most:
		waiters = slices.Delete(waiters, 0, 1)
	}
	return append(waiters, Waiter{thread, time.Now()})
}

// Wake tells those who wait on the file that it may be ready: parked reads are answered as far as Read has something,
// and poll(2) looks again. It sends from the calling thread and does not wait. It may be called at any time from any
// goroutine, also before OpenFunc returns and after Close, but not from within Read or Poll, nor with a lock held that
// one of them takes.
func (h *Handle) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil { // not yet: goOn answers; or not any more
		return
	}
	noted := false
	for len(h.parked) > 0 && h.answerFirstLocked() {
		noted = true
	}
	if !noted {
		h.noteLocked()
	}
	h.notifyLocked()
}

// answerFirstLocked answers the read that has waited longest if there is something for it. What the kernel does not take is
// kept for the next read.
//
// It is noted once, before the answer: what the read is to get, as refused. That the read has it need not be noted, for
// another server would try to answer the read again, and find that it does not wait any more: see goOn.
func (h *Handle) answerFirstLocked() bool {
	r := h.parked[0]
	size := r.size
	if h.slot != nil {
		size = min(size, maxRefused)
	}
	n, err := h.fillLocked(size)
	if n > 0 || err == io.EOF {
		err = nil
	}
	if err == ErrWouldBlock {
		return false
	}
	msg := h.answer[:outHeaderSize+n]
	kept := len(h.refused) > 0
	if !kept {
		h.refused = msg[outHeaderSize:]
	}
	h.noteLocked()
	taken := h.dev.send(msg, r.unique, err) == nil
	h.parked = append(h.parked[:0], h.parked[1:]...)
	switch {
	case taken:
		h.refused = h.refused[n:]
	case !kept:
		h.refused = slices.Clone(h.refused)
	}
	if !taken || n == 0 {
		h.noteLocked()
	}
	return true
}

// fillLocked puts up to size bytes of the file into answer, which grows with what the file has to give, not with what
// the client asks for.
func (h *Handle) fillLocked(size int) (n int, err error) {
	if most := min(size, len(h.refused)) + outHeaderSize; len(h.answer) < most || h.answer == nil {
		h.answer = make([]byte, max(most, minAnswer))
	}
	if len(h.refused) > 0 {
		return copy(h.answer[outHeaderSize:], h.refused[:min(size, len(h.refused))]), nil
	}
	for {
		end := min(size, len(h.answer)-outHeaderSize)
		var m int
		m, err = h.file.Read(h.answer[outHeaderSize+n : outHeaderSize+end])
		n += m
		if n < end || end == size || err != nil {
			return n, err
		}
		h.answer = append(h.answer, make([]byte, len(h.answer))...)
	}
}

// interrupt ends the read that waits under unique with EINTR, and tells if there is one.
func (h *Handle) interrupt(unique uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.parked, func(r parkedRead) bool { return r.unique == unique })
	if i < 0 {
		return false
	}
	h.parked = slices.Delete(h.parked, i, i+1)
	h.noteWaitersLocked()
	h.dev.reply(unique, unix.EINTR)
	return true
}

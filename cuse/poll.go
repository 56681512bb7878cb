package cuse

import "golang.org/x/sys/unix"

// A Poller is a File that says when it is ready. Others always are, to read and to write.
type Poller interface {
	// Poll returns the poll(2) events that hold now: unix.POLLIN, unix.POLLOUT, unix.POLLHUP and the like. It must not wait.
	Poll() uint32
}

// poll answers what holds now, and remembers whether the kernel wants to hear of the next change.
func (h *Handle) poll(in *pollIn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if in.PollFlags&pollScheduleNotify != 0 {
		if !h.armed {
			h.pollMask, h.pollers = 0, h.pollers[:0]
		}
		h.pollers = remember(h.pollers, in.Header.Pid)
		// Several may poll one file, each for something else.
		h.armed, h.pollKh, h.pollMask = true, in.Kh, h.pollMask|in.Events
		h.noteWaitersLocked()
	}
	out := pollOut{Revents: h.eventsLocked()}
	h.dev.replyWith(in.Header.Unique, bytesOf(&out))
}

// notifyLocked has the kernel poll again, if it asked for that and would find something.
func (h *Handle) notifyLocked() {
	if !h.armed || h.eventsLocked()&(h.pollMask|unix.POLLERR|unix.POLLHUP) == 0 {
		return
	}
	h.armed = false
	msg := notifyPollMessage(h.pollKh)
	h.dev.write(msg[:])
}

// eventsLocked is what holds now, with the synonyms that some programs ask for instead.
//
// A file that is no Poller is asked all the same. ENOSYS would save the asking, but for all files of the device, among
// which there may be a Poller (fs/fuse/file.c, fuse_file_poll).
func (h *Handle) eventsLocked() uint32 {
	ev := uint32(unix.POLLIN | unix.POLLOUT)
	if p, ok := h.file.(Poller); ok {
		ev = p.Poll()
	}
	if len(h.refused) > 0 {
		ev |= unix.POLLIN
	}
	if ev&unix.POLLIN != 0 {
		ev |= pollRdNorm
	}
	if ev&unix.POLLOUT != 0 {
		ev |= pollWrNorm
	}
	return ev
}

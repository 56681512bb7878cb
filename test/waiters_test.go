package test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A waiter waits for a descriptor to become readable.
type waiter struct {
	name   string
	number int // of its system call
	// open makes ready to wait for fd. wait does, for ms milliseconds at most, and tells if fd is readable.
	open func(fd int) (wait func(ms int) (bool, error), err error)
	// again says when wait tells of a key once more that was not read: "always", or "news" if it is for a later key only, or
	// "rearmed" if it is for none.
	again string
}

var waiters = []waiter{
	{"poll", unix.SYS_PPOLL, openPoll, "always"},
	{"select", unix.SYS_PSELECT6, openSelect, "always"},
	{"epoll, level", unix.SYS_EPOLL_PWAIT, openEpoll(0), "always"},
	{"epoll, edge", unix.SYS_EPOLL_PWAIT, openEpoll(unix.EPOLLET), "news"},
	{"epoll, one-shot", unix.SYS_EPOLL_PWAIT, openEpoll(unix.EPOLLONESHOT), "rearmed"},
}

func openPoll(fd int) (func(ms int) (bool, error), error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	return func(ms int) (bool, error) {
		n, err := uninterrupted(func() (int, error) { return unix.Poll(fds, ms) })
		return n == 1 && fds[0].Revents == unix.POLLIN, err
	}, nil
}

func openSelect(fd int) (func(ms int) (bool, error), error) {
	return func(ms int) (bool, error) {
		var fds unix.FdSet
		n, err := uninterrupted(func() (int, error) {
			fds.Zero()
			fds.Set(fd)
			limit := unix.NsecToTimeval(int64(ms) * int64(time.Millisecond))
			return unix.Select(fd+1, &fds, nil, nil, &limit)
		})
		return n == 1 && fds.IsSet(fd), err
	}, nil
}

func openEpoll(flags uint32) func(fd int) (func(ms int) (bool, error), error) {
	return func(fd int) (func(ms int) (bool, error), error) {
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return nil, err
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN | flags}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, err
		}
		return func(ms int) (bool, error) {
			events := make([]unix.EpollEvent, 2)
			n, err := uninterrupted(func() (int, error) { return unix.EpollWait(ep, events, ms) })
			return n == 1 && events[0].Events == unix.EPOLLIN, err
		}, nil
	}
}

// longMS is machine.Limit as poll(2) wants it.
const longMS = int(machine.Limit / time.Millisecond)

func TestPollSelectAndEpollTellOfKeys(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	for _, w := range waiters {
		t.Run(w.name, func(t *testing.T) {
			d := openDescriptor(t, os.O_RDWR|unix.O_NONBLOCK)
			// last is woken for a key after d: what it has read d was told of.
			last := open(t, os.O_RDONLY)
			wait, err := w.open(d.fd)
			if err != nil {
				t.Fatal(err)
			}
			ready := func(ms int, want bool, when string) {
				t.Helper()
				if got, err := wait(ms); got != want || err != nil {
					t.Fatalf("%s: readable is %v, %v; want %v", when, got, err, want)
				}
			}
			ready(0, false, "nothing typed")
			woken := start(t, w.number, func() bool { got, err := wait(longMS); return got && err == nil })
			keyboard.Press(machine.KeyA)
			if !result(t, woken) {
				t.Fatal("a key ends the wait, and the file is not readable")
			}
			last.want("1e")
			ready(0, w.again == "always", "not read")
			keyboard.Release(machine.KeyA)
			last.want("9e")
			ready(0, w.again != "rearmed", "another key, not read")
			d.wantRead(256, "1e 9e")
			ready(0, false, "all read")
			keyboard.Tap(machine.KeyEnter)
			last.want("1c 9c")
			ready(0, w.again != "rearmed", "typed after all was read")
			d.wantRead(256, "1c 9c")
		})
	}
}

func TestOneShotEpollTellsAgainWhenRearmed(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d, last := openDescriptor(t, os.O_RDONLY), open(t, os.O_RDONLY)
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	for _, op := range []int{unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_MOD} {
		if err := unix.EpollCtl(ep, op, d.fd, &event); err != nil {
			t.Fatal(err)
		}
		keyboard.Tap(machine.KeyA)
		last.want("1e 9e")
		for _, want := range []int{1, 0} {
			events := make([]unix.EpollEvent, 2)
			n, err := uninterrupted(func() (int, error) { return unix.EpollWait(ep, events, 0) })
			if n != want || err != nil {
				t.Fatalf("%d events, %v; want %d", n, err, want)
			}
		}
	}
}

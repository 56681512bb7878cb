package cuse_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/test/machine"
)

func TestCasesOnLinux(t *testing.T) {
	machine.Require(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newServer()
			runScript(t, newLinux(t, s), s, c.script)
		})
	}
}

func TestDeviceEndsWhileItIsUsedOnLinux(t *testing.T) {
	for _, tt := range []struct {
		name      string
		openError string // of an open(2) after that
		end       func(l linux) error
	}{
		{"by Close", "ENOENT", func(l linux) error { return l.dev.Close() }},
		{"by abort", "ENOTCONN", func(l linux) error {
			return os.WriteFile("/sys/class/cuse/"+l.name+"/abort", []byte("1"), 0)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer()
			l := create(t, s)
			end := func() {
				if err := tt.end(l); err != nil {
					t.Fatal(err)
				}
			}
			r := newScript(l, s)
			checkEnd(t, r, l.dev, end, tt.openError)
			r.file.Close()
		})
	}
}

// linux is the kernel that the test runs on, with a device of its own.
type linux struct {
	name string
	dev  *cuse.Device
}

// newLinux serves a device until the test ends.
func newLinux(t *testing.T, s *server) linux {
	t.Helper()
	l := create(t, s)
	run(t, l.dev)
	return l
}

func create(t *testing.T, s *server) linux {
	t.Helper()
	machine.Require(t)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, interruption)
	t.Cleanup(func() { signal.Stop(signals) })
	const name = "cusetest0"
	dev, err := cuse.Create(name, s.open)
	if err != nil {
		t.Fatal(err)
	}
	return linux{name, dev}
}

func (l linux) path() string { return "/dev/" + l.name }

func (l linux) waiting() int {
	n, err := l.dev.Unanswered()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the device may be gone
		panic(err)
	}
	return n
}

func (l linux) hasRead(since time.Time) bool {
	return slices.ContainsFunc(l.dev.Waiters(), func(w cuse.Waiter) bool { return w.Since.After(since) })
}

func (l linux) open(ctx context.Context, flags int) (client, error) {
	var fd descriptor
	err := inThread(ctx, func() error {
		n, err := unix.Open(l.path(), flags, 0)
		fd = descriptor(n)
		return err
	})
	return fd, err
}

// interruption is the signal that ends a call.
const interruption = unix.SIGUSR1

// inThread makes a system call in a thread of its own, which gets a signal when ctx ends, and none before: those by which
// Go's runtime interrupts its threads would end the call too.
func inThread(ctx context.Context, call func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread goes with its signal mask
		var all unix.Sigset_t
		for i := range all.Val {
			all.Val[i] = ^uint64(0)
		}
		all.Val[0] &^= 1 << (interruption - 1)
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
			panic(err)
		}
		thread := unix.Gettid()
		stop := context.AfterFunc(ctx, func() { unix.Tgkill(os.Getpid(), thread, interruption) })
		err := call()
		stop()
		done <- err
	}()
	return <-done
}

// A descriptor is a client in this process.
type descriptor int

func (fd descriptor) Read(ctx context.Context, p []byte) (n int, err error) {
	err = inThread(ctx, func() error {
		n, err = unix.Read(int(fd), p)
		return err
	})
	return n, err
}

func (fd descriptor) Write(p []byte) (int, error) { return unix.Write(int(fd), p) }

func (fd descriptor) Poll(ctx context.Context, events uint32) (uint32, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: int16(events)}}
	err := inThread(ctx, func() error {
		_, err := unix.Poll(fds, -1)
		return err
	})
	return uint32(fds[0].Revents), err
}

func (fd descriptor) PollNow(events uint32) uint32 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: int16(events)}}
	_ = inThread(context.Background(), func() error {
		_, err := unix.Poll(fds, 0)
		return err
	})
	return uint32(fds[0].Revents)
}

func (fd descriptor) Ioctl(ctx context.Context, cmd uint32, arg uint64) (n int, err error) {
	err = inThread(ctx, func() error {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(arg))
		n = int(r)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return n, err
}

func (fd descriptor) IoctlPtr(cmd uint32, p []byte) (int, error) {
	defer runtime.KeepAlive(p)
	return fd.Ioctl(context.Background(), cmd, uint64(reflect.ValueOf(p).Pointer()))
}

func (fd descriptor) SetNonblock(on bool) {
	if err := unix.SetNonblock(int(fd), on); err != nil {
		panic(err)
	}
}

func (fd descriptor) Close() error { return unix.Close(int(fd)) }

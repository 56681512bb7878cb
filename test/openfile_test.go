package test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// The calls of a program on a device are tested as the kernel has them; the runtime's poller would stand in between.

// A descriptor is an open device of this process, without the runtime's poller.
type descriptor struct {
	t  testing.TB
	fd int
}

// openDescriptor opens the device, and closes it when the test ends at the latest. Held keys do not repeat, for however
// long a busy machine holds them.
func openDescriptor(t testing.TB, flags int) *descriptor {
	t.Helper()
	d := openFresh(t, flags)
	never := typematic{delay: 3600_000}
	if err := ioctl(d.fd, KDKBDREP, &never); err != nil {
		t.Fatalf("KDKBDREP: %v", err)
	}
	return d
}

// typematic is struct kbd_repeat, in ms.
type typematic struct{ delay, period int32 }

// openFresh opens the device and leaves it as it is then.
func openFresh(t testing.TB, flags int) *descriptor {
	t.Helper()
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		t.Fatalf("open %s: %v", kbd0, err)
	}
	d := &descriptor{t, fd}
	t.Cleanup(d.close)
	return d
}

func (d *descriptor) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

// uninterrupted repeats a call for as long as it is interrupted: the runtime has signals of its own.
func uninterrupted(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// read is read(2), in hex.
func (d *descriptor) read(size int) (string, error) {
	buf := make([]byte, size)
	n, err := uninterrupted(func() (int, error) { return unix.Read(d.fd, buf) })
	return fmt.Sprintf("% x", buf[:max(n, 0)]), err
}

// wantRead is one read. Where it is to give several bytes they are waited for first: they may come one by one.
func (d *descriptor) wantRead(size int, want string) {
	d.t.Helper()
	if n := (len(want) + 1) / 3; n > 1 {
		machine.WaitUntil(d.t, "there is enough to read", func() bool {
			unread, err := uninterrupted(func() (int, error) { return unix.IoctlGetInt(d.fd, unix.TIOCINQ) })
			return unread >= n || err != nil
		})
	}
	if got, err := d.read(size); got != want || err != nil {
		d.t.Fatalf("a read of %d bytes gives %q, %v; want %q", size, got, err, want)
	}
}

func (d *descriptor) wantAgain() {
	d.t.Helper()
	if got, err := d.read(256); err != unix.EAGAIN {
		d.t.Fatalf("read %q, %v; want EAGAIN", got, err)
	}
}

// start runs a call that waits, in a thread of its own, and returns when it does. The system call is given by its number.
func start[T any](t testing.TB, number int, call func() T) (result <-chan T) {
	t.Helper()
	tid, done := make(chan int, 1), make(chan T, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- unix.Gettid()
		done <- call()
	}()
	thread := fmt.Sprint("/proc/self/task/", <-tid)
	machine.WaitUntil(t, "the call waits", func() bool { return len(done) > 0 || inCall(thread, number) })
	return done
}

// inCall tells if a thread, as a folder of /proc, waits in a system call. While it runs, its file there has no number.
func inCall(thread string, number int) bool {
	text, err := os.ReadFile(thread + "/syscall")
	return err == nil && strings.HasPrefix(string(text), fmt.Sprint(number, " "))
}

// result is what a call gives that was started, in time.
func result[T any](t testing.TB, from <-chan T) (r T) {
	t.Helper()
	select {
	case r = <-from:
	case <-time.After(machine.Limit):
		t.Fatal("the call still waits")
	}
	return r
}

func TestDeviceIsAlwaysWritable(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	d := openDescriptor(t, os.O_RDWR)
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN | unix.POLLOUT}}
	for _, want := range []int16{unix.POLLOUT, unix.POLLIN | unix.POLLOUT} {
		if _, err := uninterrupted(func() (int, error) { return unix.Poll(fds, 0) }); err != nil || fds[0].Revents != want {
			t.Fatalf("poll: %#x, %v; want %#x", fds[0].Revents, err, want)
		}
		unix.Write(d.fd, []byte{0xee}) // its answer is there to be read when write(2) returns
	}
}

const fionbio = 0x5421 // FIONBIO

func TestNonblockingIsAsEachReadFindsIt(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	fcntl := func(fd, flags int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return err
	}
	for _, test := range []struct {
		name    string
		flags   int
		on, off func(fd int) error
	}{
		{
			"open", unix.O_NONBLOCK, func(fd int) error { return fcntl(fd, unix.O_NONBLOCK) },
			func(fd int) error { return fcntl(fd, 0) },
		}, {
			"fcntl", 0, func(fd int) error { return fcntl(fd, unix.O_NONBLOCK) },
			func(fd int) error { return fcntl(fd, 0) },
		}, {
			"FIONBIO", 0, func(fd int) error { return unix.IoctlSetPointerInt(fd, fionbio, 1) },
			func(fd int) error { return unix.IoctlSetPointerInt(fd, fionbio, 0) },
		},
	} {
		withAndWithoutSecond(t, test.name, func(s *scene) {
			d := openDescriptor(s.t, os.O_RDONLY|test.flags)
			if test.flags == unix.O_NONBLOCK {
				openDescriptor(s.t, os.O_RDONLY).close() // which waits for the keyboard, as d did not
			} else if err := test.on(d.fd); err != nil {
				s.t.Fatal(err)
			}
			d.wantAgain()
			if err := test.off(d.fd); err != nil {
				s.t.Fatal(err)
			}
			read := start(s.t, unix.SYS_READ, func() string { got, _ := d.read(1); return got })
			s.keyboard.Press(machine.KeyA)
			if got := result(s.t, read); got != "1e" {
				s.t.Fatalf("read %q, want 1e", got)
			}
			if err := test.on(d.fd); err != nil {
				s.t.Fatal(err)
			}
			d.wantAgain()
			s.keyboard.Release(machine.KeyA)
			wait, _ := openPoll(d.fd)
			if ok, err := wait(longMS); !ok || err != nil {
				s.t.Fatalf("the file is not readable, %v", err)
			}
			d.wantRead(256, "9e")
			s.hears("1e 9e")
		})
	}
}

func TestReadGivesWhatIsThereForAnySize(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d, last := openDescriptor(t, os.O_RDONLY), open(t, os.O_RDONLY)
	for _, size := range []int{1, 2, 3, 4, 5, 512, 4096, 128 << 10, 128<<10 + 1, 1 << 20} {
		keyboard.Type("ab")
		last.want("1e 9e 30 b0")
		if n, err := unix.IoctlGetInt(d.fd, unix.TIOCINQ); n != 4 || err != nil {
			t.Fatalf("FIONREAD: %d, %v; want 4", n, err)
		}
		got := ""
		for reads := 1; len(got) < len("1e 9e 30 b0"); reads++ {
			b, err := d.read(size)
			if got = strings.TrimSpace(got + " " + b); err != nil || reads > (4+size-1)/size {
				t.Fatalf("%d reads of %d bytes give %s, %v", reads, size, got, err)
			}
		}
		if got != "1e 9e 30 b0" {
			t.Fatalf("reads of %d bytes give %s", size, got)
		}
		if n, err := unix.IoctlGetInt(d.fd, unix.TIOCINQ); n != 0 || err != nil {
			t.Fatalf("FIONREAD: %d, %v; want 0", n, err)
		}
		read := start(t, unix.SYS_READ, func() string { got, _ := d.read(size); return got })
		keyboard.Press(machine.KeyA)
		if got := result(t, read); got != "1e" {
			t.Fatalf("a read of %d bytes that waits gives %q, want 1e", size, got)
		}
		keyboard.Release(machine.KeyA)
		d.wantRead(1, "9e")
		last.want("1e 9e")
	}
	if n, err := unix.Read(d.fd, nil); n != 0 || err != nil {
		t.Errorf("a read of 0 bytes gives %d, %v", n, err)
	}
}

func TestReadvPreadAndLseekAreHarmless(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	startKbdd(t)
	d, last := openDescriptor(t, os.O_RDONLY|unix.O_NONBLOCK), open(t, os.O_RDONLY)
	keyboard.Type("ab")
	last.want("1e 9e 30 b0")
	for _, whence := range []int{unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END} {
		if at, err := unix.Seek(d.fd, 1000, whence); at != 0 || err != nil && !errors.Is(err, unix.ESPIPE) {
			t.Errorf("lseek gives %d, %v", at, err)
		}
	}
	one, more := make([]byte, 1), make([]byte, 2)
	n, err := uninterrupted(func() (int, error) { return unix.Readv(d.fd, [][]byte{one, more}) })
	if got := fmt.Sprintf("% x, % x", one, more); n != 3 || got != "1e, 9e 30" || err != nil {
		t.Errorf("readv gives %d bytes, %s, %v", n, got, err)
	}
	n, err = uninterrupted(func() (int, error) { return unix.Pread(d.fd, more, 1<<20) })
	if n != 1 || more[0] != 0xb0 || err != nil {
		t.Errorf("pread gives %d bytes, % x, %v", n, more, err)
	}
	d.wantAgain()
}

func TestThreadsOnOneDescriptorAreServedInOrder(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "threads", func(s *scene) {
		d := openDescriptor(s.t, os.O_RDONLY)
		var reads []<-chan string
		for range 6 {
			reads = append(reads, start(s.t, unix.SYS_READ, func() string { got, _ := d.read(1); return got }))
		}
		s.types("abc", "1e 9e 30 b0 2e ae")
		for i, want := range strings.Fields("1e 9e 30 b0 2e ae") {
			if got := result(s.t, reads[i]); got != want {
				s.t.Errorf("thread %d reads %q, want %s", i, got, want)
			}
		}
	})
}

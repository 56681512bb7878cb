package test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The readers come in crews, each a process, some of which are killed and started again. With the two pacers they are 65.
const (
	steadyCrews = 4
	killedCrews = 3
	crewSize    = 9
)

// A reading is a way to read a file on and on.
type reading struct {
	flags int // of open(2)
	// begin makes ready. more waits for bytes and gives what there is.
	begin func(fd int) (more func() ([]byte, error), err error)
}

var readings = []reading{
	{unix.O_RDONLY, readBlocking(256)},
	{unix.O_RDONLY | unix.O_NONBLOCK, readEverySoOften},
	{unix.O_RDONLY, readBlocking(1)},
	{unix.O_RDONLY | unix.O_NONBLOCK, readWaiting(waiters[0])},
	{unix.O_RDONLY | unix.O_NONBLOCK, readWaiting(waiters[1])},
	{unix.O_RDONLY | unix.O_NONBLOCK, readWaiting(waiters[2])},
	{unix.O_RDONLY | unix.O_NONBLOCK, readWaiting(waiters[3])},
	{unix.O_RDONLY | unix.O_NONBLOCK, readOneShot},
	{unix.O_RDONLY, readBlocking(1 << 20)},
}

// blockingReaders is how many of a crew wait in read(2).
const blockingReaders = 3

func readBlocking(size int) func(fd int) (func() ([]byte, error), error) {
	return func(fd int) (func() ([]byte, error), error) {
		buf := make([]byte, size)
		return func() ([]byte, error) {
			n, err := uninterrupted(func() (int, error) { return unix.Read(fd, buf) })
			return buf[:max(n, 0)], err
		}, nil
	}
}

func readEverySoOften(fd int) (func() ([]byte, error), error) {
	return func() ([]byte, error) {
		time.Sleep(20 * time.Millisecond)
		return readUntilEmpty(fd)
	}, nil
}

func readWaiting(w waiter) func(fd int) (func() ([]byte, error), error) {
	return func(fd int) (func() ([]byte, error), error) {
		wait, err := w.open(fd)
		return func() ([]byte, error) {
			if ok, err := wait(10 * longMS); !ok {
				return nil, fmt.Errorf("nothing to read: %w", err)
			}
			return readUntilEmpty(fd)
		}, err
	}
}

// readOneShot reads by an epoll that tells of a file once, and is armed again when all was read.
func readOneShot(fd int) (func() ([]byte, error), error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	if err == nil {
		err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &event)
	}
	return func() ([]byte, error) {
		events := make([]unix.EpollEvent, 2)
		if _, err := uninterrupted(func() (int, error) { return unix.EpollWait(ep, events, -1) }); err != nil {
			return nil, err
		}
		b, err := readUntilEmpty(fd)
		if err == nil {
			err = unix.EpollCtl(ep, unix.EPOLL_CTL_MOD, fd, &event)
		}
		return b, err
	}, err
}

func readUntilEmpty(fd int) (all []byte, err error) {
	for {
		var buf [64]byte
		n, err := uninterrupted(func() (int, error) { return unix.Read(fd, buf[:]) })
		if err == unix.EAGAIN {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, buf[:n]...)
	}
}

func init() {
	if _, ok := os.LookupEnv("TEST_CREW"); ok {
		runtime.UnlockOSThread()
		crewMain()
	}
}

// crewMain is a process that has the device open in all ways. It prints "open", and when both keyboards have typed their last
// keys what each of its files has read.
func crewMain() {
	var done sync.WaitGroup
	var output sync.Mutex
	for i := range crewSize {
		r := readings[i%len(readings)]
		fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, r.flags, 0) })
		if err == nil {
			err = ioctl(fd, KDKBDREP, &typematic{delay: 3600_000})
		}
		var more func() ([]byte, error)
		if err == nil {
			more, err = r.begin(fd)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		done.Go(func() {
			var all []byte
			for err == nil && !(bytes.Contains(all, lastKeys[0].release()) && bytes.Contains(all, lastKeys[1].release())) {
				var b []byte
				b, err = more()
				all = append(all, b...)
			}
			unix.Close(fd)
			output.Lock()
			defer output.Unlock()
			fmt.Printf("%x %v\n", all, err)
		})
	}
	fmt.Println("open")
	done.Wait()
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// startCrew starts a crew, which has all its files open then.
func startCrew(t testing.TB) *victim {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_CREW=1")
	v := startVictim(t, cmd)
	v.wantLine("open")
	return v
}

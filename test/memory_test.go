package test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// TestMemoryIsBoundedWhateverClientsDo has as many files open as there may be: most are never read while keys are typed and
// commands are written, and in the others a read waits for more than anybody will type.
func TestMemoryIsBoundedWhateverClientsDo(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "fast keyboard"})
	kbdd := startKbdd(t)
	pid := kbdd.cmd.Process.Pid
	before := len(descriptors(pid))
	const parked, most = 64, 256
	callers := startNursery(t)
	var readers []*caller
	for range parked {
		v := callers.start(t, callNamed("VT_WAITACTIVE"), oneCall)
		v.goOn()
		readers = append(readers, v)
	}
	for _, v := range readers {
		v.waitIn(unix.SYS_IOCTL)
	}
	d := openFresh(t, os.O_RDWR)
	var reads []<-chan error
	for range parked {
		reads = append(reads, start(t, unix.SYS_READ, func() error {
			_, err := unix.Read(d.fd, make([]byte, 1<<20))
			return err
		}))
	}
	unread := openUnread(t, most-parked-1)
	if n := waiting(t); n != 2*parked {
		t.Errorf("%d requests wait, want %d", n, 2*parked)
	}

	machine.WaitUntil(t, "a key has come for each read", func() bool { // whose order nobody knows
		keyboard.Tap(machine.KeyA)
		return !slices.ContainsFunc(reads, func(read <-chan error) bool { return len(read) == 0 })
	})
	for _, read := range reads {
		if err := <-read; err != nil {
			t.Errorf("read: %v", err)
		}
	}
	for range 30 { // more than a queue holds, and on a slow machine more than the kernel does
		keyboard.Type("the quick brown fox")
	}
	flood := bytes.Repeat([]byte{0xee, 0xf2, 0xed, 0x07, 0xff}, 200<<10)
	for _, fd := range unread {
		if n, err := uninterrupted(func() (int, error) { return unix.Write(fd, flood[:1<<10]) }); n != 1<<10 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if n, err := uninterrupted(func() (int, error) { return unix.Write(unread[0], flood) }); n != len(flood) || err != nil {
		t.Errorf("write of 1 MiB: %d, %v", n, err)
	}
	for _, v := range readers {
		v.kill()
	}
	for _, fd := range unread {
		unix.Close(fd)
	}
	d.close()
	// At its start it may have had one more for a moment.
	machine.WaitUntil(t, "kbdd has no more descriptors than before", func() bool { return len(descriptors(pid)) <= before })
	machine.WaitUntil(t, "no request is unanswered", func() bool { return waiting(t) == 0 })
	used := peakMemory(t, pid)
	t.Logf("kbdd has used %d KiB", used>>10)
	if used > 32<<20 {
		t.Errorf("kbdd has used %d KiB, more than 32 MiB", used>>10)
	}
}

// openUnread opens the device n times, and finds it open too often then.
func openUnread(t testing.TB, n int) (fds []int) {
	t.Helper()
	for range n {
		fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDWR|unix.O_CLOEXEC, 0) })
		if err != nil {
			t.Fatalf("open number %d: %v", len(fds)+1, err)
		}
		fds = append(fds, fd)
	}
	if fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDWR|unix.O_CLOEXEC, 0) }); err != unix.EBUSY {
		t.Errorf("one more open: %d, %v; want EBUSY", fd, err)
	}
	return fds
}

package kbd

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// setPolling has reads of a file return after tenths of a second at the latest.
func setPolling(f *File, tenths byte) error {
	settings := newTermios()
	settings[offLflag] &^= unix.ICANON
	settings[offCc+unix.VMIN], settings[offCc+unix.VTIME] = 0, tenths
	_, err := f.Ioctl(context.Background(), &cuse.Ioctl{Cmd: unix.TCSETS, In: settings[:termiosSize]})
	return err
}

func TestReadThatWasInterruptedLeavesTheNextItsTime(t *testing.T) {
	inScene(t, "open a kbd0", func(s *scene) {
		f := s.files["a"]
		woken := make(chan error, 10) // what a read says that waits
		f.wake = func() {
			_, err := f.Read(make([]byte, 1))
			woken <- err
		}
		if err := setPolling(f, 10); err != nil {
			t.Fatal(err)
		}
		waits := func(want bool) {
			t.Helper()
			if _, err := f.Read(make([]byte, 1)); errors.Is(err, cuse.ErrWouldBlock) != want || !want && err != nil {
				t.Errorf("read: %v, want that it waits: %v", err, want)
			}
		}
		waits(true) // until a signal ends it
		time.Sleep(10 * time.Second)
		waits(true)
		time.Sleep(999 * time.Millisecond)
		waits(true)
		for len(woken) > 0 {
			<-woken
		}
		time.Sleep(2 * time.Millisecond)
		if err := <-woken; err != nil {
			t.Errorf("after a second read: %v, want 0 bytes", err)
		}
	})
}

func TestPollingReadsHaveOneTimer(t *testing.T) {
	inScene(t, "open a kbd0", func(s *scene) {
		f := s.files["a"]
		b := make([]byte, 1)
		settings := newTermios()
		settings[offLflag] &^= unix.ICANON
		settings[offCc+unix.VMIN], settings[offCc+unix.VTIME] = 0, 255
		call := &cuse.Ioctl{Cmd: unix.TCSETS, In: settings[:termiosSize]}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := f.Ioctl(context.Background(), call); err != nil {
				t.Fatal(err)
			}
			_, _ = f.Read(b)
		}); n > 0 {
			t.Errorf("%v allocations for each read", n)
		}
	})
}

package test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestSignalsInterruptReadsThatWait(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "signals", func(s *scene) {
		d := openDescriptor(s.t, os.O_RDONLY)
		for range 20 {
			tid := make(chan int, 1)
			read := start(s.t, unix.SYS_READ, func() error {
				tid <- unix.Gettid()
				_, err := unix.Read(d.fd, make([]byte, 1))
				return err
			})
			if err := unix.Tgkill(os.Getpid(), <-tid, unix.SIGUSR1); err != nil {
				s.t.Fatal(err)
			}
			if err := result(s.t, read); err != unix.EINTR {
				s.t.Fatalf("a read with a signal ends with %v, want EINTR", err)
			}
			s.types("a", "1e 9e")
			d.wantRead(1, "1e")
			d.wantRead(1, "9e")
		}
	})
}

func TestSignalsLoseNothing(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "signals", (*scene).typeUnderSignals)
}

// typeUnderSignals types while signals interrupt the reader on and on.
func (s *scene) typeUnderSignals() {
	d := openDescriptor(s.t, os.O_RDONLY)
	const text = "the quick brown fox"
	tid, interrupted := make(chan int, 1), 0
	read := start(s.t, unix.SYS_READ, func() (got []byte) {
		tid <- unix.Gettid()
		for len(got) < 2*len(text) {
			var b [3]byte
			n, err := unix.Read(d.fd, b[:])
			if err == unix.EINTR {
				interrupted++
			} else if err != nil {
				s.t.Error(err)
				return got
			}
			got = append(got, b[:max(n, 0)]...)
		}
		return got
	})
	typed := make(chan bool)
	go func() {
		defer close(typed)
		s.keyboard.Type(text)
	}()
	thread := <-tid
	for len(read) == 0 {
		unix.Tgkill(os.Getpid(), thread, unix.SIGUSR1)
	}
	<-typed
	var want []byte
	for _, char := range text {
		key, _, _ := machine.KeyFor(char)
		want = append(want, byte(key), byte(key)|0x80) // in set 1 these keys have their key codes
	}
	if got := result(s.t, read); !bytes.Equal(got, want) || interrupted == 0 {
		s.t.Errorf("with %d interrupts: read % x, want % x", interrupted, got, want)
	}
	s.hears(fmt.Sprintf("% x", want))
}

package cuse_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/cuse/cusetest"
	"kbdd/test/machine"
)

func TestOpenTellsWhoOpens(t *testing.T) {
	handles := make(chan *cuse.Handle, 1)
	kernel := serve(t, func(_ context.Context, h *cuse.Handle) (cuse.File, error) {
		handles <- h
		return nil, unix.EBUSY
	})
	_, err := kernel.OpenAs(t.Context(), cusetest.Cred{UID: 1000, GID: 100, PID: 42}, unix.O_WRONLY)
	if err != unix.EBUSY {
		t.Errorf("open(2) = %v, want EBUSY", err)
	}
	if h := <-handles; h.UID != 1000 || h.GID != 100 || h.PID != 42 {
		t.Errorf("the opener is %d:%d, pid %d", h.UID, h.GID, h.PID)
	}
}

func TestCloseWaitsForTheFile(t *testing.T) {
	s := newServer()
	kernel := serve(t, s.open)
	f, err := kernel.Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	p := <-s.pipes
	closing := make(chan struct{})
	p.mu.Lock() // the kernel's order of the calls is not seen by the race detector
	p.closing = closing
	p.mu.Unlock()
	finish := sync.OnceFunc(func() { close(closing) })
	t.Cleanup(finish)
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	machine.WaitUntil(t, "close(2) waits", func() bool { return kernel.Waiting() == 1 })
	select {
	case <-closed:
		t.Fatal("close(2) returned before the file was closed")
	default:
	}
	finish()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

func TestDeviceEndsWhileItIsUsed(t *testing.T) {
	for name, end := range map[string]func(*cuse.Device, *cusetest.Kernel){
		"by Close": func(dev *cuse.Device, _ *cusetest.Kernel) { dev.Close() },
		"by abort": func(_ *cuse.Device, kernel *cusetest.Kernel) { kernel.Abort() },
	} {
		t.Run(name, func(t *testing.T) {
			kernel, conn := cusetest.New(t)
			s := newServer()
			dev, err := cuse.New(conn, "pipe", s.open)
			if err != nil {
				t.Fatal(err)
			}
			kernel.Name() // the greeting is over
			checkEnd(t, newScript(&fakeKernel{kernel}, s), dev, func() { end(dev, kernel) }, "ENODEV")
		})
	}
}

// checkEnd ends a device in the middle of all that clients can do. An open(2) after that fails with openError.
func checkEnd(t *testing.T, r *script, dev *cuse.Device, end func(), openError string) {
	t.Helper()
	defer dev.Close()
	served := make(chan error, 1)
	go func() { served <- dev.Serve() }()
	r.run(t, "open r => 0x8000", "a: read 1", "b: read 1", "c: poll in", "d: ioctl wait 0", "opens wait", "e: open r")
	end()
	select {
	case <-served:
	case <-time.After(machine.Limit):
		t.Fatal("Serve goes on")
	}
	if n := r.pipe.count(&r.pipe.closes); n != 1 {
		t.Errorf("the file was closed %d times", n)
	}
	r.run(t, "a => ECONNABORTED", "b => ECONNABORTED", "c => err", "d => ECONNABORTED", "e => ECONNABORTED")
	r.run(t, "put late") // asks the file nothing more: it would panic
	r.run(t, "read 1 => ENOTCONN", "look in => err", "open r => "+openError)
}

func TestServeTellsWhyItEnds(t *testing.T) {
	kernel, conn := cusetest.New(t)
	dev, err := cuse.New(conn, "pipe", nil)
	if err != nil {
		t.Fatal(err)
	}
	kernel.Abort()
	if err := dev.Serve(); err == nil {
		t.Error("Serve = nil after an abort")
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	if err := dev.Serve(); err != nil {
		t.Errorf("Serve = %v after Close, want nil", err)
	}
	if err := dev.Close(); !errors.Is(err, cuse.ErrClosed) {
		t.Errorf("one more Close: %v, want ErrClosed", err)
	}
}

func TestFileThatIsOpenedTooLateIsClosed(t *testing.T) {
	kernel, conn := cusetest.New(t)
	var p pipe
	asked := make(chan struct{})
	dev, err := cuse.New(conn, "pipe", func(ctx context.Context, h *cuse.Handle) (cuse.File, error) {
		close(asked)
		<-ctx.Done() // and yet:
		p.Handle = h
		return &p, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- dev.Serve() }()
	opened := make(chan error, 1)
	go func() {
		_, err := kernel.Open(unix.O_RDONLY)
		opened <- err
	}()
	<-asked
	dev.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-opened; err != unix.ECONNABORTED {
		t.Errorf("open(2) = %v, want ECONNABORTED", err)
	}
	if p.closes != 1 {
		t.Errorf("the file was closed %d times", p.closes)
	}
}

func TestHelloSaysHelloToEachReader(t *testing.T) {
	kernel := serve(t, openHello)
	for range 2 {
		f, err := kernel.Open(unix.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(eofReader{f})
		if string(text) != "hello\n" || err != nil {
			t.Errorf("read %q, %v", text, err)
		}
		f.Close()
	}
}

// eofReader is a file as package io wants it.
type eofReader struct{ f *cusetest.File }

func (r eofReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

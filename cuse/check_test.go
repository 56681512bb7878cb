package cuse_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/cuse/cusetest"
)

// hanging is a file whose Write waits, as no File may.
type hanging struct {
	*pipe
	letGo chan struct{}
}

func (h *hanging) Write(p []byte) (int, error) {
	<-h.letGo
	return len(p), nil
}

// A hangingReader is a file whose Read waits, as no File may.
type hangingReader struct {
	*pipe
	reads, letGo chan struct{}
}

func (h *hangingReader) Read([]byte) (int, error) {
	h.reads <- struct{}{}
	<-h.letGo
	return 0, cuse.ErrWouldBlock
}

// TestCheckNoticesAFileThatHangs has it do so in a Wake, which is not Serve's.
func TestCheckNoticesAFileThatHangs(t *testing.T) {
	kernel, conn := cusetest.New(t)
	reads, letGo := make(chan struct{}), make(chan struct{})
	handles := make(chan *cuse.Handle, 1)
	dev, err := cuse.New(conn, "pipe", func(_ context.Context, h *cuse.Handle) (cuse.File, error) {
		handles <- h
		return &hangingReader{&pipe{Handle: h}, reads, letGo}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, dev)
	f, err := kernel.Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	ctx, signal := context.WithCancel(t.Context())
	go func() {
		_, err := f.ReadContext(ctx, make([]byte, 1))
		read <- err
	}()
	<-reads
	letGo <- struct{}{} // the read is parked
	if err := dev.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{})
	go func() {
		(<-handles).Wake()
		close(woken)
	}()
	<-reads
	ctxCheck, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := dev.Check(ctxCheck); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Check while a file hangs: %v", err)
	}
	close(letGo)
	<-woken
	if err := dev.Check(t.Context()); err != nil {
		t.Errorf("Check of a device that is served again: %v", err)
	}
	signal()
	if err := <-read; err != unix.EINTR {
		t.Errorf("read(2) = %v, want EINTR", err)
	}
	f.Close()
}

func TestCheckReturnsOnlyWhileTheDeviceIsServed(t *testing.T) {
	kernel, conn := cusetest.New(t)
	letGo := make(chan struct{})
	dev, err := cuse.New(conn, "pipe", func(_ context.Context, h *cuse.Handle) (cuse.File, error) {
		return &hanging{&pipe{Handle: h}, letGo}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, dev)
	for range 3 {
		if err := dev.Check(t.Context()); err != nil {
			t.Fatalf("Check of a device that is served: %v", err)
		}
	}
	f, err := kernel.Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := f.Write([]byte("x"))
		written <- err
	}()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := dev.Check(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break // the write has begun to hang
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(letGo)
	if err := dev.Check(t.Context()); err != nil {
		t.Errorf("Check of a device that is served again: %v", err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	f.Close()
	dev.Close()
	if err := dev.Check(t.Context()); !errors.Is(err, cuse.ErrClosed) {
		t.Errorf("Check of a closed device: %v", err)
	}
}

package cuse_test

import (
	"context"
	"testing"
	"time"

	"kbdd/cuse"
	"kbdd/cuse/cusetest"
)

func TestCasesOnCusetest(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer()
			runScript(t, &fakeKernel{serve(t, s.open)}, s, c.script)
		})
	}
}

// serve makes a device whose opens are answered by open, and a kernel to use it.
func serve(t *testing.T, open cuse.OpenFunc) *cusetest.Kernel {
	t.Helper()
	kernel, conn := cusetest.New(t)
	dev, err := cuse.New(conn, "pipe", open)
	if err != nil {
		t.Fatal(err)
	}
	run(t, dev)
	if kernel.Name() != "pipe" {
		t.Fatalf("the kernel was given the name %q", kernel.Name())
	}
	return kernel
}

// run serves a device until the test ends.
func run(t *testing.T, dev *cuse.Device) {
	served := make(chan error)
	go func() { served <- dev.Serve() }()
	t.Cleanup(func() {
		dev.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// fakeKernel is cusetest as the cases use it.
type fakeKernel struct{ *cusetest.Kernel }

func (k *fakeKernel) open(ctx context.Context, flags int) (client, error) {
	f, err := k.OpenAs(ctx, cusetest.Self(), flags)
	return fakeClient{f}, err
}

func (k *fakeKernel) waiting() int           { return k.Waiting() }
func (k *fakeKernel) hasRead(time.Time) bool { return true } // its server is called within the call

type fakeClient struct{ *cusetest.File }

func (c fakeClient) Read(ctx context.Context, p []byte) (int, error) { return c.ReadContext(ctx, p) }

func (c fakeClient) Ioctl(ctx context.Context, cmd uint32, arg uint64) (int, error) {
	return c.IoctlContext(ctx, cmd, arg)
}

package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/cuse/cusetest"
)

// TestStoreSaysWhenItIsFull has a parent that takes three descriptors: one device and no half of another.
func TestStoreSaysWhenItIsFull(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	parent, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("FDSTORE", "3")
	s := openStore(slog.New(slog.DiscardHandler))
	keep := func(name string) error {
		_, conn := cusetest.New(t)
		dev, err := cuse.New(conn, name, func(context.Context, *cuse.Handle) (cuse.File, error) { return nil, unix.ENXIO })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		return s.keep(dev, name)
	}
	if err := keep("kbd0"); err != nil {
		t.Fatal(err)
	}
	if err := keep("kbd1"); err == nil || !strings.Contains(err.Error(), "takes 3 descriptors") {
		t.Errorf("the second device: %v", err)
	}
	s.forget("kbd0")
	if err := keep("kbd2"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

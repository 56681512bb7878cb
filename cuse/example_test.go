package cuse_test

import (
	"context"
	"io"
	"log"
	"strings"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// hello is an open file that says one thing and ends.
type hello struct{ io.Reader }

func (hello) Write([]byte) (int, error) { return 0, unix.EBADF }
func (hello) Close() error              { return nil }

func openHello(context.Context, *cuse.Handle) (cuse.File, error) {
	return hello{strings.NewReader("hello\n")}, nil
}

// This is all of a server for /dev/hello. Run it as root, and then: cat /dev/hello
func Example() {
	dev, err := cuse.Create("hello", openHello)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(dev.Serve())
}

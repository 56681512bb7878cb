package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A busSocket is a connection to the system bus as godbus reads it, but for two things that anybody on the bus may send us.
//
// Descriptors stay here: godbus (5.2) panics at an array of them, has one twice that a message names twice, and closes none.
// And large messages, of which logind sends none, are left out: the bus passes some of 32 MiB.
type busSocket struct {
	*net.UnixConn
	begun  bool          // authentication is over; messages follow
	answer chan *os.File // the descriptor of the last answer that came with one

	// Of the message that is being read, for godbus's goroutine that reads:

	head []byte // what godbus has not had yet of its first bytes
	left int    // how many the socket has after those
	came []int  // the descriptors
}

const (
	// messageHead is how many bytes of a message have its size (D-Bus Specification, "Message Format").
	messageHead = 16
	// maxMessage is how large one is at most, beyond those. logind's are some hundred bytes.
	maxMessage = 64 << 10
	// maxDescriptors is how many can come at once: SCM_MAX_FD, include/net/scm.h.
	maxDescriptors = 253
)

// dialSystemBus is a connection of our own, which is to be closed.
func dialSystemBus(ctx context.Context, signals dbus.SignalHandler) (*dbus.Conn, *busSocket, error) {
	path, err := systemBus()
	if err != nil {
		return nil, nil, err
	}
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("system bus: %w", err)
	}
	b := &busSocket{UnixConn: socket.(*net.UnixConn), answer: make(chan *os.File, 1)}
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	bus, err := dbus.NewConn(b, dbus.WithContext(ctx), dbus.WithSignalHandler(signals), dbus.WithIncomingInterceptor(b.received))
	if err != nil {
		socket.Close()
		return nil, nil, err
	}
	if err = bus.Auth(nil); err == nil {
		err = bus.Hello()
	}
	if err != nil {
		bus.Close()
		return nil, nil, err
	}
	return bus, b, nil
}

// systemBus is the path of its socket.
func systemBus() (path string, err error) {
	const variable, standard, unixPath = "DBUS_SYSTEM_BUS_ADDRESS", "/run/dbus/system_bus_socket", "unix:path="
	address := cmp.Or(os.Getenv(variable), unixPath+standard)
	path, ok := strings.CutPrefix(address, unixPath)
	if !ok || strings.ContainsAny(path, ",;%") {
		return "", fmt.Errorf("%s is %q, want %s and a path", variable, address, unixPath)
	}
	return path, nil
}

// Read gives no more than is left of a message. After an error godbus reads no more.
func (b *busSocket) Read(p []byte) (n int, err error) {
	if !b.begun {
		return b.UnixConn.Read(p)
	}
	defer func() {
		if err != nil {
			b.closeCame()
		}
	}()
	if len(b.head) == 0 && b.left == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	if len(b.head) > 0 {
		n = copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	n, err = b.UnixConn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// next begins with the next message that is not too large.
func (b *busSocket) next() error {
	for {
		size, err := b.nextHead()
		if err != nil {
			return err
		}
		if size <= maxMessage {
			b.left = int(size)
			return nil
		}
		if _, err := io.CopyN(io.Discard, b.UnixConn, size); err != nil {
			return err
		}
	}
}

// nextHead reads the head of the next message, and its descriptors, which come with its first byte. It tells how many bytes follow.
func (b *busSocket) nextHead() (size int64, err error) {
	b.closeCame()
	var (
		head    [messageHead]byte
		control [unix.SizeofCmsghdr + 4*maxDescriptors]byte
	)
	n, nControl, _, _, err := b.ReadMsgUnix(head[:], control[:])
	if messages, err := unix.ParseSocketControlMessage(control[:nControl]); err == nil {
		for i := range messages {
			descriptors, _ := unix.ParseUnixRights(&messages[i])
			b.came = append(b.came, descriptors...)
		}
	}
	if err == nil {
		_, err = io.ReadFull(b.UnixConn, head[n:])
	}
	if err != nil {
		return 0, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 'B' {
		order = binary.BigEndian
	}
	body, fields := int64(order.Uint32(head[4:])), int64(order.Uint32(head[12:]))
	b.head = head[:]
	return (fields+7)&^7 + body, nil
}

func (b *busSocket) closeCame() {
	for _, fd := range b.came {
		unix.Close(fd)
	}
	b.came = nil
}

// received is called with each message when it has been read. It keeps the descriptor of an answer, and closes all others.
func (b *busSocket) received(msg *dbus.Message) {
	if msg.Type == dbus.TypeMethodReply && len(b.came) == 1 {
		b.dropAnswer()
		b.answer <- os.NewFile(uintptr(b.came[0]), "descriptor from the system bus")
		b.came = nil
	}
	b.closeCame()
}

func (b *busSocket) dropAnswer() {
	select {
	case f := <-b.answer:
		f.Close()
	default:
	}
}

// Write has godbus say that we take descriptors, before it ends the authentication.
func (b *busSocket) Write(p []byte) (int, error) {
	if !b.begun && string(p) == "BEGIN\r\n" {
		if err := b.negotiate(); err != nil {
			return 0, err
		}
		b.begun = true
	}
	return b.UnixConn.Write(p)
}

func (b *busSocket) negotiate() error {
	if _, err := b.UnixConn.Write([]byte("NEGOTIATE_UNIX_FD\r\n")); err != nil {
		return err
	}
	var line []byte
	for !strings.HasSuffix(string(line), "\r\n") && len(line) < 1000 {
		var next [1]byte
		if _, err := b.UnixConn.Read(next[:]); err != nil {
			return err
		}
		line = append(line, next[0])
	}
	if string(line) != "AGREE_UNIX_FD\r\n" {
		return errors.New("the system bus passes no descriptors")
	}
	return nil
}

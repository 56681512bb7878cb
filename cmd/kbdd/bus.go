package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A busSocket is a connection to the system bus as godbus reads it, but for the descriptors that come with messages: these
// stay here. Anybody on the bus may send us some, and godbus (5.2) panics at an array of them, has one twice that a message
// names twice, and closes none.
type busSocket struct {
	*net.UnixConn
	came   []int         // with the message that is being read; for godbus's goroutine that reads
	answer chan *os.File // the descriptor of the last answer that came with one
}

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
	bus, err := dbus.NewConn(b, dbus.WithContext(ctx), dbus.WithSignalHandler(signals), dbus.WithIncomingInterceptor(b.sort))
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

// Read reads as much as godbus asks for, which is never more than is left of a message. The descriptors of a message come with
// its first byte (D-Bus Specification, "Unix file descriptors").
func (b *busSocket) Read(p []byte) (int, error) {
	var control [unix.SizeofCmsghdr + 4*maxDescriptors]byte
	n, nControl, _, _, err := b.ReadMsgUnix(p, control[:])
	if messages, err := unix.ParseSocketControlMessage(control[:nControl]); err == nil && len(messages) > 0 {
		b.closeCame() // of a message that godbus found invalid
		for i := range messages {
			descriptors, _ := unix.ParseUnixRights(&messages[i])
			b.came = append(b.came, descriptors...)
		}
	}
	if err != nil {
		b.closeCame()
	}
	return n, err
}

// maxDescriptors is how many can come at once: SCM_MAX_FD, include/net/scm.h.
const maxDescriptors = 253

func (b *busSocket) closeCame() {
	for _, fd := range b.came {
		unix.Close(fd)
	}
	b.came = nil
}

// sort is called with each message when it has been read. It keeps the descriptor of an answer, and closes all others.
func (b *busSocket) sort(msg *dbus.Message) {
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
	if string(p) == "BEGIN\r\n" {
		if err := b.negotiate(); err != nil {
			return 0, err
		}
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

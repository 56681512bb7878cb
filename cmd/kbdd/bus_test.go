package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A fakeBus is a system bus that knows one program, and sends it what strangers may send.
type fakeBus struct {
	t         *testing.T
	conn      *net.UnixConn
	inhibitor int // the descriptor in the answer to Inhibit
}

// connectToFakeBus is a logind whose bus answers all its questions.
func connectToFakeBus(t *testing.T) (*logind, *fakeBus) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b, done := &fakeBus{t: t}, make(chan bool)
	go func() {
		var err error
		if b.conn, err = listener.AcceptUnix(); err == nil {
			go b.serve(done)
		}
	}()
	l, err := connectLogind(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.bus.Close()
		<-done
		b.conn.Close()
	})
	return l, b
}

// serve authenticates the program and answers its questions until it ends.
func (b *fakeBus) serve(done chan<- bool) {
	defer close(done)
	in := bufio.NewReaderSize(b.conn, 16)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		answer := "OK 0123456789abcdef0123456789abcdef"
		switch line = strings.TrimSpace(strings.Trim(line, "\x00")); line {
		case "AUTH":
			answer = "REJECTED EXTERNAL"
		case "NEGOTIATE_UNIX_FD":
			answer = "AGREE_UNIX_FD"
		}
		if line == "BEGIN" {
			break
		}
		if _, err := b.conn.Write([]byte(answer + "\r\n")); err != nil {
			return
		}
	}
	for {
		call, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		body := []any{}
		switch call.Headers[dbus.FieldMember].Value() {
		case "Hello":
			body = []any{":1.7"}
		case "Inhibit":
			body = []any{dbus.UnixFD(b.inhibitor)}
		case "Get":
			body = []any{dbus.MakeVariant(true)}
		}
		b.send(&dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
		}, Body: body})
	}
}

// unknownFlag makes a message one that godbus does not take.
const unknownFlag dbus.Flags = 0x80

// signal is one that a stranger has sent to the program, with these descriptors.
func (b *fakeBus) signal(flags dbus.Flags, body []any, descriptors ...int) {
	b.send(&dbus.Message{Type: dbus.TypeSignal, Flags: flags, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(":1.7"),
		dbus.FieldSender:      dbus.MakeVariant(":1.8"),
		dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/stranger")),
		dbus.FieldInterface:   dbus.MakeVariant("stranger.Interface"),
		dbus.FieldMember:      dbus.MakeVariant("Member"),
	}, Body: body}, descriptors...)
}

func (b *fakeBus) send(msg *dbus.Message, descriptors ...int) {
	b.sendIn(binary.LittleEndian, msg, descriptors...)
}

func (b *fakeBus) sendIn(order binary.ByteOrder, msg *dbus.Message, descriptors ...int) {
	if len(msg.Body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(msg.Body...))
	}
	spoil := msg.Flags & unknownFlag
	msg.Flags &^= unknownFlag
	var text bytes.Buffer
	named, err := msg.EncodeToWithFDs(&text, order)
	descriptors = append(named, descriptors...)
	if len(descriptors) > 0 && err == nil {
		msg.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(len(descriptors)))
		text.Reset()
		_, err = msg.EncodeToWithFDs(&text, order)
	}
	if err == nil {
		const flags = 2 // where they are in a message
		text.Bytes()[flags] |= byte(spoil)
		var n int
		if n, _, err = b.conn.WriteMsgUnix(text.Bytes(), unix.UnixRights(descriptors...), nil); err == nil && n < text.Len() {
			_, err = b.conn.Write(text.Bytes()[n:])
		}
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		b.t.Error(err)
	}
}

func TestDescriptorsOfStrangersAreClosed(t *testing.T) {
	l, b := connectToFakeBus(t)
	theirs, ours := openDescriptor(t), openDescriptor(t)
	fd := int(theirs.Fd())
	b.inhibitor = int(ours.Fd())
	const invalid = "an invalid message"
	for name, send := range map[string]func(){
		"one":                func() { b.signal(0, []any{dbus.UnixFD(fd)}) },
		"an array":           func() { b.signal(0, []any{[]dbus.UnixFD{dbus.UnixFD(fd), dbus.UnixFD(fd)}}) },
		"a variant":          func() { b.signal(0, []any{dbus.MakeVariant(dbus.UnixFD(fd))}) },
		"a dictionary":       func() { b.signal(0, []any{map[string]dbus.UnixFD{"key": dbus.UnixFD(fd)}}) },
		"keys":               func() { b.signal(0, []any{map[dbus.UnixFDIndex]string{0: "value"}}, fd) },
		"one that is twice":  func() { b.signal(0, []any{dbus.UnixFDIndex(0), dbus.UnixFDIndex(0)}, fd) },
		"one that is not":    func() { b.signal(0, []any{dbus.UnixFDIndex(7)}, fd) },
		"some that none has": func() { b.signal(0, nil, fd, fd, fd) },
		"with a large one":   func() { b.signal(0, []any{dbus.UnixFD(fd), make([]byte, 2*maxMessage)}) },
		invalid:              func() { b.signal(unknownFlag, []any{dbus.UnixFD(fd)}) },
	} {
		for range 3 {
			send()
			if name != invalid { // of which they are closed when there are others
				if _, err := l.suspends(t.Context()); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if n := countOpen(t, theirs); n != 1 {
					t.Errorf("%s: it is open %d times, want once", name, n)
				}
			}
			inhibitor, err := l.inhibit()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !isSame(t, inhibitor, ours) {
				t.Errorf("%s: the inhibitor is another file than was sent", name)
			}
			inhibitor.Close()
			if n, m := countOpen(t, theirs), countOpen(t, ours); n != 1 || m != 1 {
				t.Errorf("%s: it is open %d times, and the inhibitor %d times, want once each", name, n, m)
			}
		}
	}
}

// TestDescriptorsOfABusThatEndsAreClosed has the bus end in the middle of a message: of one that is taken, and of one that is not.
func TestDescriptorsOfABusThatEndsAreClosed(t *testing.T) {
	for _, size := range []uint32{100, 2 * maxMessage} {
		l, b := connectToFakeBus(t)
		theirs := openDescriptor(t)
		head := make([]byte, messageHead)
		head[0] = 'l'
		binary.LittleEndian.PutUint32(head[4:], size)
		if _, _, err := b.conn.WriteMsgUnix(append(head, 1), unix.UnixRights(int(theirs.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		b.conn.CloseWrite()
		<-l.bus.Context().Done()
		l.bus.Close() // which is under way
		b.conn.Close()
		if n := countOpen(t, theirs); n != 1 {
			t.Errorf("%d bytes: it is open %d times, want once", size, n)
		}
	}
}

func TestLargeMessagesAreLeftOut(t *testing.T) {
	l, b := connectToFakeBus(t)
	for i, c := range []struct {
		size int
		want string // who logind is then
	}{{100, ":1.100"}, {101, ":1.101"}, {maxMessage, ":1.101"}, {1 << 20, ":1.101"}, {maxMessage / 2, ":1.32768"}, {102, ":1.102"}} {
		order := []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}[i%2]
		b.sendIn(order, &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldSender:    dbus.MakeVariant("org.freedesktop.DBus"),
			dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
			dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.DBus"),
			dbus.FieldMember:    dbus.MakeVariant("NameOwnerChanged"),
		}, Body: []any{logindName, strings.Repeat("x", c.size), fmt.Sprint(":1.", c.size)}})
		if _, err := l.suspends(t.Context()); err != nil {
			t.Fatalf("%d: %v", c.size, err)
		}
		if owner := l.owner.Load(); *owner != c.want {
			t.Errorf("after a message of %d bytes, %v, logind is %v, want %s", c.size, order, *owner, c.want)
		}
	}
}

// FuzzWhatStrangersSend has godbus decode it, in whose goroutine a panic would end kbdd, and the signals delivered, as logind's and
// as the bus's own.
func FuzzWhatStrangersSend(f *testing.F) {
	type structure struct {
		Descriptor dbus.UnixFDIndex
		Texts      []string
		Dictionary map[string]dbus.Variant
	}
	for _, body := range [][]any{
		{true, byte(1), int16(2), uint32(3), int64(4), 1.5, "text", dbus.ObjectPath("/"), dbus.ParseSignatureMust("a{sv}")},
		{[]structure{{1, []string{"text"}, map[string]dbus.Variant{"key": dbus.MakeVariant([]dbus.Variant{dbus.MakeVariant(true)})}}}},
		{map[dbus.UnixFDIndex][]dbus.UnixFDIndex{1: {2, 3}}, [][]byte{{1}, {}}, dbus.MakeVariant([][]string{{"text"}})},
		{logindName, ":1.7", ""},
	} {
		var text bytes.Buffer
		msg := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/stranger")),
			dbus.FieldInterface: dbus.MakeVariant("stranger.Interface"),
			dbus.FieldMember:    dbus.MakeVariant("Member"),
			dbus.FieldUnixFDs:   dbus.MakeVariant(uint32(1)),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)),
		}, Body: body}
		if err := msg.EncodeTo(&text, binary.LittleEndian); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		msg, err := dbus.DecodeMessage(bytes.NewReader(text))
		if err != nil || len(text) > 4096 {
			return
		}
		const bus, owner = "org.freedesktop.DBus", ":1.7"
		l := &logind{sleeps: make(chan bool, 1)}
		l.DeliverSignal("", "", &dbus.Signal{Sender: bus, Name: bus + ".NameOwnerChanged", Body: []any{logindName, "", owner}})
		l.DeliverSignal("", "", &dbus.Signal{Sender: owner, Name: logindManager + ".PrepareForSleep", Body: msg.Body})
		l.DeliverSignal("", "", &dbus.Signal{Sender: bus, Name: bus + ".NameOwnerChanged", Body: msg.Body})
	})
}

func isSame(t *testing.T, a, b *os.File) bool {
	t.Helper()
	stA, errA := a.Stat()
	stB, errB := b.Stat()
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(stA, stB)
}

// openDescriptor is a file of its own, that is closed with the test.
func openDescriptor(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// countOpen is how many descriptors this process has of a file.
func countOpen(t *testing.T, f *os.File) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == f.Name() {
			n++
		}
	}
	return n
}

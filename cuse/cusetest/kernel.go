// Package cusetest is a kernel for tests of CUSE servers: it sends the requests that Linux sends, byte for byte, and
// takes the answers, over a socket pair and without root. It makes no node: files are opened through [Kernel.Open].
//
//	kernel, conn := cusetest.New(t)
//	dev, err := cuse.New(conn, "hello", open)
//	go dev.Serve()
//	f, err := kernel.Open(unix.O_RDONLY)
package cusetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opRelease   = 18
	opInterrupt = 36
	opIoctl     = 39
	opPoll      = 40
	opCuseInit  = 4096

	cuseInitOutSize = 72
	uniqueStep      = 2 // requests have even numbers; an INTERRUPT has its request's, plus 1 (fs/fuse/fuse_i.h)
	maxMessage      = 1 << 20
	notifyPoll      = 1
	scheduleNotify  = 1
)

// A Kernel is the other end of a server's descriptor.
type Kernel struct {
	conn   *os.File
	noPoll atomic.Bool // the server does not answer FUSE_POLL
	noOpen atomic.Bool // nor FUSE_OPEN

	mu      sync.Mutex
	unique  uint64                   // of the last request; guarded by mu
	calls   map[uint64]chan answer   // requests not answered yet; nil when the server is gone; guarded by mu
	polling map[uint64]chan struct{} // closed to wake all pollers of a poll handle; nil when the server is gone; guarded by mu
	name    string                   // guarded by mu, set by the answer to CUSE_INIT
	started chan struct{}            // closed by the answer to CUSE_INIT
	gone    chan struct{}            // closed when the server has closed its end
}

type answer struct {
	status int32
	body   []byte
}

// A Cred is who makes a call.
type Cred struct{ UID, GID, PID uint32 }

// Self is the credentials of this process.
func Self() Cred {
	return Cred{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: uint32(os.Getpid())}
}

// New starts a kernel, which sends its greeting at once, and gives the descriptor that the server is to be made with.
// Both are closed when the test ends.
func New(t testing.TB) (*Kernel, *os.File) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("cusetest: %v", os.NewSyscallError("socketpair", err))
	}
	for _, fd := range fds {
		// /dev/cuse never makes a server wait in write(2): so neither may the socket. A test that runs without the
		// right to force a larger buffer gets the largest that there is.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<20)
		}
	}
	k := &Kernel{
		conn:    os.NewFile(uintptr(fds[0]), "cusetest"),
		calls:   make(map[uint64]chan answer),
		polling: make(map[uint64]chan struct{}),
		started: make(chan struct{}),
		gone:    make(chan struct{}),
	}
	go k.receive()
	go k.greet()
	t.Cleanup(k.Abort)
	return k, os.NewFile(uintptr(fds[1]), "/dev/cuse")
}

// Abort ends the connection, as a write to abort in sysfs does.
func (k *Kernel) Abort() { k.conn.Close() }

// Name is the DEVNAME that the server gave. It waits for the server's greeting.
func (k *Kernel) Name() string {
	<-k.started
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.name
}

// Waiting is the number of requests that the server has not answered, as in sysfs.
func (k *Kernel) Waiting() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.calls)
}

// Send gives the server a message as it is. It is for messages that a real kernel does not send.
func (k *Kernel) Send(msg []byte) error {
	_, err := k.conn.Write(msg)
	return err
}

// greet sends CUSE_INIT. As in Linux, a device whose server answers it badly does not come up, and nobody is told.
func (k *Kernel) greet() {
	body, err := k.call(context.Background(), opCuseInit, Self(), cuseInitIn{Major: 7, Minor: 38, InFlags: 1})
	if err != nil || len(body) < cuseInitOutSize {
		return
	}
	k.mu.Lock()
	for v := range strings.SplitSeq(string(body[cuseInitOutSize:]), "\x00") {
		if name, ok := strings.CutPrefix(v, "DEVNAME="); ok {
			k.name = name
		}
	}
	k.mu.Unlock()
	close(k.started)
}

// call sends one request and waits for its answer. When ctx ends, the server is told by INTERRUPT, and the wait goes on,
// as a client's does.
func (k *Kernel) call(ctx context.Context, opcode uint32, cred Cred, parts ...any) ([]byte, error) {
	if opcode != opCuseInit {
		select {
		case <-k.started:
		case <-k.gone:
		}
	}
	unique, ch, err := k.begin(opcode, cred, parts...)
	if err != nil {
		return nil, err
	}
	done := ctx.Done()
	for {
		select {
		case <-done:
			done = nil
			if err := k.Send(message(opInterrupt, unique|1, Cred{}, unique)); err != nil {
				return nil, unix.ENOTCONN
			}
		case a, ok := <-ch:
			if !ok {
				return nil, unix.ECONNABORTED
			}
			if a.status != 0 {
				return nil, syscall.Errno(-a.status)
			}
			return a.body, nil
		}
	}
}

// begin sends a request, and gives its number and where its answer will come.
func (k *Kernel) begin(opcode uint32, cred Cred, parts ...any) (unique uint64, ch chan answer, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.calls == nil {
		return 0, nil, unix.ENOTCONN
	}
	k.unique += uniqueStep
	if err := k.Send(message(opcode, k.unique, cred, parts...)); err != nil {
		return 0, nil, unix.ENOTCONN
	}
	ch = make(chan answer, 1)
	k.calls[k.unique] = ch
	return k.unique, ch, nil
}

// woken gives what is closed when the pollers of kh are to look again.
func (k *Kernel) woken(kh uint64) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	ch := k.polling[kh]
	if ch == nil {
		ch = make(chan struct{})
		if k.polling == nil {
			close(ch)
		} else {
			k.polling[kh] = ch
		}
	}
	return ch
}

// message is one request: its header, and the structs and bytes behind it.
func message(opcode uint32, unique uint64, cred Cred, parts ...any) []byte {
	var body bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&body, binary.NativeEndian, p); err != nil {
			panic(err) // parts have fixed sizes
		}
	}
	h := fuse.InHeader{Opcode: opcode, Unique: unique}
	h.Length = uint32(binary.Size(h) + body.Len())
	h.Uid, h.Gid, h.Pid = cred.UID, cred.GID, cred.PID
	var msg bytes.Buffer
	_ = binary.Write(&msg, binary.NativeEndian, h)
	return append(msg.Bytes(), body.Bytes()...)
}

// receive takes the server's messages until it closes its end.
func (k *Kernel) receive() {
	buf := make([]byte, maxMessage)
	for {
		n, err := k.conn.Read(buf)
		if err != nil {
			break
		}
		k.take(buf[:n])
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, ch := range k.calls {
		close(ch)
	}
	for _, ch := range k.polling {
		close(ch)
	}
	k.calls, k.polling = nil, nil
	close(k.gone)
}

// take delivers one message of the server. One that answers no request is dropped, where Linux tells the server ENOENT.
func (k *Kernel) take(msg []byte) {
	var h fuse.OutHeader
	if err := binary.Read(bytes.NewReader(msg), binary.NativeEndian, &h); err != nil || int(h.Length) != len(msg) {
		panic(fmt.Sprintf("cusetest: the server sent a message that Linux refuses: % x", msg))
	}
	body := bytes.Clone(msg[binary.Size(h):])
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.Unique == 0 {
		if h.Status == notifyPoll && len(body) == 8 {
			kh := binary.NativeEndian.Uint64(body)
			if ch := k.polling[kh]; ch != nil {
				close(ch)
				delete(k.polling, kh)
			}
		}
		return
	}
	if ch := k.calls[h.Unique]; ch != nil {
		delete(k.calls, h.Unique)
		ch <- answer{h.Status, body}
	}
}

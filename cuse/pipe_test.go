package cuse_test

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
)

// A pipe is an open file that a test puts bytes into. It is what the tests here serve.
type pipe struct {
	*cuse.Handle

	mu      sync.Mutex
	data    []byte
	err     error // what Read answers when there is no data; nil: nothing yet
	told    []string
	starved int           // how often Read had nothing
	polls   int           // how often Poll was called
	closes  int           // how often Close was called
	closing chan struct{} // Close waits for it, if it is not nil
}

func (p *pipe) put(data string) {
	p.mu.Lock()
	p.data = append(p.data, data...)
	p.mu.Unlock()
	p.Wake()
}

// end has Read answer err behind the data.
func (p *pipe) end(err error) {
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.Wake()
}

// tell notes what a client did.
func (p *pipe) tell(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, what)
}

// count gives one of the counters.
func (p *pipe) count(of *int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *of
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closes > 0:
		panic("a closed file is read")
	case len(p.data) == 0 && p.err != nil:
		return 0, p.err
	case len(p.data) == 0:
		p.starved++
		return 0, cuse.ErrWouldBlock
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

// Write takes anything but "bad", and "half-half" only in half.
func (p *pipe) Write(b []byte) (int, error) {
	switch string(b) {
	case "bad":
		return 0, unix.EINVAL
	case "half-half":
		b = b[:4]
	}
	p.tell("write " + show(b))
	return len(b), nil
}

func (p *pipe) Poll() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls++
	switch {
	case p.closes > 0:
		panic("a closed file is polled")
	case p.err != nil && p.err != io.EOF:
		return unix.POLLHUP | unix.POLLERR
	case len(p.data) > 0 || p.err == io.EOF:
		return unix.POLLIN | unix.POLLOUT
	}
	return unix.POLLOUT
}

func (p *pipe) Close() error {
	p.mu.Lock()
	closing := p.closing
	p.mu.Unlock()
	if closing != nil {
		<-closing
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closes++
	return nil
}

// A pipe's ioctls, by the names that they have in the cases.
var ioctls = []struct {
	name    string
	in, out int
	do      func(ctx context.Context, c *cuse.Ioctl) (int, error)
}{
	{"value", 0, 0, func(_ context.Context, c *cuse.Ioctl) (int, error) { return int(c.Arg), nil }},
	{"get", 0, 4, func(_ context.Context, c *cuse.Ioctl) (int, error) { return copy(c.Out, "pong"), nil }},
	{"set", 4, 0, func(context.Context, *cuse.Ioctl) (int, error) { return 0, nil }},
	{"turn", 8, 8, func(_ context.Context, c *cuse.Ioctl) (int, error) {
		binary.BigEndian.PutUint64(c.Out, binary.LittleEndian.Uint64(c.In))
		return 0, nil
	}},
	{"widen", 2, 6, func(_ context.Context, c *cuse.Ioctl) (int, error) {
		return copy(c.Out, string(c.In)+string(c.In)+string(c.In)), nil
	}},
	{"refuse", 4, 4, func(_ context.Context, c *cuse.Ioctl) (int, error) {
		copy(c.Out, "lost")
		return 0, unix.EBUSY
	}},
	{"page", 0, 4096, func(_ context.Context, c *cuse.Ioctl) (int, error) { return copy(c.Out, pattern(0, 4096)), nil }},
	{"beyond", 0, 4097, nil},
	{"wait", 0, 0, func(ctx context.Context, _ *cuse.Ioctl) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}},
}

const firstIoctl = 0x4b80

// ioctlNumber gives an ioctl's number; that of an unknown name is unknown to the pipe as well.
func ioctlNumber(name string) uint32 {
	for i, call := range ioctls {
		if call.name == name {
			return firstIoctl + uint32(i)
		}
	}
	return firstIoctl - 1
}

func (p *pipe) IoctlSize(cmd uint32) (in, out int, ok bool) {
	if i := int(cmd) - firstIoctl; i >= 0 && i < len(ioctls) {
		return ioctls[i].in, ioctls[i].out, true
	}
	return 0, 0, false
}

func (p *pipe) Ioctl(ctx context.Context, c *cuse.Ioctl) (int, error) {
	call := ioctls[c.Cmd-firstIoctl]
	what := "ioctl " + call.name
	if len(c.In) > 0 {
		what += " " + show(c.In)
	}
	p.tell(what)
	return call.do(ctx, c)
}

// A server makes a pipe of each open(2).
type server struct {
	pipes chan *pipe

	mu     sync.Mutex
	answer string // to opens: "" for a file, "wait", "plain" for a file that is no more than a File, or an errno
}

func newServer() *server { return &server{pipes: make(chan *pipe, 16)} }

func (s *server) open(ctx context.Context, h *cuse.Handle) (cuse.File, error) {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	p := &pipe{Handle: h}
	switch answer {
	case "":
		s.pipes <- p
		return p, nil
	case "plain":
		s.pipes <- p
		return struct{ cuse.File }{p}, nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, errnoOf(answer)
}

func (s *server) answerWith(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

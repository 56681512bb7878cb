package cuse_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// A kernel has one device, and clients that use it: Linux, or cusetest.
type kernel interface {
	open(ctx context.Context, flags int) (client, error)
	waiting() int // requests that are not answered
	// hasRead tells if a read(2) that may wait has come to the server since then: it is counted before it is in the queue.
	hasRead(since time.Time) bool
}

// A client has the device open. When a call's ctx ends, the thread that is in it gets a signal.
type client interface {
	Read(ctx context.Context, p []byte) (int, error)
	Write(p []byte) (int, error)
	Poll(ctx context.Context, events uint32) (uint32, error)
	PollNow(events uint32) uint32
	Ioctl(ctx context.Context, cmd uint32, arg uint64) (int, error)
	IoctlPtr(cmd uint32, p []byte) (int, error)
	SetNonblock(on bool)
	Close() error
}

// A script is a test as text, one step a line, that goes the same way whatever the kernel is. A step is
//
//	call => result          a call and what it returns
//	a: call                 a call in a thread of its own, named a; the script goes on when it waits
//	a => result             what thread a's call returns
//	signal a                interrupts it
//	put TEXT, end ERROR     gives the client data, or an end of the data (EOF or an errno)
//	opens ANSWER            what opens are answered with from now on: see server
//	told => THINGS          what the file was told to do since the last time
//
// Calls are open, read, write, poll, look (poll without waiting), ioctl, fionbio, nonblock and close. Data is a word, or #N
// for N bytes, each different from its neighbours, that go on where the last #N ended.
type script struct {
	kernel  kernel
	server  *server
	file    client
	pipe    *pipe              // the file's other end
	threads map[string]*thread // those that have names
	calls   []*thread          // those that are not joined
	sent    int                // how much of the endless pattern the client was given
	got     int                // and how much of it has been read
}

// A thread is a call under way.
type thread struct {
	polls  bool // it is in poll
	result chan string
	signal context.CancelFunc
}

func newScript(k kernel, s *server) *script {
	return &script{kernel: k, server: s, threads: make(map[string]*thread)}
}

func runScript(t *testing.T, k kernel, s *server, text string) {
	t.Helper()
	r := newScript(k, s)
	r.run(t, strings.Split(strings.TrimSpace(text), "\n")...)
	if r.file != nil {
		r.join(t, r.start(t, []string{"close"}))
	}
	machine.WaitUntil(t, "no request is left unanswered", func() bool { return k.waiting() == 0 })
	for _, p := range append(s.drain(), r.pipe) {
		if p != nil && p.count(&p.closes) != 1 {
			t.Errorf("the file was closed %d times", p.count(&p.closes))
		}
	}
}

func (r *script) run(t *testing.T, steps ...string) {
	t.Helper()
	for _, line := range steps {
		step, want, _ := strings.Cut(line, " =>")
		if got := r.step(t, strings.Fields(step)); got != strings.TrimSpace(want) {
			t.Fatalf("%s\nreturns %s", strings.TrimSpace(line), got)
		}
	}
}

// step carries out one line, and returns what it returns.
func (r *script) step(t *testing.T, words []string) string {
	t.Helper()
	name, inBackground := strings.CutSuffix(words[0], ":")
	switch {
	case inBackground:
		r.threads[name] = r.start(t, words[1:])
		return ""
	case r.threads[words[0]] != nil:
		return r.join(t, r.threads[words[0]])
	}
	switch words[0] {
	case "signal":
		r.threads[words[1]].signal()
	case "put":
		r.pipe.put(r.data(words[1], &r.sent))
	case "end":
		r.pipe.end(errnoOf(words[1]))
	case "opens":
		r.server.answerWith(strings.Join(words[1:], " "))
	case "told":
		r.pipe.mu.Lock()
		defer r.pipe.mu.Unlock()
		told := strings.Join(r.pipe.told, ", ")
		r.pipe.told = nil
		return told
	default:
		return r.join(t, r.start(t, words))
	}
	return ""
}

// start makes a call in a goroutine of its own, and returns when it waits or is done.
func (r *script) start(t *testing.T, words []string) *thread {
	t.Helper()
	ctx, signal := context.WithCancel(t.Context())
	th := &thread{polls: words[0] == "poll", result: make(chan string, 1), signal: signal}
	r.calls = append(r.calls, th)
	polls, begin := r.polls(), time.Now()
	go func() { th.result <- r.call(ctx, words) }()
	machine.WaitUntil(t, fmt.Sprint(words, " waits"), func() bool {
		if th.polls && len(th.result) == 0 && r.polls() == polls {
			return false
		}
		if words[0] == "read" && len(th.result) == 0 && !r.kernel.hasRead(begin) {
			return false
		}
		return r.kernel.waiting() == r.unanswered()
	})
	return th
}

// unanswered is the number of requests that calls wait for. Poll waits in the kernel alone, once it has its first answer.
func (r *script) unanswered() (n int) {
	for _, th := range r.calls {
		if len(th.result) == 0 && !th.polls {
			n++
		}
	}
	return n
}

func (r *script) polls() int {
	if r.pipe == nil {
		return 0
	}
	return r.pipe.count(&r.pipe.polls)
}

func (r *script) join(t *testing.T, th *thread) (result string) {
	t.Helper()
	machine.WaitUntil(t, "the call returns", func() bool { return len(th.result) > 0 })
	th.signal()
	r.calls = slices.DeleteFunc(r.calls, func(c *thread) bool { return c == th })
	return <-th.result
}

// call is what a client's thread does.
func (r *script) call(ctx context.Context, words []string) string {
	arg := strings.Join(words[1:], " ")
	switch words[0] {
	case "open":
		return r.open(ctx, arg)
	case "read":
		b := make([]byte, atoi(arg))
		n, err := r.file.Read(ctx, b)
		return result(r.shown(b[:max(n, 0)]), err)
	case "write":
		var written int
		n, err := r.file.Write([]byte(r.data(arg, &written)))
		return result(strconv.Itoa(n), err)
	case "poll":
		events, err := r.file.Poll(ctx, eventsOf(arg))
		return result(eventNames(events), err)
	case "look":
		return eventNames(r.file.PollNow(eventsOf(arg)))
	case "nonblock":
		r.file.SetNonblock(arg == "on")
		return ""
	case "fionbio":
		_, err := r.file.IoctlPtr(0x5421, binary.NativeEndian.AppendUint32(nil, uint32(atoi(arg))))
		return result("", err)
	case "ioctl":
		return r.ioctl(ctx, words[1], words[2])
	case "close":
		err := r.file.Close()
		r.file = nil
		return result("", err)
	}
	panic("no such call: " + words[0])
}

// open opens the file with the flags that are named, and tells those that the server has got.
func (r *script) open(ctx context.Context, names string) string {
	flags := 0
	for name := range strings.FieldsSeq(names) {
		flags |= openFlags[name]
	}
	f, err := r.kernel.open(ctx, flags)
	if err != nil {
		return result("", err)
	}
	r.file, r.pipe = f, <-r.server.pipes
	return fmt.Sprintf("%#x", r.pipe.Flags)
}

// ioctl makes an ioctl with a number, or with a "text" that stands in memory; then it tells what stands there afterwards.
func (r *script) ioctl(ctx context.Context, name, arg string) string {
	if number, err := strconv.ParseUint(arg, 0, 64); err == nil {
		n, err := r.file.Ioctl(ctx, ioctlNumber(name), number)
		return result(strconv.Itoa(n), err)
	}
	var given int
	mem := []byte(r.data(arg, &given))
	n, err := r.file.IoctlPtr(ioctlNumber(name), mem)
	return result(strconv.Itoa(n), err) + " " + show(mem)
}

// data is the bytes that a word stands for; those of #N are from the pattern at *from, which goes on.
func (r *script) data(word string, from *int) string {
	if n, ok := strings.CutPrefix(word, "#"); ok {
		*from += atoi(n)
		return pattern(*from-atoi(n), atoi(n))
	}
	return word
}

// shown is show for what was read: the pattern is told that goes on where it was.
func (r *script) shown(b []byte) string {
	if len(b) > 0 && string(b) == pattern(r.got, len(b)) {
		r.got += len(b)
		return fmt.Sprintf("#%d", len(b))
	}
	return show(b)
}

var openFlags = map[string]int{
	"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR, "nonblock": unix.O_NONBLOCK,
	"excl": unix.O_EXCL, "noctty": unix.O_NOCTTY, "trunc": unix.O_TRUNC, "cloexec": unix.O_CLOEXEC, "append": unix.O_APPEND,
}

var pollEvents = []struct {
	name string
	bit  uint32
}{{"in", unix.POLLIN}, {"out", unix.POLLOUT}, {"pri", unix.POLLPRI}, {"rdnorm", 0x40}, {"err", unix.POLLERR}, {"hup", unix.POLLHUP}}

func eventsOf(names string) (events uint32) {
	for _, e := range pollEvents {
		if slices.Contains(strings.Fields(names), e.name) {
			events |= e.bit
		}
	}
	return events
}

func eventNames(events uint32) string {
	var names []string
	for _, e := range pollEvents {
		if events&e.bit != 0 {
			names = append(names, e.name)
		}
	}
	return strings.Join(names, " ")
}

// result is what a call returns.
func result(value string, err error) string {
	if errno, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(errno)
	}
	if err != nil {
		return err.Error()
	}
	return value
}

// errnoOf is the errno of that name, or io.EOF.
func errnoOf(name string) error {
	if name == "EOF" {
		return io.EOF
	}
	for errno := unix.Errno(1); errno < 200; errno++ {
		if unix.ErrnoName(errno) == name {
			return errno
		}
	}
	panic("no such errno: " + name)
}

// pattern is a part of an endless text in which no two parts are alike for long.
func pattern(from, n int) string {
	b := make([]byte, n)
	for i := range b {
		x := uint32(from+i) * 2654435761
		b[i] = byte(x >> 24)
	}
	return string(b)
}

// show is data as the scripts have it.
func show(b []byte) string {
	if len(b) > 8 && bytes.Equal(b, []byte(pattern(0, len(b)))) {
		return fmt.Sprintf("#%d", len(b))
	}
	return strconv.Quote(string(b))
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// drain gives the pipes that no one took.
func (s *server) drain() (pipes []*pipe) {
	for {
		select {
		case p := <-s.pipes:
			pipes = append(pipes, p)
		default:
			return pipes
		}
	}
}

package cuse_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/test/machine"
)

// What follows only Linux can do: the calls that do not reach a server, and what becomes of a file with several
// descriptors.

// openOnLinux opens a device of Linux in this process.
func openOnLinux(t *testing.T, flags int) (linux, *os.File, *pipe) {
	t.Helper()
	s := newServer()
	l := newLinux(t, s)
	fd, err := unix.Open(l.path(), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), l.path())
	t.Cleanup(func() {
		f.Close()
		idle(t, l)
	})
	return l, f, <-s.pipes
}

// idle waits until every request has been answered.
func idle(t *testing.T, l linux) {
	t.Helper()
	machine.WaitUntil(t, "no request is left unanswered", func() bool { return l.waiting() == 0 })
}

func wantRead(t *testing.T, f *os.File, want string) {
	t.Helper()
	b := make([]byte, 100)
	n, err := f.Read(b)
	if err != nil || string(b[:n]) != want {
		t.Errorf("read(2) = %q, %v; want %q", b[:max(n, 0)], err, want)
	}
}

func wantClosed(t *testing.T, p *pipe, want int) {
	t.Helper()
	if n := p.count(&p.closes); n != want {
		t.Errorf("the file was closed %d times, want %d", n, want)
	}
}

func TestReadvIsOneRead(t *testing.T) {
	_, f, p := openOnLinux(t, unix.O_RDONLY)
	p.put("abcdefgh")
	parts := [][]byte{make([]byte, 3), make([]byte, 4)}
	n, err := unix.Readv(int(f.Fd()), parts)
	if n != 7 || err != nil || string(parts[0])+string(parts[1]) != "abcdefg" {
		t.Errorf("readv(2) = %d, %v, %q", n, err, parts)
	}
	wantRead(t, f, "h")
}

func TestOffsetsMeanNothing(t *testing.T) {
	_, f, p := openOnLinux(t, unix.O_RDWR)
	p.put("abcdef")
	b := make([]byte, 2)
	for _, want := range []string{"ab", "cd"} {
		if n, err := unix.Pread(int(f.Fd()), b, 1000); n != 2 || err != nil || string(b) != want {
			t.Errorf("pread(2) = %d, %v, %q; want %q", n, err, b, want)
		}
	}
	if at, err := unix.Seek(int(f.Fd()), 1000, io.SeekStart); at != 0 || err != nil {
		t.Errorf("lseek(2) = %d, %v; want 0", at, err)
	}
	wantRead(t, f, "ef")
	if n, err := unix.Pwrite(int(f.Fd()), []byte("x"), 1000); n != 1 || err != nil {
		t.Errorf("pwrite(2) = %d, %v", n, err)
	}
}

func TestSelectWaitsForData(t *testing.T) {
	_, f, p := openOnLinux(t, unix.O_RDONLY)
	fd, selected := int(f.Fd()), make(chan string, 1)
	go func() {
		var set unix.FdSet
		n, err := 0, error(nil)
		for n == 0 && err == nil || err == unix.EINTR { // by the runtime's own signals
			set.Zero()
			set.Set(fd)
			n, err = unix.Select(fd+1, &set, nil, nil, nil)
		}
		selected <- fmt.Sprint(n, err, set.IsSet(fd))
	}()
	machine.WaitUntil(t, "select(2) waits", func() bool { return p.count(&p.polls) > 0 })
	p.put("x")
	if got := <-selected; got != "1 <nil> true" {
		t.Errorf("select(2) gives %s", got)
	}
	wantRead(t, f, "x")
}

// An epoll is an epoll descriptor with one file in it.
type epoll struct {
	t        *testing.T
	epfd, fd int
}

func newEpoll(t *testing.T, f *os.File, mode uint32) epoll {
	t.Helper()
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(epfd) })
	e := epoll{t, epfd, int(f.Fd())}
	e.control(unix.EPOLL_CTL_ADD, mode)
	return e
}

func (e epoll) control(op int, mode uint32) {
	e.t.Helper()
	if err := epollCtl(e.epfd, op, e.fd, &unix.EpollEvent{Events: unix.EPOLLIN | mode, Fd: int32(e.fd)}); err != nil {
		e.t.Fatal(err)
	}
}

// want waits for an event, or checks that there is none.
func (e epoll) want(event bool) {
	e.t.Helper()
	events, timeout := make([]unix.EpollEvent, 4), 0
	if event {
		timeout = int(machine.Limit.Milliseconds())
	}
	n, err := unix.EpollWait(e.epfd, events, timeout)
	for err == unix.EINTR {
		n, err = unix.EpollWait(e.epfd, events, timeout)
	}
	if err != nil || (n == 1) != event || event && events[0].Events != unix.EPOLLIN {
		e.t.Errorf("epoll_wait(2) = %d, %v, %#x; want an event: %t", n, err, events[0].Events, event)
	}
}

func TestEpollByLevelTellsWhileThereIsData(t *testing.T) {
	_, f, p := openOnLinux(t, unix.O_RDONLY)
	e := newEpoll(t, f, 0)
	e.want(false)
	p.put("xy")
	e.want(true)
	e.want(true)
	wantRead(t, f, "xy")
	e.want(false)
	p.put("z")
	e.want(true)
}

func TestEpollByEdgeTellsOfAllNewDataOnce(t *testing.T) {
	_, f, p := openOnLinux(t, unix.O_RDONLY)
	e := newEpoll(t, f, unix.EPOLLET)
	e.want(false)
	p.put("x")
	e.want(true)
	e.want(false)
	p.put("y") // behind what was not read yet
	e.want(true)
	e.want(false)
	wantRead(t, f, "xy")
	e.want(false)
	p.put("z")
	e.want(true)
}

func TestEpollOneShotTellsOnceUntilAskedAgain(t *testing.T) {
	_, f, p := openOnLinux(t, unix.O_RDONLY)
	e := newEpoll(t, f, unix.EPOLLONESHOT)
	p.put("x")
	e.want(true)
	p.put("y")
	e.want(false)
	e.control(unix.EPOLL_CTL_MOD, unix.EPOLLONESHOT)
	e.want(true)
	wantRead(t, f, "xy")
	e.control(unix.EPOLL_CTL_MOD, unix.EPOLLONESHOT)
	e.want(false)
	p.put("z")
	e.want(true)
}

func TestFileLivesUntilItsLastDescriptorIsClosed(t *testing.T) {
	t.Run("dup", func(t *testing.T) {
		_, f, p := openOnLinux(t, unix.O_RDONLY)
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		second := os.NewFile(uintptr(fd), "dup")
		f.Close()
		p.put("abc")
		wantRead(t, second, "abc")
		wantClosed(t, p, 0)
		second.Close()
		wantClosed(t, p, 1)
	})
	t.Run("under way in a socket", func(t *testing.T) {
		_, f, p := openOnLinux(t, unix.O_RDONLY)
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(ends[0])
		defer unix.Close(ends[1])
		if err := unix.Sendmsg(ends[0], []byte("a file"), unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
		p.put("abc")
		wantClosed(t, p, 0)
		received := receiveFile(t, ends[1])
		wantRead(t, received, "abc")
		received.Close()
		wantClosed(t, p, 1)
	})
	t.Run("fork", func(t *testing.T) {
		_, f, p := openOnLinux(t, unix.O_RDONLY)
		child, out := startChild(t, "reads-3", f)
		p.put("abc")
		machine.WaitUntil(t, "the child waits for more", func() bool { return p.count(&p.starved) > 0 })
		wantClosed(t, p, 0)
		p.end(io.EOF)
		if err := child.Wait(); err != nil || out.String() != "abc" {
			t.Errorf("the child read %q: %v", out, err)
		}
		wantClosed(t, p, 1)
	})
}

func receiveFile(t *testing.T, socket int) *os.File {
	t.Helper()
	b, oob := make([]byte, 10), make([]byte, 100)
	_, n, _, _, err := unix.Recvmsg(socket, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "received")
}

func TestKilledReaderIsReapedWithoutDataComing(t *testing.T) {
	s := newServer()
	l := newLinux(t, s)
	child, _ := startChild(t, "reads-"+l.path(), nil)
	p := <-s.pipes
	machine.WaitUntil(t, "its read waits", func() bool { return p.count(&p.starved) > 0 && l.waiting() == 1 })
	child.Process.Kill()
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the reader ended with %v", err)
	}
	wantClosed(t, p, 1)
	idle(t, l)
}

func TestStoppedReaderLosesNothing(t *testing.T) {
	s := newServer()
	l := newLinux(t, s)
	child, out := startChild(t, "reads-"+l.path(), nil)
	p := <-s.pipes
	machine.WaitUntil(t, "its read waits", func() bool { return p.count(&p.starved) == 1 })
	child.Process.Signal(unix.SIGSTOP)
	idle(t, l) // its read has been answered, with EINTR
	p.put("abc")
	child.Process.Signal(unix.SIGCONT)
	machine.WaitUntil(t, "it waits for more", func() bool { return p.count(&p.starved) == 2 })
	p.end(io.EOF)
	if err := child.Wait(); err != nil || out.String() != "abc" {
		t.Errorf("the reader read %q: %v", out, err)
	}
	wantClosed(t, p, 1)
}

func TestNodeGoesWithTheDevice(t *testing.T) {
	s := newServer()
	machine.Require(t)
	for range 3 {
		dev, err := cuse.Create("cusetest1", s.open)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/dev/cusetest1"); err != nil {
			t.Error(err)
		}
		served := make(chan error)
		go func() { served <- dev.Serve() }()
		dev.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat("/dev/cusetest1"); err == nil {
			t.Error("the node is still there")
		}
	}
}

// startChild starts this program again, as a program that reads; see childMain.
func startChild(t *testing.T, what string, file *os.File) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child, out := exec.Command(self), new(strings.Builder)
	child.Env = append(os.Environ(), "CUSE_TEST_CHILD="+what)
	child.Stdout, child.Stderr = out, os.Stderr
	if file != nil {
		child.ExtraFiles = []*os.File{file}
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill() })
	if file != nil {
		file.Close()
	}
	return child, out
}

func TestMain(m *testing.M) {
	if what := os.Getenv("CUSE_TEST_CHILD"); what != "" {
		childMain(what)
		return
	}
	os.Exit(m.Run())
}

// childMain reads a file, or the inherited descriptor 3, to its end and writes that to standard output. It waits in
// read(2); an os.File would wait in epoll.
func childMain(what string) {
	fd := 3
	if name := strings.TrimPrefix(what, "reads-"); name != "3" {
		var err error
		if fd, err = unix.Open(name, unix.O_RDONLY, 0); err != nil {
			panic(err)
		}
	}
	b := make([]byte, 100)
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			panic(err)
		case n == 0:
			return
		}
		os.Stdout.Write(b[:max(n, 0)])
	}
}

// epollCtl is epoll_ctl(2), which asks the device's poll and so waits for its server, which is this process. The runtime
// must be told of a call that waits; unix.EpollCtl does not tell it, and a collection that begins meanwhile never ends.
func epollCtl(epfd, op, fd int, event *unix.EpollEvent) error {
	_, _, errno := unix.Syscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(event)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

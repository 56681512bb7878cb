package test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestConsoleIsMutedUntilTheLastReferenceIsGone(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	for _, test := range []struct {
		name string
		// hold makes another reference to the open file and returns what ends it.
		hold func(t testing.TB, fd int) (end func())
	}{
		{"dup", holdByDup},
		{"fork", holdByChild},
		{"socket", holdInSocket},
	} {
		withAndWithoutSecond(t, test.name, func(s *scene) {
			d := openDescriptor(s.t, os.O_RDONLY)
			end := test.hold(s.t, d.fd)
			s.types("a", "1e 9e")
			d.wantRead(1, "1e")
			d.wantRead(1, "9e")
			d.close()
			s.types("mute", "32 b2 16 96 14 94 12 92")
			wantScreen(s.t, s.tty, "")
			end()
			s.wantConsole()
		})
	}
}

func holdByDup(t testing.TB, fd int) (end func()) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return func() { unix.Close(dup) }
}

// holdByChild has a child process inherit the descriptor.
func holdByChild(t testing.TB, fd int) (end func()) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(dup), kbd0)
	defer f.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// holdInSocket sends the descriptor through a socket, and receives it at the end.
func holdInSocket(t testing.TB, fd int) (end func()) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fd), nil, 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[0])
	return func() {
		defer unix.Close(pair[1])
		control := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Fatal(err)
		}
		(&descriptor{t, fds[0]}).wantRead(256, "32 b2 16 96 14 94 12 92") // what was typed meanwhile
		unix.Close(fds[0])
	}
}

func TestWriteOnlyFileTakesCommandsAndCallsAlone(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "O_WRONLY", func(s *scene) {
		d := openDescriptor(s.t, os.O_WRONLY)
		if got, err := d.read(1); err != unix.EBADF {
			s.t.Errorf("read %q, %v; want EBADF", got, err)
		}
		// Nothing that it does mutes the console, or another reader.
		for _, mode := range []int{modeUnicode, modeMediumRaw, modeOff, modeRaw} {
			if err := unix.IoctlSetInt(d.fd, KDSKBMODE, mode); err != nil {
				s.t.Errorf("KDSKBMODE %d: %v", mode, err)
			}
			s.types("x", "2d ad")
			if s.second == nil {
				wantScreen(s.t, s.tty, "x")
			}
			s.tty.Clear()
		}
		if n, err := unix.Write(d.fd, []byte{0xee, 0xee}); n != 2 || err != nil {
			s.t.Errorf("write: %d, %v", n, err)
		}
		d.close()
		s.wantConsole()
	})
}

func TestReadOnlyFileTakesNoCommands(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "O_RDONLY", func(s *scene) {
		d := openDescriptor(s.t, os.O_RDONLY)
		if _, err := unix.Write(d.fd, []byte{0xee}); err != unix.EBADF {
			s.t.Errorf("write: %v, want EBADF", err)
		}
		if err := unix.IoctlSetInt(d.fd, KDSKBMODE, modeMediumRaw); err != nil {
			s.t.Errorf("KDSKBMODE: %v", err)
		}
		s.types("a", "1e 9e")
		d.wantRead(1, "1e")
		wantScreen(s.t, s.tty, "")
		d.close()
		s.wantConsole()
	})
}

func TestReadWriteFileDoesBoth(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	withAndWithoutSecond(t, "O_RDWR", func(s *scene) {
		d := openDescriptor(s.t, os.O_RDWR)
		s.keyboard.Press(machine.KeyA)
		d.wantRead(1, "1e")
		if n, err := unix.Write(d.fd, []byte{0xf2}); n != 1 || err != nil {
			s.t.Fatalf("write: %d, %v", n, err)
		}
		d.wantRead(256, "fa ab 83")
		s.keyboard.Release(machine.KeyA)
		d.wantRead(1, "9e")
		s.hears("1e 9e")
		wantScreen(s.t, s.tty, "")
		d.close()
		s.wantConsole()
	})
}

// asUser runs f in a thread whose rights to files are those of a user. The device goes by the same.
func asUser(uid int, f func()) {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		unix.Setfsuid(uid)
		f()
	}()
	<-done
}

// openMany opens the device for a user as often as it can, up to n times, and tells why it cannot more often.
func openMany(uid, n int) (fds []int, err error) {
	asUser(uid, func() {
		for len(fds) < n && err == nil {
			var fd int
			fd, err = uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
			if err == nil {
				fds = append(fds, fd)
			}
		}
	})
	return fds, err
}

// tryOpen opens and closes the device for a user.
func tryOpen(uid int) error {
	fds, err := openMany(uid, 1)
	for _, fd := range fds {
		unix.Close(fd)
	}
	return err
}

// letAllOpen lets any user open the device, and checks that it takes that.
func letAllOpen(t testing.TB) {
	t.Helper()
	if err := tryOpen(someone); err != unix.EACCES {
		t.Errorf("open by a user without the right: %v, want EACCES", err)
	}
	if err := os.Chmod(kbd0, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := tryOpen(someone); err != nil {
		t.Errorf("open by a user: %v", err)
	}
}

// someone is a user with no rights of his own.
const someone = 1000

func TestExclusiveFileIsTheOnlyOne(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	letAllOpen(t)
	d := openDescriptor(t, os.O_RDONLY)
	call := func(d *descriptor, request uint) error { return unix.IoctlSetInt(d.fd, request, 0) }
	wantExclusive := func(d *descriptor, want int) {
		t.Helper()
		if got, err := unix.IoctlGetInt(d.fd, unix.TIOCGEXCL); got != want || err != nil {
			t.Errorf("TIOCGEXCL: %d, %v; want %d", got, err, want)
		}
	}
	wantExclusive(d, 0)

	other := openDescriptor(t, os.O_RDONLY)
	if err := call(d, unix.TIOCEXCL); err != unix.EBUSY {
		t.Errorf("TIOCEXCL with another file open: %v, want EBUSY", err)
	}
	wantExclusive(d, 0)
	other.close()
	for range 2 { // it is no error to have it already
		if err := call(d, unix.TIOCEXCL); err != nil {
			t.Fatalf("TIOCEXCL: %v", err)
		}
	}
	wantExclusive(d, 1)
	if err := tryOpen(someone); err != unix.EBUSY {
		t.Errorf("another user's open: %v, want EBUSY", err)
	}

	// As on a terminal, root comes in, and sees what it is.
	other = openDescriptor(t, os.O_RDONLY)
	wantExclusive(other, 1)
	other.close()

	if err := call(d, unix.TIOCNXCL); err != nil {
		t.Fatalf("TIOCNXCL: %v", err)
	}
	wantExclusive(d, 0)
	if err := tryOpen(someone); err != nil {
		t.Errorf("another user's open after TIOCNXCL: %v", err)
	}

	if err := call(d, unix.TIOCEXCL); err != nil {
		t.Fatalf("TIOCEXCL: %v", err)
	}
	d.close()
	if err := tryOpen(someone); err != nil {
		t.Errorf("another user's open after the close: %v", err)
	}
}

func TestExclusiveFileIsFreeWhenItsHolderIsKilled(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	letAllOpen(t)
	holder := startNursery(t).start(t, callNamed("TIOCEXCL"), oneCall)
	holder.goOn()
	holder.waitStopped("the process has the device for itself")
	if err := tryOpen(someone); err != unix.EBUSY {
		t.Errorf("another user's open: %v, want EBUSY", err)
	}
	holder.kill()
	if err := tryOpen(someone); err != nil {
		t.Errorf("another user's open when the holder is reaped: %v", err)
	}
}

func TestOpenFilesAreLimited(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	for _, test := range []struct {
		name  string
		uid   int
		limit int
		err   error
		says  string
	}{
		{"of a user", someone, 64, unix.EMFILE, "user has device open too often"},
		{"in all", 0, 256, unix.EBUSY, "device is open too often"},
	} {
		t.Run(test.name, func(t *testing.T) {
			kbdd := startKbdd(t)
			letAllOpen(t)
			fds, err := openMany(test.uid, test.limit)
			if err != nil {
				t.Fatalf("open number %d: %v", len(fds)+1, err)
			}
			for range 3 {
				if err := tryOpen(test.uid); !errors.Is(err, test.err) {
					t.Errorf("open number %d: %v, want %v", test.limit+1, err, test.err)
				}
			}
			awaitSaid(t, kbdd, test.says)
			if test.uid != 0 {
				openDescriptor(t, os.O_RDONLY).close() // the others' share is left
			}
			keyboard.Type("x")
			wantScreen(t, tty, "")
			for _, fd := range fds {
				unix.Close(fd)
			}
			if err := tryOpen(test.uid); err != nil {
				t.Errorf("open after all were closed: %v", err)
			}
			keyboard.Type("x")
			wantScreen(t, tty, "x")
			tty.Clear()
			if said := strings.Count(kbdd.said(), test.says); said != 1 {
				t.Errorf("kbdd says so %d times, want once", said)
			}
		})
	}
}

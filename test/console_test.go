package test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// wantScreen checks what tty1 shows.
func wantScreen(t testing.TB, tty *machine.Console, want string) {
	t.Helper()
	if got := tty.Text(); got != want {
		t.Fatalf("tty1 shows %q, want %q", got, want)
	}
}

func TestConsoleIsMutedExactlyWhileOpen(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)

	keyboard.Type("hello")
	wantScreen(t, tty, "hello")

	f := open(t, os.O_RDONLY)
	keyboard.Type("hello")
	f.want("23 a3 12 92 26 a6 26 a6 18 98")
	wantScreen(t, tty, "hello")

	f.close()
	keyboard.Type("x")
	wantScreen(t, tty, "hellox")
}

func TestConsoleTypesAfterReaderIsKilled(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)

	for i := range 50 {
		r := startReader(t)
		keyboard.Type("h")
		r.want("23 a3")
		wantScreen(t, tty, "")
		// It dies at another point of its work each time: with keys unread, or none, or while it reads them.
		keyboard.Type("quick"[:i%6])
		r.kill()
		keyboard.Type("x")
		wantScreen(t, tty, "x")
		tty.Clear()
	}
}

func TestConsoleTypesAfterKbddIsKilled(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	kbdd := startKbdd(t)
	r := startReader(t)
	keyboard.Type("h")
	r.want("23 a3")

	kbdd.end(syscall.SIGKILL)
	if line := r.line(); !strings.HasPrefix(line, "read:") {
		t.Errorf("the reader got %q, want an error", line)
	}
	keyboard.Type("alive")
	wantScreen(t, tty, "alive")

	startKbdd(t)
	f := open(t, os.O_RDONLY)
	keyboard.Type("h")
	f.want("23 a3")
	f.close()
	keyboard.Type("!")
	wantScreen(t, tty, "alive!")
}

func TestKbddEndsInOrder(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		kbdd := startKbdd(t)
		r := startReader(t)
		if err := kbdd.end(sig); err != nil {
			t.Errorf("after %v kbdd ends with %v", sig, err)
		}
		if line := r.line(); !strings.HasPrefix(line, "read:") {
			t.Errorf("the reader got %q, want an error", line)
		}
		if _, err := os.Lstat(kbd0); !os.IsNotExist(err) {
			t.Errorf("%s after %v: %v", kbd0, sig, err)
		}
		keyboard.Type("x")
		wantScreen(t, tty, "x")
		tty.Clear()
	}
}

func TestKeyHeldAtTheOpenIsTheConsoles(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)

	// Released in time: open(2) waits for it.
	keyboard.Type("$ reader")
	keyboard.Press(machine.KeyEnter)
	opened := make(chan *file)
	go func() { opened <- open(t, os.O_RDONLY) }()
	machine.WaitUntil(t, "the node is looked at", func() bool { return nodeIsOpen(t, keyboard.Node()) })
	keyboard.Release(machine.KeyEnter)
	f := <-opened
	keyboard.Type("a")
	f.want("1e 9e")
	f.close()
	keyboard.Type("b")
	wantScreen(t, tty, "$ reader\nb")

	// Held on: the console is told of a release, and the reader of nothing.
	keyboard.Press(machine.KeyLeftShift)
	f = open(t, os.O_RDONLY)
	keyboard.Type("c")
	keyboard.Release(machine.KeyLeftShift)
	keyboard.Type("d")
	f.want("2e ae 20 a0")
	f.close()
	keyboard.Type("e")
	wantScreen(t, tty, "$ reader\nbe")
}

func TestKeyHeldAtTheCloseDoesNotReachTheConsole(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)

	// Released in time: close(2) waits for it.
	f := open(t, os.O_RDONLY)
	keyboard.Press(machine.KeyA)
	f.want("1e")
	closed := make(chan error)
	go func() { closed <- f.Close() }()
	keyboard.Press(machine.KeyA) // its repeat
	keyboard.Release(machine.KeyA)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	keyboard.Type("b")
	wantScreen(t, tty, "b")

	// Held on, with repeats for longer than close(2) waits.
	f = open(t, os.O_RDONLY)
	keyboard.Press(machine.KeyA)
	f.want("1e")
	go func() { closed <- f.Close() }()
	for over := false; !over; {
		keyboard.Press(machine.KeyA)
		select {
		case err := <-closed:
			if err != nil {
				t.Fatal(err)
			}
			over = true
		default:
		}
	}
	keyboard.Press(machine.KeyA)
	keyboard.Release(machine.KeyA)
	machine.WaitUntil(t, "the keyboard is given back", func() bool { return !nodeIsOpen(t, keyboard.Node()) })
	keyboard.Type("c")
	wantScreen(t, tty, "bc")
}

func TestTwoReadersGetEverything(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)

	first := open(t, os.O_RDONLY)
	keyboard.Press(machine.KeyLeftShift)
	first.want("2a")
	second := open(t, os.O_RDONLY)
	keyboard.Type("a")
	keyboard.Release(machine.KeyLeftShift)
	first.want("1e 9e aa")
	second.want("1e 9e") // Shift was down before

	first.close()
	keyboard.Type("b")
	second.want("30 b0")
	wantScreen(t, tty, "")
	second.close()
	keyboard.Type("c")
	wantScreen(t, tty, "c")
}

func TestWriteOnlyOpenMutesNothing(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	f := open(t, os.O_WRONLY)
	keyboard.Type("a")
	wantScreen(t, tty, "a")
	f.close()
}

func TestIdleKbddHasNoKeyboardOpen(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)
	startKbdd(t)
	if nodeIsOpen(t, keyboard.Node()) {
		t.Error("kbdd has the keyboard's node open though nobody reads")
	}
	f := open(t, os.O_RDONLY)
	if !nodeIsOpen(t, keyboard.Node()) {
		t.Error("the test does not see that kbdd has the keyboard's node open")
	}
	f.close()
	if nodeIsOpen(t, keyboard.Node()) {
		t.Error("kbdd has the keyboard's node open after the last close(2)")
	}
}

// TestAllKeyboardsAreOne types on two keyboards that were there when kbdd started.
func TestAllKeyboardsAreOne(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	other := machine.NewUinput(t, machine.UinputConfig{Name: "second keyboard"})
	startKbdd(t)
	f := open(t, unix.O_RDONLY)

	// Each keyboard has a thread of its own: what one brings is in order, what two bring is so once it was read.
	keyboard.Press(machine.KeyLeftShift)
	f.want("2a")
	other.Press(machine.KeyLeftShift)
	other.Type("a")
	f.want("1e 9e")
	keyboard.Release(machine.KeyLeftShift)
	keyboard.Type("b")
	f.want("30 b0")
	other.Release(machine.KeyLeftShift)
	f.want("aa")
	wantScreen(t, tty, "")
	f.close()
	other.Type("c")
	keyboard.Type("d")
	wantScreen(t, tty, "cd")
}

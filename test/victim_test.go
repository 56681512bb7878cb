package test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kbdd/test/machine"
)

// A victim is a process that is killed.
type victim struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // that it prints
}

// startVictim starts a process. Its standard input, if there is no other, has no end.
func startVictim(t testing.TB, cmd *exec.Cmd) *victim {
	t.Helper()
	v := &victim{t: t, cmd: cmd, lines: make(chan string)}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Stdin == nil {
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	go func() {
		defer close(v.lines)
		s := bufio.NewScanner(out)
		for s.Buffer(nil, 4<<20); s.Scan(); {
			v.lines <- s.Text()
		}
	}()
	return v
}

func (v *victim) wantLine(want string) {
	v.t.Helper()
	if line := result(v.t, v.lines); line != want {
		v.t.Fatalf("the process says %q, want %q", line, want)
	}
}

// kill ends the process with SIGKILL, and returns when it is reaped, for which it needs no key.
func (v *victim) kill() {
	v.t.Helper()
	v.cmd.Process.Kill()
	dead := make(chan error, 1)
	go func() { dead <- v.cmd.Wait() }()
	select {
	case <-dead:
	case <-time.After(machine.Limit):
		v.t.Fatalf("%s was killed, and is not reaped", v.cmd)
	}
}

// A scene is where processes are killed.
type scene struct {
	t        testing.TB
	tty      *machine.Console
	keyboard *machine.Keyboard
	second   *descriptor // another reader, or nil
}

// withAndWithoutSecond plays a scene alone, and with a second reader.
func withAndWithoutSecond(t *testing.T, name string, play func(s *scene)) {
	t.Run(name, func(t *testing.T) {
		play(&scene{t: t, tty: machine.OpenConsole(t, 1), keyboard: machine.PS2(t)})
	})
	t.Run(name+", with a second reader", func(t *testing.T) {
		play(&scene{t, machine.OpenConsole(t, 1), machine.PS2(t), openDescriptor(t, os.O_RDWR)})
	})
}

// types types a text, of which the console hears nothing, and the second reader, if there is one, everything: codes.
func (s *scene) types(text, codes string) {
	s.t.Helper()
	s.keyboard.Type(text)
	s.hears(codes)
}

// hears checks that the second reader, if there is one, has heard all that was typed since it was asked last, and the console
// nothing.
func (s *scene) hears(codes string) {
	s.t.Helper()
	if s.second == nil {
		return
	}
	for b := range strings.FieldsSeq(codes) {
		s.second.wantRead(1, b)
	}
	wantScreen(s.t, s.tty, "")
}

// A mortal is a process that can be killed with SIGKILL, and is reaped when kill returns, for which it needs no key.
type mortal interface{ kill() }

// kill kills the process, which has the only file but the second reader's.
func (s *scene) kill(v mortal) {
	s.t.Helper()
	v.kill()
	s.wantConsole()
}

// wantConsole checks that the second reader is none the wiser when the other file is gone, and that the console types at once
// when there is no reader.
func (s *scene) wantConsole() {
	s.t.Helper()
	if s.second != nil {
		s.types("a", "1e 9e")
		s.second.close()
	}
	s.keyboard.Type("x")
	wantScreen(s.t, s.tty, "x")
	s.tty.Clear()
	machine.WaitUntil(s.t, "no LED is lit", func() bool { return s.keyboard.LEDs() == 0 })
	if s.second != nil {
		s.second = openDescriptor(s.t, os.O_RDWR)
	}
}

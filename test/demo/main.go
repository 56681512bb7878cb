// Command demo shows what kbdd does, step by step, in the QEMU machine. Each step is checked; the exit status is 0, and
// the last line "demo: ok", if all of them held. "make demo" runs it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

const device = "/dev/kbd0"

func main() {
	t := &stage{}
	defer t.end()
	play(t)
	t.held = true
}

// play is the demo.
func play(t *stage) {
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	var name unix.Utsname
	unix.Uname(&name)
	t.step("A PC with a PS/2 keyboard, and Linux %s on it.", unix.ByteSliceToString(name.Release[:]))

	t.step("kbdd is started: it makes %s.", device)
	kbdd := t.start("ready", "kbdd")
	t.show("ls", run(t, "ls", "-l", device))

	t.step("Nobody has it open. \"hello\" is typed; the console shows it:")
	keyboard.Type("hello")
	t.wantScreen(tty, "hello")

	t.step("A program opens %s. \"Game\" is typed; the program gets the scancodes:", device)
	reader := t.start("monitoring", "kbdctl", "monitor")
	keyboard.Type("Game")
	for _, want := range []string{
		"2a KEY_LEFTSHIFT press", "22 KEY_G press", "a2 KEY_G release", "aa KEY_LEFTSHIFT release",
		"1e KEY_A press", "9e KEY_A release", "32 KEY_M press", "b2 KEY_M release", "12 KEY_E press", "92 KEY_E release",
	} {
		t.wantKey(reader, want)
	}
	t.say("and the console is as it was:")
	t.wantScreen(tty, "hello")

	t.step("The program is killed with -9. \", world\" is typed; the console hears it at once:")
	reader.kill()
	keyboard.Type(", world")
	t.wantScreen(tty, "hello, world")

	t.step("Another program opens it, and kbdd itself is killed with -9. \"!\" is typed; the console hears it:")
	reader = t.start("monitoring", "kbdctl", "monitor")
	kbdd.kill()
	keyboard.Type("!")
	t.wantScreen(tty, "hello, world!")
	t.say("and the program was told:")
	t.show("kbdctl", reader.line(t))
}

// stage is where the demo is played. It stands in for a test's testing.TB.
type stage struct {
	testing.TB
	steps    int
	held     bool
	cleanups []func()
}

func (s *stage) Helper()          {}
func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *stage) Fatal(args ...any) {
	fmt.Println("   FAILED:", fmt.Sprint(args...))
	s.end()
}

func (s *stage) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }

// end clears the stage and leaves.
func (s *stage) end() {
	for len(s.cleanups) > 0 {
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		last()
	}
	if !s.held {
		fmt.Println("demo: failed")
		os.Exit(1)
	}
	fmt.Println("demo: ok")
	os.Exit(0)
}

// step begins the next step.
func (s *stage) step(format string, args ...any) {
	s.steps++
	fmt.Printf("\n%d. %s\n", s.steps, fmt.Sprintf(format, args...))
}

func (s *stage) say(text string) { fmt.Printf("   %s\n", text) }

// show prints what somebody or something shows.
func (s *stage) show(who, text string) { fmt.Printf("     %-7s| %s\n", who, text) }

// wantScreen prints what the console shows, and checks it.
func (s *stage) wantScreen(tty *machine.Console, want string) {
	got := tty.Text()
	s.show("tty1", got)
	if got != want {
		s.Fatalf("the console should show %q", want)
	}
}

// wantKey prints the next key that kbdctl monitor prints, and checks it but for its time. Repeats are only printed: on a
// busy host the machine may hold a key for longer than the typematic delay.
func (s *stage) wantKey(monitor *program, want string) {
	for {
		line := monitor.line(s)
		s.show("kbdctl", line)
		if words := strings.Fields(line); len(words) < 4 || words[3] != "repeat" {
			if len(words) != 4 || strings.Join(words[1:], " ") != want {
				s.Fatalf("this should be %q", want)
			}
			return
		}
	}
}

// program is a process of the demo.
type program struct {
	cmd   *exec.Cmd
	lines chan string
}

// start starts a program, and waits until it has printed a line with the given word in it, if there is one.
func (s *stage) start(word, name string, args ...string) *program {
	p := &program{cmd: exec.Command(name, args...), lines: make(chan string, 100)}
	out, in, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	if err := p.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	in.Close()
	go p.scan(out)
	s.Cleanup(p.kill)
	for word != "" && !strings.Contains(p.line(s), word) {
	}
	return p
}

func (p *program) scan(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		p.lines <- lines.Text()
	}
	close(p.lines)
}

// line is the next line that the program prints.
func (p *program) line(s *stage) string {
	select {
	case line, ok := <-p.lines:
		if !ok {
			s.Fatalf("%s has ended", p.cmd)
		}
		return line
	case <-time.After(machine.Limit):
		s.Fatalf("%s prints nothing", p.cmd)
	}
	return ""
}

// kill ends the program with SIGKILL and reaps it.
func (p *program) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// run runs a program to its end and returns what it printed.
func run(s *stage, name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v: %s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

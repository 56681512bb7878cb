package test

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// program is one of Debian's, which vmrun -with brings. Busybox has some of the same names.
func program(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := "/usr/bin/" + name
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run this test with make test, which brings it", err)
	}
	return exec.Command(path, args...)
}

// on gives a program a device for its standard input, and its output to the test.
func on(t testing.TB, device string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	fd, err := uninterrupted(func() (int, error) { return unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0) })
	if err != nil {
		t.Fatalf("open %s: %v", device, err)
	}
	if device == kbd0 {
		never := typematic{delay: 3600_000} // for programs that read this very file
		if err := ioctl(fd, KDKBDREP, &never); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Stdin = os.NewFile(uintptr(fd), device)
	return cmd
}

// output runs a program to its end, and gives what it prints.
func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	defer cmd.Stdin.(*os.File).Close()
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", cmd, err)
	}
	return string(text)
}

// keysTyped are the scancodes of what typedAt types.
const keysTyped = "1e 9e 2a 30 b0 aa e0 53 e0 d3 3b bb 1c 9c"

// typedAt starts a program, types once it waits for keys, and returns its output when it has ended: by itself, or, if bytes
// are given, by SIGTERM once it has read as many.
func typedAt(t testing.TB, cmd *exec.Cmd, keyboard *machine.Keyboard, bytes int) string {
	t.Helper()
	var text syncBuffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	cmd.Stdin.(*os.File).Close()
	pid := cmd.Process.Pid
	machine.WaitUntil(t, cmd.String()+" waits", func() bool { return waitsForKeys(pid) })
	before := bytesRead(t, pid)
	keyboard.Type("aB")
	keyboard.Tap(machine.KeyDelete)
	keyboard.Tap(machine.KeyF1)
	keyboard.Tap(machine.KeyEnter)
	if bytes > 0 {
		machine.WaitUntil(t, cmd.String()+" has read and told all", func() bool {
			return bytesRead(t, pid) >= before+bytes && waitsForKeys(pid)
		})
		cmd.Process.Signal(unix.SIGTERM)
	}
	end := make(chan error, 1)
	go func() { end <- cmd.Wait() }()
	if err := result(t, end); err != nil && bytes == 0 {
		t.Errorf("%s: %v", cmd, err)
	}
	return text.String()
}

// waitsForKeys tells if a process waits in a call that a key ends.
func waitsForKeys(pid int) bool {
	thread := fmt.Sprint("/proc/", pid)
	return slices.ContainsFunc([]int{unix.SYS_READ, unix.SYS_POLL, unix.SYS_PSELECT6, unix.SYS_EPOLL_WAIT}, func(number int) bool {
		return inCall(thread, number)
	})
}

// bytesRead is how many bytes a process has got from read(2) in its life.
func bytesRead(t testing.TB, pid int) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err == nil {
		_, err = fmt.Sscanf(string(text), "rchar: %d", &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// scancodesIn are those that showkey -s prints, without repeats, in whichever lines.
func scancodesIn(t testing.TB, text string) string {
	t.Helper()
	var c codes
	for field := range strings.FieldsSeq(text) {
		if digits, ok := strings.CutPrefix(field, "0x"); ok {
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			c.add(b...)
		}
	}
	return c.take()
}

// keycodesIn are the lines in which showkey -k prints keys, without repeats.
func keycodesIn(_ testing.TB, text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "keycode") && (len(lines) == 0 || lines[len(lines)-1] != line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestShowkeyPrintsWhatItDoesOnAConsole(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	for _, test := range []struct {
		option string
		bytes  int // that it reads
		keysIn func(t testing.TB, text string) string
		has    string
	}{
		{"-s", 14, scancodesIn, keysTyped},
		{"-k", 12, keycodesIn, "keycode 111 press"},
	} {
		console := typedAt(t, on(t, "/dev/tty1", program(t, "showkey", test.option)), keyboard, test.bytes)
		want := test.keysIn(t, console)
		tty.Clear()
		withAndWithoutSecond(t, "showkey "+test.option, func(s *scene) {
			device := typedAt(s.t, on(s.t, kbd0, program(s.t, "showkey", test.option)), keyboard, test.bytes)
			wantScreen(s.t, tty, "")
			s.hears(keysTyped)
			if got := test.keysIn(s.t, device); got != want || !strings.Contains(got, test.has) {
				s.t.Errorf("showkey %s prints\n%s\non the console\n%s", test.option, got, want)
			}
			if !strings.Contains(device, "kb mode was RAW") {
				s.t.Errorf("showkey %s finds another mode:\n%s", test.option, device)
			}
			s.wantConsole()
		})
		t.Logf("showkey %s prints\n%s", test.option, want)
	}
}

// TestShowkeyEndsByItself lets it wait for its 10 s without a key: an alarm must end its read.
func TestShowkeyEndsByItself(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	begin := time.Now()
	text := typedAt(t, on(t, kbd0, program(t, "showkey", "-k")), keyboard, 0)
	if took := time.Since(begin); took < 10*time.Second || !strings.Contains(text, "keycode  28 release") {
		t.Errorf("after %v showkey has printed\n%s", took, text)
	}
	keyboard.Type("x")
	wantScreen(t, tty, "x")
}

func TestToolsSayWhatTheyDoOnAConsole(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	startKbdd(t)
	tty := openRawConsole(t, modeRaw) // as a fresh file of the device is
	lightNone := func() { unix.IoctlSetInt(tty.fd, KDSETLED, 0xff) }
	t.Cleanup(lightNone)
	for _, command := range []string{
		"kbd_mode",
		"kbd_mode -f -k",
		"kbd_mode -f -s",
		"setleds -L -v +num -caps",
		"kbdrate -r 10 -d 500",
		"kbdrate -r 20 -d 250",
	} {
		args := strings.Fields(command)
		want := output(t, on(t, "/dev/tty1", program(t, args[0], args[1:]...)))
		lightNone() // a fresh file has the console's LEDs
		withAndWithoutSecond(t, command, func(s *scene) {
			got := output(s.t, on(s.t, kbd0, program(s.t, args[0], args[1:]...)))
			if withoutOld(got) != withoutOld(want) {
				s.t.Errorf("%s says\n%s\non the console\n%s", command, got, want)
			}
			s.t.Logf("%s: %q", command, got)
		})
	}
	for _, device := range []string{kbd0, "/dev/tty1"} {
		text, err := program(t, "kbd_mode", "-C", device).CombinedOutput()
		if want := "The keyboard is in raw (scancode) mode\n"; string(text) != want || err != nil {
			t.Errorf("kbd_mode -C %s says %q, %v; want %q", device, text, err, want)
		}
	}
	if text, err := exec.Command("sh", "-c", "test -t 0 <"+kbd0+" && tty <"+kbd0).Output(); string(text) != kbd0+"\n" {
		t.Errorf("tty says %q, %v", text, err)
	}
}

// withoutOld leaves out what kbdrate found: a console's rate is its keyboard's, the device's that of a file just opened.
func withoutOld(text string) (rest string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "old delay") {
			rest += line
		}
	}
	return rest
}

// selectorProgram reads eight bytes by a selector of Python's, and prints them.
const selectorProgram = `
import os, selectors, sys
selector = getattr(selectors, sys.argv[1])()
selector.register(0, selectors.EVENT_READ)
got = b""
while len(got) < 8:
    if selector.select():
        got += os.read(0, 1)
print(got.hex(" "))
`

// python is a program for Python, which finds here no more of its library than it needs. It compiles that when it first runs.
func python(t testing.TB, text string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := program(t, "python3", append([]string{"-S", "-c", text}, args...)...)
	cmd.Env = []string{"PYTHONHOME=/usr"} // else it says that it misses some
	return cmd
}

func TestReadersOfBytesGetWhatTheyDoOnAConsole(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)
	startKbdd(t)
	for _, test := range []struct {
		name, want string
		start      func(t testing.TB) *exec.Cmd
	}{
		{"dd", "\x1e\x9e\x2a\x30\xb0\xaa\xe0\x53", func(t testing.TB) *exec.Cmd { return program(t, "dd", "bs=1", "count=8", "status=none") }},
		{
			"hexdump", "00000000  1e 9e 2a 30 b0 aa e0 53                           |..*0...S|\n00000008\n",
			func(t testing.TB) *exec.Cmd { return program(t, "hexdump", "-C", "-n", "8") },
		},
		{"python EpollSelector", "1e 9e 2a 30 b0 aa e0 53\n", func(t testing.TB) *exec.Cmd { return python(t, selectorProgram, "EpollSelector") }},
		{"python SelectSelector", "1e 9e 2a 30 b0 aa e0 53\n", func(t testing.TB) *exec.Cmd { return python(t, selectorProgram, "SelectSelector") }},
	} {
		var console string
		t.Run(test.name+" on a console", func(t *testing.T) {
			openRawConsole(t, modeRaw)
			console = typedAt(t, on(t, "/dev/tty1", test.start(t)), keyboard, 0)
		})
		withAndWithoutSecond(t, test.name, func(s *scene) {
			got := typedAt(s.t, on(s.t, kbd0, test.start(s.t)), keyboard, 0)
			if got != test.want || got != console {
				s.t.Errorf("it prints %q, on the console %q; want %q", got, console, test.want)
			}
			s.hears(keysTyped)
		})
	}
}

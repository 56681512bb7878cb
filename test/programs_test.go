package test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// typedAt starts a program, types once it waits in read(2), and returns its output when it has ended: by itself, or, if bytes
// are given, by SIGTERM once it has read as many.
func typedAt(t testing.TB, cmd *exec.Cmd, keyboard *machine.Keyboard, bytes int) string {
	t.Helper()
	var text syncBuffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin.(*os.File).Close()
	pid := cmd.Process.Pid
	machine.WaitUntil(t, cmd.String()+" waits", func() bool { return inCall(fmt.Sprint("/proc/", pid), unix.SYS_READ) })
	before := bytesRead(t, pid)
	keyboard.Type("aB")
	keyboard.Tap(machine.KeyDelete)
	keyboard.Tap(machine.KeyF1)
	keyboard.Tap(machine.KeyEnter)
	if bytes > 0 {
		machine.WaitUntil(t, cmd.String()+" has read and told all", func() bool {
			return bytesRead(t, pid) >= before+bytes && inCall(fmt.Sprint("/proc/", pid), unix.SYS_READ)
		})
		cmd.Process.Signal(unix.SIGTERM)
	}
	if err := cmd.Wait(); err != nil && bytes == 0 {
		t.Errorf("%s: %v", cmd, err)
	}
	return text.String()
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
		{"-s", 14, scancodesIn, "1e 9e 2a 30 b0 aa e0 53 e0 d3 3b bb 1c 9c"},
		{"-k", 12, keycodesIn, "keycode 111 press"},
	} {
		device := typedAt(t, on(t, kbd0, program(t, "showkey", test.option)), keyboard, test.bytes)
		wantScreen(t, tty, "")
		console := typedAt(t, on(t, "/dev/tty1", program(t, "showkey", test.option)), keyboard, test.bytes)
		got, want := test.keysIn(t, device), test.keysIn(t, console)
		if got != want || !strings.Contains(got, test.has) {
			t.Errorf("showkey %s prints\n%s\non the console\n%s", test.option, got, want)
		}
		if !strings.Contains(device, "kb mode was RAW") {
			t.Errorf("showkey %s finds another mode:\n%s", test.option, device)
		}
		t.Logf("showkey %s prints\n%s", test.option, got)
		tty.Clear()
		keyboard.Type("x")
		wantScreen(t, tty, "x")
		tty.Clear()
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
	t.Cleanup(func() { unix.IoctlSetInt(tty.fd, KDSETLED, 0xff) })
	for _, command := range []string{
		"kbd_mode",
		"kbd_mode -f -k",
		"kbd_mode -f -s",
		"setleds -L -v +num -caps",
		"kbdrate -r 10 -d 500",
		"kbdrate -r 20 -d 250",
	} {
		args := strings.Fields(command)
		got := output(t, on(t, kbd0, program(t, args[0], args[1:]...)))
		want := output(t, on(t, "/dev/tty1", program(t, args[0], args[1:]...)))
		if withoutOld(got) != withoutOld(want) {
			t.Errorf("%s says\n%s\non the console\n%s", command, got, want)
		}
		t.Logf("%s: %q", command, got)
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

func TestReadersOfBytesGetWhatTheyDoOnAConsole(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)
	startKbdd(t)
	for _, test := range []struct{ command, want string }{
		{"dd bs=1 count=8 status=none", "\x1e\x9e\x2a\x30\xb0\xaa\xe0\x53"},
		{"hexdump -C -n 8", "00000000  1e 9e 2a 30 b0 aa e0 53                           |..*0...S|\n00000008\n"},
	} {
		args := strings.Fields(test.command)
		got := typedAt(t, on(t, kbd0, program(t, args[0], args[1:]...)), keyboard, 0)
		var console string
		t.Run(args[0]+" on a console", func(t *testing.T) {
			openRawConsole(t, modeRaw)
			console = typedAt(t, on(t, "/dev/tty1", program(t, args[0], args[1:]...)), keyboard, 0)
		})
		if got != test.want || got != console {
			t.Errorf("%s prints %q, on the console %q; want %q", test.command, got, console, test.want)
		}
	}
}

func TestTimeoutEndsAReader(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	cmd := on(t, kbd0, program(t, "timeout", "2", "/usr/bin/hexdump", "-C"))
	begin := time.Now()
	err := cmd.Run()
	cmd.Stdin.(*os.File).Close()
	var exit *exec.ExitError
	if took := time.Since(begin); !errors.As(err, &exit) || exit.ExitCode() != 124 || took < 2*time.Second {
		t.Errorf("timeout ends with %v after %v, want 124 after 2 s", err, took)
	}
	keyboard.Type("x")
	wantScreen(t, tty, "x")
}

func TestConsoleTypesAfterAProgramIsKilled(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	for command, reads := range map[string]bool{
		"showkey -s": true, "showkey -k": true, "dd bs=1 count=8": true, "hexdump -C": true,
		"kbd_mode": false, "setleds -L +num +caps +scroll": false,
		"kbdrate -r 30 -d 250": false,
	} {
		withAndWithoutSecond(t, command, func(s *scene) {
			args := strings.Fields(command)
			for _, waits := range []bool{false, true} {
				cmd := on(s.t, kbd0, program(s.t, args[0], args[1:]...))
				v := startVictim(s.t, cmd)
				cmd.Stdin.(*os.File).Close()
				if waits && reads {
					v.waitIn(unix.SYS_READ)
					s.types("h", "23 a3")
				}
				s.kill(v)
			}
		})
	}
}

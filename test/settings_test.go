package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// configure writes a configuration and returns its path.
func configure(t testing.TB, path, text string) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "kbdd.toml")
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadConfigurationKeepsKbddFromStarting(t *testing.T) {
	machine.Require(t)
	path := configure(t, "", "[bypass]\nvtt = false\n")
	for _, option := range []string{"-check", "-version=false"} {
		status, stderr := runKbdd(t, nil, option, "-config", path)
		if status != 78 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, path+":2: unknown key") {
			t.Errorf("kbdd %s ends with %d and %q", option, status, stderr)
		}
	}
}

func TestHangupReadsTheConfigurationAnew(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	other := machine.NewUinput(t, machine.UinputConfig{Name: "left alone"})
	path := configure(t, "", "")
	kbdd := startKbdd(t, "-config", path)
	f := open(t, os.O_RDONLY)
	other.Type("a")
	f.want("1e 9e")

	hangup := func(text, logged string) {
		t.Helper()
		configure(t, path, text)
		kbdd.cmd.Process.Signal(syscall.SIGHUP)
		awaitSaid(t, kbdd, logged)
	}
	hangup("[bypass]\nctrl-alt-del = false\n[keyboards]\nignore = [{ name = \"left*\" }]\n", "read anew")
	waitGivenBack(t, &other.Keyboard)
	other.Type("b")
	wantScreen(t, tty, "b")
	before := machine.CtrlAltDels(t)
	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyDelete)
	f.want("1d 38 e0 53 e0 d3 b8 9d")

	hangup("[bypass\n", "left as it was")
	other.Type("c")
	keyboard.Type("c")
	f.want("2e ae")
	wantScreen(t, tty, "bc")
	if machine.CtrlAltDels(t) != before {
		t.Error("Ctrl-Alt-Del reached PID 1 though it is turned off")
	}
}

func TestDeviceThatDoesNotMuteLeavesTheConsoleItsKeyboard(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	scanner := machine.NewUinput(t, machine.UinputConfig{Name: "scanner"})
	startKbdd(t, "-config", configure(t, "", "[[device]]\nkeyboard = \"scanner\"\nmute = false\n"))
	game := open(t, unix.O_RDONLY)
	scanner.Type("a")
	game.want("1e 9e")
	wantScreen(t, tty, "")

	shop := openDevice(t, "/dev/kbd2") // the uinput device is the second keyboard
	scanner.Type("b")
	shop.want("30 b0")
	wantScreen(t, tty, "b")
	keyboard.Type("c")
	game.want("2e ae")
	wantScreen(t, tty, "b")
	shop.close()
	scanner.Type("d")
	game.want("20 a0")
	wantScreen(t, tty, "b")
}

func TestReaderThatHangsLosesTheKeyboard(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t, "-config", configure(t, "", "stall-timeout = \"1s\"\n"))
	f := open(t, unix.O_RDONLY)
	keyboard.Type("a")
	waitGivenBack(t, keyboard)
	keyboard.Type("b")
	wantScreen(t, tty, "b")
	if ev := poll(t, f, unix.POLLIN); ev&unix.POLLHUP == 0 {
		t.Errorf("poll(2) = %#x, want POLLHUP", ev)
	}
}

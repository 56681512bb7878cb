package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
	"kbdd/test/machine"
)

// kbdctl runs the tool, and returns what it prints, errors too, and its exit status.
func kbdctl(t testing.TB, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.Command("kbdctl", args...)
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok && err != nil {
		t.Fatal(err)
	} else if ok {
		status = exit.ExitCode()
	}
	return string(text), status
}

// wantKbdctl runs the tool, which must succeed and print these texts.
func wantKbdctl(t testing.TB, args []string, texts ...string) {
	t.Helper()
	out, status := kbdctl(t, args...)
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("kbdctl %q does not print %q:\n%s", args, text, out)
		}
	}
	if status != 0 {
		t.Errorf("kbdctl %q: status %d:\n%s", args, status, out)
	}
}

// tool is a kbdctl that runs on.
type tool struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *bufio.Scanner
	errs *syncBuffer
}

// startKbdctl starts a kbdctl, and returns when it has said this on its standard error.
func startKbdctl(t testing.TB, says string, args ...string) *tool {
	t.Helper()
	c := &tool{t: t, cmd: exec.Command("kbdctl", args...), errs: &syncBuffer{}}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	c.cmd.Stderr = c.errs
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill(); c.cmd.Wait() })
	machine.WaitUntil(t, "kbdctl says "+says, func() bool { return strings.Contains(c.errs.String(), says) })
	return c
}

// line is the next line that it prints.
func (c *tool) line() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("kbdctl prints no more: %v\n%s", c.out.Err(), c.errs)
	}
	return c.out.Text()
}

// wantEnd waits for the end of the tool, which must be a success.
func (c *tool) wantEnd() {
	c.t.Helper()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("kbdctl: %v\n%s", err, c.errs)
	}
}

func TestKbdctlTellsWhoHasTheConsoleMuted(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	node := machine.PS2(t).Node()
	wantKbdctl(t, []string{"status"}, "The console has the keyboard: nobody has a device open.")
	wantKbdctl(t, []string{"list"}, "/dev/kbd0\t0\t-\t-\tall keyboards\n", "/dev/kbd1\t0\tconsole\t"+node+"\t")

	r := startReader(t)
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.cmd.Process.Pid))
	name := strings.TrimSpace(string(comm))
	wantKbdctl(t, []string{"status"},
		fmt.Sprintf("The console is muted: %s (pid %d) reads /dev/kbd0.\n", name, r.cmd.Process.Pid),
		fmt.Sprintf("kbd0\t%s\t%d\t", name, r.cmd.Process.Pid))
	wantKbdctl(t, []string{"list"}, "/dev/kbd0\t1\t", "/dev/kbd1\t0\tkbd0\t"+node+"\t")

	r.kill()
	machine.WaitUntil(t, "the console is told to have the keyboard", func() bool {
		out, _ := kbdctl(t, "status")
		return strings.HasPrefix(out, "The console has the keyboard: nobody has a device open.")
	})
}

func TestKbdctlTellsOfChanges(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	watch := startKbdctl(t, "", "status", "--watch", "--json")
	muted := func() (muted bool) {
		var st struct {
			Version   int
			Keyboards []struct{ Muted bool }
		}
		if err := json.Unmarshal([]byte(watch.line()), &st); err != nil || st.Version != 1 || len(st.Keyboards) != 1 {
			t.Fatalf("%v: %+v", err, st)
		}
		return st.Keyboards[0].Muted
	}
	if muted() {
		t.Error("muted with nobody there")
	}
	r := startReader(t)
	for !muted() {
	}
	r.kill()
	for muted() {
	}
	watch.cmd.Process.Signal(syscall.SIGTERM)
	watch.wantEnd()
}

func TestKbdctlReleaseGivesTheKeyboardBack(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	console := machine.OpenConsole(t, 1)
	console.Activate()
	r := startReader(t)
	wantKbdctl(t, []string{"release"})
	if line := r.line(); line != "read: no such device" {
		t.Errorf("the reader says %q", line)
	}
	machine.WaitUntil(t, "the keyboard is the console's", func() bool {
		out, _ := kbdctl(t, "list")
		return strings.Contains(out, "\tconsole\t")
	})
	keyboard := machine.PS2(t)
	waitGivenBack(t, keyboard)
	keyboard.Type("back")
	console.Wait("back")
	if out, status := kbdctl(t, "release", "kbd9"); status != 1 || out != "kbdctl: there is no device /dev/kbd9\n" {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestKbdctlMonitorEndsWithCtrlCOnTheMutedKeyboard(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	keyboard := machine.PS2(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "1e                 KEY_A            press"},
		{[]string{"--set", "2"}, "1c                 KEY_A            press"},
		{[]string{"--set", "3"}, "1c                 KEY_A            press"},
		{[]string{"--json"}, `"bytes":"1e","event":"press","key":"KEY_A","code":30}`},
	} {
		monitor := startKbdctl(t, "monitoring /dev/kbd0", append([]string{"monitor"}, c.args...)...)
		keyboard.Tap(machine.KeyA)
		if line := monitor.line(); !strings.HasSuffix(line, c.want) {
			t.Errorf("monitor %q prints %q, want %q", c.args, line, c.want)
		}
		const keyC = 46
		keyboard.Chord(machine.KeyLeftCtrl, keyC)
		for monitor.out.Scan() {
		}
		monitor.wantEnd()
	}
}

func TestKbdctlPlaysWhatItRecorded(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	console := machine.OpenConsole(t, 1)
	console.Activate()
	file := filepath.Join(t.TempDir(), "hello.evemu")

	recording := startKbdctl(t, "recording "+machine.PS2(t).Node(), "record", file)
	machine.PS2(t).Type("Hello, World")
	recording.cmd.Process.Signal(syscall.SIGINT)
	recording.wantEnd()

	console.Clear()
	wantKbdctl(t, []string{"play", "--speed", "20", file})
	if got := console.Text(); got != "Hello, World" {
		t.Errorf("played on the console: %q", got)
	}

	console.Clear()
	f := open(t, unix.O_RDONLY)
	wantKbdctl(t, []string{"play", "--speed", "20", file})
	f.want("2a 23 a3 aa 12 92 26 a6 26 a6 18 98 33 b3 39 b9 2a 11 91 aa 18 98 13 93 26 a6 20 a0")
	if got := console.Text(); got != "" {
		t.Errorf("played to a reader, and the console has %q", got)
	}
}

func TestKbdctlShowDrawsTheKeyboard(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	const vt = 3
	terminal, err := os.OpenFile(fmt.Sprint("/dev/tty", vt), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	machine.SwitchVT(t, vt)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	show := exec.Command("kbdctl", "show")
	show.Stdout, show.Stderr = terminal, os.Stderr
	if err := show.Start(); err != nil {
		t.Fatal(err)
	}
	defer show.Process.Kill()
	shows := func(text string) {
		t.Helper()
		machine.WaitUntil(t, "the screen shows "+text, func() bool {
			screen, err := machine.Screen(vt)
			return err == nil && strings.Contains(screen, text)
		})
	}
	shows("|Caps|A |S |D |")
	shows("LEDs    [ ] Num  [ ] Caps")
	keyboard := machine.PS2(t)
	keyboard.Tap(machine.KeyCapsLock)
	shows("[*] Caps")
	if keyboard.LEDs()&machine.CapsLock == 0 {
		t.Error("the LED is not lit")
	}
	shows("KEY_CAPSLOCK     release")
	shows("to kbdd and back")
	keyboard.Press(machine.KeyA)
	shows("KEY_A            press")
	machine.Screenshot(t, "kbdctl-show")
	keyboard.Release(machine.KeyA)
	show.Process.Signal(syscall.SIGTERM)
	if err := show.Wait(); err != nil {
		t.Error(err)
	}
	if screen, _ := machine.Screen(vt); strings.Contains(screen, "Caps") {
		t.Errorf("show leaves on the screen:\n%s", screen)
	}
}

// removeNode takes a device node away, and returns what puts it back; the end of the test does at the latest.
func removeNode(t *testing.T, path string) (restore func()) {
	t.Helper()
	away := path + ".away"
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	restore = func() { os.Rename(away, path) }
	t.Cleanup(restore)
	return restore
}

func TestDoctorFindsNothingBrokenWhereNothingIs(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	if out, status := kbdctl(t, "doctor"); status != 0 || strings.Contains(out, "broken") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

func TestDoctorNamesTheCause(t *testing.T) {
	machine.Require(t)
	diagnose := func(t *testing.T, says, mend string) {
		t.Helper()
		out, status := kbdctl(t, "doctor")
		if status != 1 || !strings.Contains(out, says) || !strings.Contains(out, "mend: "+mend) {
			t.Errorf("status %d, want %q and %q:\n%s", status, says, mend, out)
		}
	}
	t.Run("kbdd does not run", func(t *testing.T) {
		diagnose(t, "broken  kbdd     kbdd does not run", "kbdd &")
	})
	t.Run("no CUSE", func(t *testing.T) {
		removeNode(t, "/dev/cuse")
		diagnose(t, "broken  cuse     ", "modprobe cuse")
	})
	t.Run("no uinput", func(t *testing.T) {
		restore := removeNode(t, "/dev/uinput")
		startKbdd(t)
		diagnose(t, "broken  uinput   there is no /dev/uinput", "modprobe uinput && ")
		restore()
		diagnose(t, "broken  uinput   kbdd could not use /dev/uinput when it started", "pkill -x kbdd; kbdd &")
	})
	t.Run("another program grabs", func(t *testing.T) {
		startKbdd(t)
		f, err := os.Open(machine.PS2(t).Node())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.IoctlSetInt(int(f.Fd()), eviocgrab, 1); err != nil {
			t.Fatal(err)
		}
		diagnose(t, "another program has grabbed it", fmt.Sprint("kill ", os.Getpid()))
	})
	t.Run("no rights", func(t *testing.T) {
		startKbdd(t)
		var out bytes.Buffer
		cmd := exec.Command("kbdctl", "doctor")
		cmd.Stdout = &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		cmd.Run()
		for _, want := range []string{"broken  kbdd     kbdd cannot be asked", "broken  rights   only root may open /dev/kbd0", "mend: usermod -aG input 1000"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("want %q:\n%s", want, &out)
			}
		}
	})
	t.Run("no logind", func(t *testing.T) {
		startKbdd(t)
		out, _ := kbdctl(t, "doctor")
		if !strings.Contains(out, "note    logind   logind does not run") {
			t.Errorf("the doctor says\n%s", out)
		}
	})
}

func TestMetricsCountWhatHappened(t *testing.T) {
	machine.Require(t)
	startKbdd(t)
	r := startReader(t)
	machine.PS2(t).Type("ab")
	r.want("1e 9e 30 b0")
	// The last key is counted once its reader has been told.
	machine.WaitUntil(t, "all keys are counted", func() bool {
		return strings.Contains(metrics(t), "\nkbdd_keys_total 4\n")
	})
	for _, want := range []string{"\nkbdd_opens_total 1\n", "\nkbdd_holders 1\n", "\nkbdd_latency_seconds_count 4\n", "\nkbdd_mute_wait_seconds_count 1\n"} {
		if !strings.Contains(metrics(t), want) {
			t.Errorf("no %q in\n%s", want, metrics(t))
		}
	}
}

func metrics(t *testing.T) string {
	t.Helper()
	text, err := control.NewClient(control.Socket).Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

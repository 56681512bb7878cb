package test

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
	"kbdd/test/machine"
)

// device opens a device other than kbd0.
func openDevice(t testing.TB, path string) *file {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &file{File: f, t: t}
}

// kernelLog follows the kernel's log from now on.
func kernelLog(t testing.TB) func(what string) bool {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Seek(0, unix.SEEK_END); err != nil {
		t.Fatal(err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return func(what string) (found bool) {
		buf := make([]byte, 8192)
		raw.Control(func(fd uintptr) {
			for {
				n, err := unix.Read(int(fd), buf)
				if err != nil && err != unix.EPIPE {
					return
				}
				found = found || n > 0 && strings.Contains(string(buf[:n]), what)
			}
		})
		return found
	}
}

// enableSysRq lets the kernel obey all of SysRq until the test ends.
func enableSysRq(t testing.TB) {
	t.Helper()
	const file = "/proc/sys/kernel/sysrq"
	old, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte("1"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(file, old, 0) })
}

func TestCtrlAltF2SwitchesWhileMuted(t *testing.T) {
	machine.Require(t)
	tty1, tty2, keyboard := machine.OpenConsole(t, 1), machine.OpenConsole(t, 2), machine.PS2(t)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	startKbdd(t)
	f := open(t, os.O_RDONLY)

	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyF2)
	machine.WaitVT(t, 2)
	f.want("1d 38")
	f.wantReleased("9d", "b8") // by the fingers or by the switch, whichever was first
	waitGivenBack(t, keyboard)
	keyboard.Type("secret")
	if got := tty2.Text(); got != "secret" {
		t.Errorf("tty2 shows %q", got)
	}
	f.wantNothing()

	// The console's own keymap takes one back, and the reader hears again.
	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyF1)
	machine.WaitVT(t, 1)
	awaitTaken(t, keyboard.Node())
	keyboard.Type("a")
	f.want("1e 9e")
	wantScreen(t, tty1, "")
}

// waitGivenBack waits until nobody has the keyboard grabbed, and tells how long that took.
func waitGivenBack(t testing.TB, keyboard *machine.Keyboard) time.Duration {
	t.Helper()
	start := time.Now()
	node, err := unix.Open(keyboard.Node(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(node)
	machine.WaitUntil(t, "the keyboard is given back", func() bool { return unix.IoctlSetInt(node, eviocgrab, 1) == nil })
	took := time.Since(start)
	if err := unix.IoctlSetInt(node, eviocgrab, 0); err != nil {
		t.Fatal(err)
	}
	return took
}

// awaitTaken waits until kbdd gives a keyboard's keys to those who read them. That it is grabbed does not tell: of a key right
// after the grab the console may have heard the press, and so kbdd undoes the grab (kbd/input, settle).
func awaitTaken(t testing.TB, node string) {
	t.Helper()
	client := control.NewClient(control.Socket)
	machine.WaitUntil(t, "kbdd has the keyboard", func() bool {
		st, err := client.Status(t.Context())
		return err == nil && slices.ContainsFunc(st.Keyboards, func(k control.Keyboard) bool { return k.Node == node && k.Muted })
	})
}

func TestSwitchByAnotherProgramGivesTheKeyboardAway(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	tty3, keyboard := machine.OpenConsole(t, 3), machine.PS2(t)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	startKbdd(t)
	f := open(t, os.O_RDONLY)
	keyboard.Press(machine.KeyA)
	f.want("1e")
	keyboard.Release(machine.KeyA)
	f.want("9e")

	machine.SwitchVT(t, 3)
	t.Logf("the other terminal has the keyboard after %v", waitGivenBack(t, keyboard))
	keyboard.Type("x")
	if got := tty3.Text(); got != "x" {
		t.Errorf("tty3 shows %q", got)
	}
	f.wantNothing()
}

func TestSwitchFromAGraphicsTerminal(t *testing.T) {
	machine.Require(t)
	tty1, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	tty2 := machine.OpenConsole(t, 2)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	startKbdd(t)
	drawOn(t, 1)
	f := open(t, os.O_RDONLY)

	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyF2)
	machine.WaitVT(t, 2)
	waitGivenBack(t, keyboard)
	keyboard.Type("x")
	if got := tty2.Text(); got != "x" {
		t.Errorf("tty2 shows %q", got)
	}
	machine.SwitchVT(t, 1)
	awaitTaken(t, keyboard.Node())
	f.want("1d 38")
	f.wantReleased("9d", "b8")
	keyboard.Type("a")
	f.want("1e 9e")
	wantScreen(t, tty1, "")
}

// drawOn puts a terminal into graphics mode until the test ends, as a display server does: the kernel asks before it
// switches away.
func drawOn(t testing.TB, n int) {
	t.Helper()
	const (
		kdSetMode, kdText, kdGraphics       = 0x4b3a, 0, 1
		vtSetMode, vtRelDisp, vtAuto, vtAck = 0x5602, 0x5605, 0, 2
	)
	tty, err := unix.Open(fmt.Sprint("/dev/tty", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	setMode := func(mode, release, acquire byte) {
		vtMode := [8]byte{0: mode, 2: release, 4: acquire} // struct vt_mode
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(tty), vtSetMode, uintptr(unsafe.Pointer(&vtMode))); errno != 0 {
			t.Error(errno)
		}
	}
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for sig := range signals {
			answer := 1
			if sig == unix.SIGUSR2 {
				answer = vtAck
			}
			unix.IoctlSetInt(tty, vtRelDisp, answer)
		}
	}()
	setMode(1, byte(unix.SIGUSR1), byte(unix.SIGUSR2))
	if err := unix.IoctlSetInt(tty, kdSetMode, kdGraphics); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.IoctlSetInt(tty, kdSetMode, kdText)
		setMode(vtAuto, 0, 0)
		signal.Stop(signals)
		close(signals)
		unix.Close(tty)
	})
}

func TestSysRqReachesTheKernelWhileMuted(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	enableSysRq(t)
	startKbdd(t)
	f := open(t, os.O_RDONLY)
	logged := kernelLog(t)

	keyboard.Chord(machine.KeyLeftAlt, machine.KeySysRq, machine.KeyH)
	machine.WaitUntil(t, "the kernel prints its help on SysRq", func() bool { return logged("sysrq: HELP") })
	f.want("38 b8 38 54 d4 b8 38 b8") // QEMU puts Alt up and down around SysRq
	keyboard.Type("a")
	f.want("1e 9e")
	wantScreen(t, tty, "")
	f.close()
	keyboard.Type("b")
	wantScreen(t, tty, "b")
}

func TestCtrlAltDelReachesPID1WhileMuted(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	keyboard := machine.PS2(t)
	startKbdd(t)
	f := open(t, os.O_RDONLY)
	before := machine.CtrlAltDels(t)
	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyDelete)
	machine.WaitUntil(t, "PID 1 counts it", func() bool { return machine.CtrlAltDels(t) == before+1 })
	f.want("1d 38 b8 9d")
}

func TestSysRqRFreesTheKeyboardFromAStoppedReader(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	f := open(t, os.O_RDONLY)
	r := startReader(t)
	if err := r.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	keyboard.Chord(machine.KeyLeftAlt, machine.KeySysRq, machine.KeyR)
	waitGivenBack(t, keyboard)
	keyboard.Type("free")
	wantScreen(t, tty, "free")

	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, unix.ENODEV) {
		t.Errorf("read(2) = %v, want ENODEV", err)
	}
	if ev := poll(t, f, unix.POLLIN); ev&unix.POLLHUP == 0 {
		t.Errorf("poll(2) = %#x, want POLLHUP", ev)
	}
	r.cmd.Process.Signal(unix.SIGCONT)
	for line := r.line(); ; line = r.line() {
		if strings.HasPrefix(line, "read:") {
			break
		}
	}
	again := open(t, os.O_RDONLY)
	keyboard.Type("a")
	again.want("1e 9e")
	wantScreen(t, tty, "free")
}

func TestKeyboardPluggedInJoinsMuted(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	f := open(t, os.O_RDONLY)

	usb := machine.PlugUSB(t, 0)
	awaitTaken(t, usb.Node())
	usb.Type("a")
	f.want("1e 9e")
	keyboard.Type("b")
	f.want("30 b0")

	own := openDevice(t, "/dev/kbd2")
	usb.Type("c")
	own.want("2e ae")
	usb.Press(machine.KeyLeftShift)
	own.want("2a")
	usb.Unplug()
	own.want("aa")
	f.wantNothing()

	// The same keyboard at the same place has its number again.
	usb = machine.PlugUSB(t, 0)
	awaitTaken(t, usb.Node())
	usb.Type("a")
	own.want("1e 9e")
	own.close()
	usb.Type("d")
	f.want("20 a0")
	wantScreen(t, tty, "")
	f.close()
	usb.Type("e")
	wantScreen(t, tty, "e")
}

func TestScannerAndGameGetTheirOwnKeyboards(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	scannerKeyboard := machine.NewUinput(t, machine.UinputConfig{Name: "scanner"})
	startKbdd(t)
	scanner, game := openDevice(t, "/dev/kbd2"), open(t, os.O_RDONLY)

	scannerKeyboard.Type("1")
	scanner.want("02 82")
	keyboard.Type("a")
	game.want("1e 9e")
	scanner.wantNothing()
	scanner.close()
	scannerKeyboard.Type("2")
	game.want("03 83")
	wantScreen(t, tty, "")
}

func TestKeyboardThatAnotherProgramHasGrabbedIsLeftAlone(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	other := machine.NewUinput(t, machine.UinputConfig{Name: "grabbed"})
	grab, err := os.OpenFile(other.Node(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer grab.Close()
	if err := unix.IoctlSetInt(int(grab.Fd()), eviocgrab, 1); err != nil {
		t.Fatal(err)
	}
	kbdd := startKbdd(t)
	for range 3 {
		f := open(t, os.O_RDONLY)
		keyboard.Type("a")
		f.want("1e 9e")
		f.close()
	}
	const says = "another program has grabbed"
	awaitSaid(t, kbdd, says)
	f := open(t, os.O_RDONLY)
	grab.Close()
	other.Type("b") // the console hears it, and kbdd that it does
	wantScreen(t, tty, "b")
	awaitTaken(t, other.Node())
	other.Type("c")
	f.want("2e ae")
	wantScreen(t, tty, "b")
	if n := strings.Count(kbdd.said(), says); n != 1 {
		t.Errorf("kbdd tells of it %d times", n)
	}
}

func TestWithoutUinputTerminalsCanBeSwitched(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	tty2, keyboard := machine.OpenConsole(t, 2), machine.PS2(t)
	t.Cleanup(func() { machine.SwitchVT(t, 1) })
	if err := os.Rename("/dev/uinput", "/dev/uinput.hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Rename("/dev/uinput.hidden", "/dev/uinput") })
	kbdd := startKbdd(t)
	awaitSaid(t, kbdd, "uinput")
	open(t, os.O_RDONLY)
	keyboard.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyF2)
	machine.WaitVT(t, 2)
	waitGivenBack(t, keyboard)
	keyboard.Type("x")
	if got := tty2.Text(); got != "x" {
		t.Errorf("tty2 shows %q", got)
	}
}

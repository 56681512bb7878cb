package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// logind is as much of systemd-logind as kbdd asks for, on a bus of its own.
type logind struct {
	t          testing.TB
	daemon     *exec.Cmd // of the bus
	bus        *dbus.Conn
	inhibitors chan inhibitor
	properties *prop.Properties
}

// preparing is the property that tells if the machine is about to suspend.
const (
	preparing     = "PreparingForSleep"
	logindName    = "org.freedesktop.login1"
	logindManager = logindName + ".Manager"
)

func (l *logind) setPreparing(is bool) {
	l.properties.SetMust(logindManager, preparing, is)
}

// An inhibitor is a pipe that delays a suspend until its other end is closed.
type inhibitor struct{ ours, theirs *os.File }

// suspend suspends the machine as far as to a stage, and resumes it. kbdd's inhibitor is gone then, and it asks for another.
func (l *logind) suspend(inhibitor *os.File, stage string) {
	l.t.Helper()
	l.prepareForSleep(true)
	wantLetGo(l.t, inhibitor)
	if err := freeze(l.t, stage); err != nil {
		l.t.Errorf("the machine does not suspend: %v", err)
	}
	l.prepareForSleep(false)
}

// wantLetGo waits until kbdd lets go of an inhibitor.
func wantLetGo(t testing.TB, inhibitor *os.File) {
	t.Helper()
	inhibitor.SetReadDeadline(time.Now().Add(machine.Limit))
	if _, err := inhibitor.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Fatalf("kbdd does not let go of the inhibitor: %v", err)
	}
}

// startLogind starts a system bus with logind on it; a kbdd that is started later finds it.
func startLogind(t testing.TB) *logind {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", busIn(dir))
	return startLogindIn(t, dir)
}

// busIn is the address of a bus with its socket in dir.
func busIn(dir string) string { return "unix:path=" + filepath.Join(dir, "bus") }

// startLogindIn is startLogind with its files in dir.
func startLogindIn(t testing.TB, dir string) *logind {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Fatalf("%v: run vmrun with -with dbus-daemon", err)
	}
	address, config := busIn(dir), filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<busconfig><listen>%s</listen><auth>EXTERNAL</auth><policy context="default">`+
		`<allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// dbus-daemon looks up who it is.
	err := os.MkdirAll("/etc", 0o755)
	if err == nil {
		err = os.WriteFile("/etc/passwd", []byte("root:x:0:0:root:/:/bin/sh\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("dbus-daemon", "--nofork", "--config-file", config)
	daemon.Stderr = os.Stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
	})
	l := &logind{t: t, daemon: daemon, inhibitors: make(chan inhibitor, 8)}
	machine.WaitUntil(t, "the bus is there", func() bool {
		var err error
		l.bus, err = dbus.Connect(address)
		return err == nil
	})
	t.Cleanup(func() { l.bus.Close() })
	const path, name = "/org/freedesktop/login1", logindName
	if err := l.bus.Export(l, path, name+".Manager"); err != nil {
		t.Fatal(err)
	}
	l.properties, err = prop.Export(l.bus, path, prop.Map{name + ".Manager": {preparing: {Value: false}}})
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := l.bus.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("the name of logind: %v, %v", reply, err)
	}
	return l
}

// Inhibit is logind's method.
func (l *logind) Inhibit(what, _, _, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "sleep" || mode != "delay" {
		return 0, dbus.MakeFailedError(fmt.Errorf("inhibit %s, %s", what, mode))
	}
	if l.properties.GetMust(logindManager, preparing) == true {
		return 0, dbus.NewError("org.freedesktop.login1.OperationInProgress", []any{"The operation inhibition has been requested for is already running"})
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	l.inhibitors <- inhibitor{ours, theirs}
	return dbus.UnixFD(theirs.Fd()), nil
}

// inhibited waits until kbdd holds an inhibitor, and no one else does.
func (l *logind) inhibited(kbdd interface{ pid() int }) *os.File {
	l.t.Helper()
	var pipe inhibitor
	select {
	case pipe = <-l.inhibitors:
	case <-time.After(machine.Limit):
		l.t.Fatal("kbdd does not inhibit a suspend")
	}
	name, err := os.Readlink(fmt.Sprint("/proc/self/fd/", pipe.theirs.Fd()))
	if err != nil {
		l.t.Fatal(err)
	}
	machine.WaitUntil(l.t, "kbdd has the inhibitor", func() bool {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", kbdd.pid()))
		return slices.ContainsFunc(links, func(link string) bool {
			target, err := os.Readlink(link)
			return err == nil && target == name
		})
	})
	pipe.theirs.Close()
	return pipe.ours
}

// prepareForSleep tells everybody that a suspend begins, or is over.
func (l *logind) prepareForSleep(begins bool) {
	l.t.Helper()
	if l.properties != nil { // a stranger has none
		l.setPreparing(begins)
	}
	if err := l.bus.Emit("/org/freedesktop/login1", logindManager+".PrepareForSleep", begins); err != nil {
		l.t.Fatal(err)
	}
}

// suspendTo has a suspend go as far as to a stage, "freezer" for the freezing of all programs, "devices" for the suspend of all
// devices after that, and the machine resume at once.
func suspendTo(t testing.TB, stage string) {
	t.Helper()
	if err := os.WriteFile("/sys/power/pm_test", []byte(stage), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile("/sys/power/pm_test", []byte("none"), 0) })
	// It stays frozen for so many seconds; 5 where that cannot be set.
	_ = os.WriteFile("/sys/module/suspend/parameters/pm_test_delay", []byte("0"), 0)
}

// freeze suspends the machine as far as to a stage.
func freeze(t testing.TB, stage string) error {
	t.Helper()
	suspendTo(t, stage)
	err := os.WriteFile("/sys/power/state", []byte("freeze"), 0)
	if err != nil {
		err = fmt.Errorf("%w; the kernel said last:\n%s", err, lastKernelMessages(t))
	}
	return err
}

// lastKernelMessages tells, where programs could not be frozen, which tasks do not freeze, and what they wait for.
func lastKernelMessages(t testing.TB) []byte {
	t.Helper()
	buf := make([]byte, 16<<10)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		t.Errorf("syslog(2): %v", err)
		return nil
	}
	return buf[:n]
}

func TestMachineSuspendsWhileProgramsWait(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	l := startLogind(t)
	kbdd := startKbdd(t)
	inhibitor := l.inhibited(kbdd)
	inRead, inPoll := startReaderIn(t, "read"), startReaderIn(t, "poll")
	startReaderIn(t, "VT_WAITACTIVE")
	keyboard.Type("a")
	inRead.want("1e 9e")
	inPoll.want("1e 9e")
	machine.WaitUntil(t, "one waits in read(2) and one in ioctl(2)", func() bool { return waiting(t) == 2 })

	l.suspend(inhibitor, "freezer")
	l.inhibited(kbdd) // the next one

	typeUntilHeard(t, keyboard, inRead)
	tty.Clear()
	keyboard.Type("c")
	inRead.wantAfterB("2e ae")
	inPoll.wantAfterB("2e ae")
	wantScreen(t, tty, "")
}

// typeUntilHeard types b until a reader hears it, after a resume. Till then the console may hear it: for a suspend the kernel switches
// to a terminal of its own and back.
func typeUntilHeard(t *testing.T, keyboard *machine.Keyboard, r *reader) {
	t.Helper()
	machine.WaitUntil(t, "the reader has the keyboard again", func() bool {
		keyboard.Type("b")
		select {
		case <-r.lines:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
}

// wantAfterB checks that the reader gets these codes, and before them no more than those of b.
func (r *reader) wantAfterB(codes string) {
	r.t.Helper()
	got := ""
	for !strings.HasSuffix(got, codes) {
		got += " " + r.line()
	}
	for _, code := range strings.Fields(strings.TrimSuffix(got, codes)) {
		if code != "30" && code != "b0" {
			r.t.Errorf("the reader got %s, want %s after b", got, codes)
		}
	}
}

// TestKeysHeldOverASuspendAreBrokenOff has the devices suspend too, at which the kernel takes all keys to be up
// (drivers/input/input.c, input_dev_suspend), where kbdd has not let go of them before: the kernel suspends on a terminal of
// its own.
func TestKeysHeldOverASuspendAreBrokenOff(t *testing.T) {
	machine.Require(t)
	tty := machine.OpenConsole(t, 1)
	other := machine.NewUinput(t, machine.UinputConfig{Name: "other"})
	l := startLogind(t)
	kbdd := startKbdd(t)
	for name, keyboard := range map[string]*machine.Keyboard{"PS/2": machine.PS2(t), "uinput": &other.Keyboard} {
		inhibitor := l.inhibited(kbdd)
		r := startReaderIn(t, "read")
		keyboard.Press(machine.KeyA)
		r.want("1e")
		l.suspend(inhibitor, "devices")
		r.want("9e")
		keyboard.Release(machine.KeyA)
		typeUntilHeard(t, keyboard, r)
		r.kill()
		tty.Clear()
		keyboard.Type("c")
		wantScreen(t, tty, "c")
		tty.Clear()
		if t.Failed() {
			t.Fatalf("with the %s keyboard", name)
		}
	}
}

// TestProgramGoesOnThoughKbddEndsDuringTheSuspend has kbdd die when it has stopped the reader, and the next one come while the
// machine is still about to suspend, or when it no longer is.
func TestProgramGoesOnThoughKbddEndsDuringTheSuspend(t *testing.T) {
	machine.Require(t)
	keyboard := machine.PS2(t)
	l := startLogind(t)
	kbdd := startSupervised(t)
	inhibitor := l.inhibited(kbdd)
	r := startReaderIn(t, "read")
	for _, over := range []bool{false, true} {
		keyboard.Type("a")
		r.want("1e 9e")
		l.prepareForSleep(true)
		wantLetGo(t, inhibitor)
		waitStopped(t, r, true)
		l.setPreparing(!over)
		kbdd.signal(unix.SIGKILL)
		kbdd.awaitReady()
		if !over {
			machine.WaitUntil(t, "the next kbdd has stopped the reader again", func() bool {
				return strings.Count(kbdd.said(), "about to suspend") == 2
			})
			waitStopped(t, r, true)
			l.prepareForSleep(false)
		}
		inhibitor = l.inhibited(kbdd)
		waitStopped(t, r, false)
	}
	keyboard.Type("b")
	r.want("30 b0")
}

// TestProgramGoesOnThoughLogindEndsDuringTheSuspend has nobody say that it is over.
func TestProgramGoesOnThoughLogindEndsDuringTheSuspend(t *testing.T) {
	machine.Require(t)
	l := startLogind(t)
	kbdd := startKbdd(t)
	inhibitor := l.inhibited(kbdd)
	r := startReaderIn(t, "read")
	for range 2 {
		l.prepareForSleep(true)
		wantLetGo(t, inhibitor)
		waitStopped(t, r, true)
		if _, err := l.bus.ReleaseName(logindName); err != nil {
			t.Fatal(err)
		}
		waitStopped(t, r, false)
		l.setPreparing(false)
		if _, err := l.bus.RequestName(logindName, dbus.NameFlagDoNotQueue); err != nil {
			t.Fatal(err)
		}
		inhibitor = l.inhibited(kbdd)
	}
}

func waitStopped(t *testing.T, r *reader, stopped bool) {
	t.Helper()
	machine.WaitUntil(t, fmt.Sprintf("the reader is stopped: %v", stopped), func() bool {
		return isStopped(r.cmd.Process.Pid) == stopped
	})
}

func TestOnlyLogindTellsOfASuspend(t *testing.T) {
	machine.Require(t)
	l := startLogind(t)
	kbdd := startKbdd(t)
	inhibitor := l.inhibited(kbdd)
	stranger, err := dbus.Connect(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	(&logind{t: t, bus: stranger}).prepareForSleep(true)
	var names []string
	if err := stranger.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	others := append(l.bus.Names(), stranger.Names()...) // an array of descriptors ends a godbus that has them
	for _, name := range names {                         // one of them is kbdd
		if slices.Contains(others, name) {
			continue
		}
		for _, body := range []any{true, []dbus.UnixFD{dbus.UnixFD(null.Fd())}} {
			stranger.Send(&dbus.Message{
				Type: dbus.TypeSignal,
				Headers: map[dbus.HeaderField]dbus.Variant{
					dbus.FieldDestination: dbus.MakeVariant(name),
					dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/login1")),
					dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.login1.Manager"),
					dbus.FieldMember:      dbus.MakeVariant("PrepareForSleep"),
					dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body)),
				},
				Body: []any{body},
			}, nil)
		}
	}
	if err := stranger.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil { // the bus has passed all on
		t.Fatal(err)
	}
	inhibitor.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := inhibitor.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("kbdd lets go of its inhibitor for anybody on the bus: %v", err)
	}
	inhibitor.Close()
	if strings.Contains(kbdd.said(), "about to suspend") {
		t.Error("kbdd stops programs for anybody on the bus")
	}
	startReader(t) // kbdd still works
}

func TestLogindIsFoundThoughItComesLateOrComesBack(t *testing.T) {
	machine.Require(t)
	dir := t.TempDir()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", busIn(dir))
	kbdd := startKbdd(t)
	awaitSaid(t, kbdd, "suspend")
	first := startLogindIn(t, dir)
	startReader(t) // with which kbdd looks again
	first.inhibited(kbdd)

	first.daemon.Process.Kill()
	awaitSaid(t, kbdd, "the system bus is gone")
	startLogindIn(t, dir).inhibited(kbdd)
}

func TestWithoutLogindKbddSaysWhatThatMeans(t *testing.T) {
	machine.Require(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
	kbdd := startKbdd(t)
	awaitSaid(t, kbdd, "suspend")
}

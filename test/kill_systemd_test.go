package test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"kbdd/test/machine"
)

// A unit is kbdd.service, which systemd runs: kbdd is kept by it, and lasts for all tries of a case.
type unit struct {
	bus   *dbus.Conn
	t     testing.TB // of the try
	lives int        // how often a kbdd has become ready in this case
	begun int64      // where its log begins that is of this try
	ready int        // how often a kbdd had become ready before it
	files uint32     // what systemd keeps of it
}

const (
	unitLog    = "/run/kbdd.log"
	unitConfig = "/etc/kbdd.toml"
	// unitDropIn has what a test must read go to a file, and not to the journal.
	unitDropIn = "/run/systemd/system/kbdd.service.d/test.conf"
)

// newUnit is nil where the machine does not run systemd. The terminals are the test's: there are no gettys.
func newUnit(t *testing.T) *unit {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil
	}
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	if err := os.MkdirAll(filepath.Dir(unitDropIn), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unitDropIn, []byte("[Service]\nStandardError=append:"+unitLog+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "mask", "--runtime", "getty@.service", "autovt@.service")
	systemctl(t, "stop", "getty@*.service")
	return &unit{bus: bus}
}

func systemctl(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// start starts kbdd for a case, and has it end with the case.
func (u *unit) start(k *killing) {
	k.Helper()
	text := []byte(nil)
	if len(k.config) > 0 {
		var err error
		if text, err = os.ReadFile(k.config[len(k.config)-1]); err != nil {
			k.Fatal(err)
		}
	}
	if err := os.WriteFile(unitConfig, text, 0o644); err != nil {
		k.Fatal(err)
	}
	u.kill() // one that a failure has left
	os.Remove(unitLog)
	u.lives, u.begun, u.ready = 0, 0, 0
	systemctl(k, "start", "kbdd.service")
	k.t.Cleanup(u.kill)
	u.awaitReady()
	u.awaitInhibitor(k)
	u.files = u.property(k, "Service", "NFileDescriptorStore").(uint32)
}

func (u *unit) kill() { _ = exec.Command("systemctl", "stop", "kbdd.service").Run() }

// journal is what systemd has said last.
func (u *unit) journal() string {
	out, _ := exec.Command("journalctl", "--boot", "--no-pager", "--output=short-precise", "--lines=40").CombinedOutput()
	return string(out)
}

// property is one of the unit's, of an interface of systemd's.
func (u *unit) property(t testing.TB, of, name string) any {
	t.Helper()
	const kbdd = "/org/freedesktop/systemd1/unit/kbdd_2eservice"
	value, err := u.bus.Object("org.freedesktop.systemd1", kbdd).GetProperty("org.freedesktop.systemd1." + of + "." + name)
	if err != nil {
		t.Fatal(err)
	}
	return value.Value()
}

func (u *unit) pid() int { return int(u.property(u.t, "Service", "MainPID").(uint32)) }

// said is the log of this try.
func (u *unit) said() string {
	log, err := os.Open(unitLog)
	if err != nil {
		return ""
	}
	defer log.Close()
	log.Seek(u.begun, io.SeekStart)
	text, _ := io.ReadAll(log)
	return string(text)
}

func (u *unit) starts() int { return u.ready + strings.Count(u.said(), "msg=ready") }

// awaitReady waits until systemd has heard that one more kbdd is ready.
func (u *unit) awaitReady() {
	u.t.Helper()
	u.lives++
	machine.WaitUntil(u.t, "kbdd is ready", func() bool { return u.starts() >= u.lives })
	machine.WaitUntil(u.t, "the unit is active", func() bool { return u.property(u.t, "Unit", "ActiveState") == "active" })
}

// awaitInhibitor waits until kbdd has what it asks logind for.
func (u *unit) awaitInhibitor(k *killing) {
	k.Helper()
	machine.WaitUntil(k, "kbdd has an inhibitor", func() bool { return hasInhibitor(descriptors(u.pid())) })
}

func hasInhibitor(links []string) bool {
	return slices.ContainsFunc(links, func(link string) bool { return strings.HasPrefix(link, "/run/systemd/inhibit/") })
}

// exhaust takes all memory from the unit's cgroup, which is gone with kbdd.
func (u *unit) exhaust(k *killing) {
	k.Helper()
	cgroup := u.property(k, "Service", "ControlGroup").(string)
	pid := u.pid()
	if err := os.WriteFile("/sys/fs/cgroup"+cgroup+"/memory.max", []byte("0"), 0); err != nil {
		k.Error(err)
	}
	k.awaitEnd(pid)
	_ = os.WriteFile("/sys/fs/cgroup"+cgroup+"/memory.max", []byte("max"), 0)
}

// finish sees that the unit is active, with a kbdd that nobody has ended since.
func (u *unit) finish(k *killing) {
	k.Helper()
	if state := u.property(k, "Unit", "ActiveState"); state != "active" || u.starts() != u.lives {
		k.Errorf("the unit is %v, and kbdd was ready %d times, want %d", state, u.starts(), u.lives)
	}
	said := u.said()
	u.begun += int64(len(said))
	u.ready += strings.Count(said, "msg=ready")
}

// wantKept checks that systemd keeps no more of kbdd than at first.
func (u *unit) wantKept(k *killing) {
	k.Helper()
	k.until("systemd keeps as many files of kbdd as before; it keeps %v", func() (any, bool) {
		n := u.property(k, "Service", "NFileDescriptorStore").(uint32)
		return n, n == u.files
	})
}

// suspend suspends the machine by logind, and returns when that says that it has resumed.
func (u *unit) suspend(k *killing) {
	k.Helper()
	const manager = "org.freedesktop.login1.Manager"
	match := []dbus.MatchOption{dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForSleep")}
	signals := make(chan *dbus.Signal, 8)
	u.bus.Signal(signals)
	defer u.bus.RemoveSignal(signals)
	if err := u.bus.AddMatchSignal(match...); err != nil {
		k.Fatal(err)
	}
	defer u.bus.RemoveMatchSignal(match...)
	if err := u.bus.Object("org.freedesktop.login1", "/org/freedesktop/login1").Call(manager+".Suspend", 0, false).Err; err != nil {
		k.Fatal(err)
	}
	limit := time.After(machine.Limit)
	for begins := true; begins; {
		select {
		case s := <-signals:
			if err := dbus.Store(s.Body, &begins); err != nil {
				k.Fatal(err)
			}
		case <-limit:
			k.Fatal("logind does not suspend the machine, or it does not resume")
		}
	}
}

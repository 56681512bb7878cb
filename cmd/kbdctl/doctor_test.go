package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
)

// A patient is a machine laid out in a folder, in good health but for what a test breaks.
type patient struct {
	t         *testing.T
	root      string
	status    control.Status // while nobody has a device open
	muted     control.Status // while the doctor has
	errStatus error
	errOpen   map[int]error // by flags
	errAccess error         // what the node's own rights say
	fault     string        // of the configuration
	shared    bool          // the node is for the group input
	member    bool          // alice is in that, by /etc/group
	uid       int
}

func newPatient(t *testing.T) *patient {
	p := &patient{t: t, root: t.TempDir(), uid: 1000, errOpen: make(map[int]error)}
	p.status = statusOf(nobody, nobody, a)
	p.muted = statusOf([]control.Holder{doom}, nobody, heard(a, "kbd0"))
	for _, path := range []string{
		"/dev/cuse", "/dev/uinput", "/dev/tty0", "/run/systemd/system", "/run/dbus/system_bus_socket",
		"/usr/lib/systemd/system/kbdd.service", "/etc/systemd/system/multi-user.target.wants/kbdd.service", "/usr/lib/udev/rules.d/60-kbdd.rules",
	} {
		p.write(path, "")
	}
	p.write("/proc/bus/input/devices", "N: Name=\"kbdd bypass\"\n")
	p.write("/proc/1/comm", "systemd\n")
	p.write("/proc/300/comm", "systemd-logind\n")
	p.write("/proc/400/comm", "kbdd\n")
	p.link("/dev/kbd0", "/dev/null") // a character device that every system has, and nobody but root may change
	return p
}

func (p *patient) link(path, target string) {
	p.t.Helper()
	p.write(path+".d", "")
	p.remove(path)
	if err := os.Symlink(target, filepath.Join(p.root, path)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) write(path, text string) {
	p.t.Helper()
	path = filepath.Join(p.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// deny has an open end with this error, and the node's rights too if that is what it is.
func (p *patient) deny(err error) {
	p.errOpen[os.O_WRONLY], p.errOpen[os.O_RDONLY] = err, err
	if errors.Is(err, fs.ErrPermission) {
		p.errAccess = err
	}
}

func (p *patient) remove(path string) { os.RemoveAll(filepath.Join(p.root, path)) }

// runs has a program run that has a keyboard's node open.
func (p *patient) runs(pid int, comm, cgroup, node string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	p.write(dir+"comm", comm+"\n")
	p.write(dir+"cgroup", cgroup+"\n")
	p.link(dir+"fd/5", node)
}

// complaints are what the doctor finds that is not fine, a line each.
func (p *patient) complaints() string {
	p.t.Helper()
	opened := false
	d := &doctor{
		root: p.root, user: "alice", uid: p.uid,
		status: func() (control.Status, error) {
			if opened {
				return p.muted, p.errStatus
			}
			return p.status, p.errStatus
		},
		open: func(_ string, flags int) (io.Closer, error) {
			opened = flags == os.O_RDONLY
			return io.NopCloser(nil), p.errOpen[flags]
		},
		access: func(string) error { return p.errAccess },
		check:  func() string { return p.fault },
		group:  func(fs.FileInfo) (string, uint32, bool) { return "input", 104, p.shared },
		member: func(uint32) bool { return p.member },
	}
	var lines []string
	for _, f := range d.examine() {
		if f.Verdict != fine {
			lines = append(lines, fmt.Sprintf("%s %s: %s [%s]", f.Verdict, f.Check, f.Says, f.Mend))
			wantRunnable(p.t, f.Mend)
		}
	}
	return strings.Join(lines, "\n")
}

// mendPrograms are what a mend may run.
var mendPrograms = []string{
	"apt", "chgrp", "kbdctl", "kbdd", "kill", "modprobe", "newgrp", "pkill", "printf", "rm", "sudo", "systemctl", "udevadm", "usermod",
}

// wantRunnable checks that a mend can be copied into a shell: its syntax, and that each command's program is a known one.
func wantRunnable(t *testing.T, mend string) {
	t.Helper()
	if out, err := exec.Command("sh", "-n", "-c", mend).CombinedOutput(); err != nil {
		t.Errorf("sh does not take %q: %v: %s", mend, err, out)
	}
	command, _, _ := strings.Cut(mend, " #")
	quoted := regexp.MustCompile(`'[^']*'`)
	for _, simple := range regexp.MustCompile(`&&|\|\||[;&]`).Split(quoted.ReplaceAllString(command, "x"), -1) {
		words := strings.Fields(simple)
		if len(words) > 0 && words[0] == "sudo" {
			words = words[1:]
		}
		if len(words) > 0 && !slices.Contains(mendPrograms, words[0]) {
			t.Errorf("%q runs %s, which is no program that is known here", mend, words[0])
		}
	}
	if strings.Contains(command, "udevadm trigger") && regexp.MustCompile(`trigger [^&;]*\*`).MatchString(command) {
		t.Errorf("%q: udevadm trigger takes no patterns of files", mend)
	}
}

func TestDoctorNamesTheCauseAndTheMend(t *testing.T) {
	const (
		restart = "systemctl restart kbdd"
		trigger = "udevadm control --reload && udevadm trigger --settle -s cuse"
	)
	stopped := &fs.PathError{Op: "connect", Path: control.Socket, Err: unix.ECONNREFUSED}
	denied := &fs.PathError{Op: "open", Path: defaultDevice, Err: unix.EACCES}
	grabbed := heard(a, "kbd0")
	grabbed.Muted, grabbed.Problem = false, "another program has grabbed it"
	for _, c := range []struct {
		name string
		harm func(p *patient)
		want []string
	}{
		{"a machine in good health", func(*patient) {}, nil},
		{"no CUSE loaded", func(p *patient) { p.remove("/dev/cuse") }, []string{"broken cuse: there is no /dev/cuse", "[modprobe cuse]"}},
		{"no uinput", func(p *patient) { p.remove("/dev/uinput") }, []string{"broken uinput: there is no /dev/uinput", "[modprobe uinput && " + restart + "]"}},
		{
			"uinput came after kbdd", func(p *patient) { p.write("/proc/bus/input/devices", "") },
			[]string{"broken uinput: kbdd could not use /dev/uinput", "[" + restart + "]"},
		},
		{
			"kbdd was killed", func(p *patient) { p.errStatus = stopped; p.remove("/dev/kbd0") },
			[]string{"broken kbdd: kbdd does not run [systemctl start kbdd]\nbroken node: there is no /dev/kbd0, for kbdd does not run"},
		},
		{
			"the device is a file", func(p *patient) { p.remove("/dev/kbd0"); p.write("/dev/kbd0", "oops") },
			[]string{"broken node: /dev/kbd0 is no device", "[rm /dev/kbd0]"},
		},
		{
			"kbdd without its device", func(p *patient) { p.remove("/dev/kbd0") },
			[]string{"broken node: kbdd runs, but there is no /dev/kbd0 [" + restart + "]"},
		},
		{
			"no right to ask", func(p *patient) { p.errStatus = denied },
			[]string{"broken kbdd: kbdd cannot be asked", "[usermod -aG input alice # and log in anew]"},
		},
		{
			"no right to open", func(p *patient) { p.deny(denied) },
			[]string{"broken rights: only root may open /dev/kbd0: kbdd's udev rule did not set its group [" + trigger + "]"},
		},
		{
			"no udev rule", func(p *patient) { p.deny(denied); p.remove("/usr/lib/udev/rules.d") },
			[]string{"broken rights: only root may open /dev/kbd0: kbdd's udev rule is not installed [printf ", ">/etc/udev/rules.d/60-kbdd.rules && " + trigger + "]"},
		},
		{
			"no udev rule, as root sees it", func(p *patient) { p.uid = 0; p.remove("/usr/lib/udev/rules.d") },
			[]string{"note rights: root may open /dev/kbd0, and nobody else: kbdd's udev rule is not installed [printf "},
		},
		{
			"udev rule switched off", func(p *patient) { p.deny(denied); p.link("/etc/udev/rules.d/60-kbdd.rules", "/dev/null") },
			[]string{"kbdd's udev rule is switched off by /etc/udev/rules.d/60-kbdd.rules [rm /etc/udev/rules.d/60-kbdd.rules && " + trigger + "]"},
		},
		{
			"not in the group", func(p *patient) { p.shared = true; p.deny(denied) },
			[]string{"broken rights: alice may not open /dev/kbd0, which is for the group input [usermod -aG input alice # and log in anew]"},
		},
		{
			"in the group since the login", func(p *patient) { p.shared = true; p.deny(denied); p.member = true },
			[]string{"broken rights: alice is in the group input, but was not yet at this login [newgrp input # or log in anew]"},
		},
		{
			"the configuration refuses", func(p *patient) { p.shared = true; p.deny(denied); p.errAccess = nil },
			[]string{"broken rights: kbdd refuses alice /dev/kbd0: an entry [[device]] in /etc/kbdd.toml names others [kbdd -check && systemctl reload kbdd # once alice is named there]"},
		},
		{
			"a bad configuration", func(p *patient) { p.errStatus, p.fault = stopped, "kbdd: /etc/kbdd.toml:3: unknown key" },
			[]string{"broken kbdd: kbdd does not run, for its configuration is wrong: /etc/kbdd.toml:3: unknown key [kbdd -check && systemctl start kbdd # once that line is mended]"},
		},
		{
			"a configuration that went bad", func(p *patient) { p.fault = "kbdd: /etc/kbdd.toml:3: unknown key" },
			[]string{"note config: kbdd goes on without its configuration, which is wrong: /etc/kbdd.toml:3: unknown key [kbdd -check && systemctl reload kbdd # once that line is mended]"},
		},
		{
			"a masked unit", func(p *patient) { p.errStatus = stopped; p.link("/etc/systemd/system/kbdd.service", "/dev/null") },
			[]string{"broken kbdd: kbdd does not run, for its unit is masked [systemctl unmask kbdd && systemctl start kbdd]"},
		},
		{
			"a unit that is not enabled", func(p *patient) { p.errStatus = stopped; p.remove("/etc/systemd/system/multi-user.target.wants") },
			[]string{"broken kbdd: kbdd does not run, nor is it started at boot [systemctl enable --now kbdd]"},
		},
		{
			"no unit", func(p *patient) { p.errStatus = stopped; p.remove("/usr/lib/systemd") },
			[]string{"broken kbdd: kbdd does not run [kbdd &]"},
		},
		{
			"a kbdd that hangs", func(p *patient) {
				p.errStatus = fmt.Errorf("kbdd hangs: %w", os.ErrDeadlineExceeded)
				p.deny(errors.New("it was opened"))
			},
			[]string{"broken kbdd: kbdd does not answer: kbdd hangs: i/o timeout [" + restart + "]"},
		},
		{
			"a kbdd whose device hangs", func(p *patient) { p.deny(os.ErrDeadlineExceeded) },
			[]string{"broken rights: kbdd does not answer those who open /dev/kbd0 [" + restart + "]"},
		},
		{
			"another grabs, as a service", func(p *patient) {
				p.muted = statusOf([]control.Holder{doom}, nobody, grabbed)
				p.runs(500, "keyd", "0::/system.slice/keyd.service", a.Node)
				p.runs(501, "other", "0::/user.slice", "/dev/null")
				p.runs(502, "acpid", "0::/system.slice/acpid.service", a.Node)
			},
			[]string{"broken keyboard: Keyboard A (/dev/input/event0): another program has grabbed it, it seems keyd (pid 500) [systemctl stop keyd]"},
		},
		{
			"another grabs, of a user", func(p *patient) {
				p.muted = statusOf([]control.Holder{doom}, nobody, grabbed)
				p.runs(500, "evtest", "0::/user.slice/user-1000.slice/session-1.scope", a.Node)
			},
			[]string{"it seems evtest (pid 500) [kill 500]"},
		},
		{
			"another grabs, whom the user cannot see", func(p *patient) { p.muted = statusOf([]control.Holder{doom}, nobody, grabbed) },
			[]string{"another program has grabbed it [sudo kbdctl doctor # only root sees which]"},
		},
		{"one has the device alone", func(p *patient) { p.errOpen[os.O_RDONLY] = unix.EBUSY }, []string{"note keyboard: another program has /dev/kbd0 for itself [kbdctl release]"}},
		{"no keyboard", func(p *patient) { p.status = statusOf(nobody, nobody) }, []string{"note keyboard: kbdd has found no keyboard"}},
		{"no logind", func(p *patient) { p.remove("/proc/300") }, []string{"note logind: logind does not run", "[systemctl start systemd-logind]"}},
		{"no system bus", func(p *patient) { p.remove("/run/dbus") }, []string{"note logind: logind runs, but there is no system bus", "[systemctl start dbus]"}},
		{"no console", func(p *patient) { p.remove("/dev/tty0") }, []string{"note console: there are no virtual terminals"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			c.harm(p)
			got := p.complaints()
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("the doctor says\n%s\nand not %q", got, want)
				}
			}
			if len(c.want) == 0 && got != "" {
				t.Errorf("the doctor says\n%s", got)
			}
			if checks := strings.Count(got, "broken ") + strings.Count(got, "note "); checks > 2 {
				t.Errorf("the doctor finds too much:\n%s", got)
			}
		})
	}
}

func TestDoctorTellsAKernelWithoutCUSE(t *testing.T) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	p := newPatient(t)
	p.remove("/dev/cuse")
	modules := "/lib/modules/" + unix.ByteSliceToString(uts.Release[:])
	p.write(modules+"/modules.dep", "kernel/fs/fuse/fuse.ko:\n")
	if got := p.complaints(); !strings.Contains(got, "this kernel has no CUSE") {
		t.Error(got)
	}
	p.write(modules+"/modules.dep", "kernel/fs/fuse/cuse.ko.zst: kernel/fs/fuse/fuse.ko.zst\n")
	if got := p.complaints(); !strings.Contains(got, "[modprobe cuse]") {
		t.Error(got)
	}
}

func TestDoctorFailsIfSomethingIsBroken(t *testing.T) {
	if status, out, errs := kbdctl("doctor", "--json", "--socket", filepath.Join(t.TempDir(), "none")); status != exitFailure || errs != "" ||
		!strings.Contains(out, `{"check":"kbdd","verdict":"broken","says":"kbdd does not run"`) {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
}

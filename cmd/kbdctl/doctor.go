package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
)

func doctorCommand(kbdd func() *control.Client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong, and the command that mends it",
		Long: `Look at all that kbdd needs, and say of what is wrong how to mend it. The status is 1 if something is broken.
The doctor opens /dev/kbd0 for a moment, in which the console does not hear the keyboard.`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print a JSON array")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := newDoctor(cmd.Context(), kbdd())
		findings := d.examine()
		write := writeFindings
		if *asJSON {
			write = func(out io.Writer, f []finding) error { return writeJSON(out, f) }
		}
		if err := write(cmd.OutOrStdout(), findings); err != nil {
			return err
		}
		for _, f := range findings {
			if f.Verdict == broken {
				return errSaid
			}
		}
		return nil
	}
	return cmd
}

// A finding is what the doctor says of one thing.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Says    string  `json:"says"`
	Mend    string  `json:"mend,omitempty"` // a command
}

type verdict string

const (
	fine   verdict = "ok"
	note   verdict = "note" // it works without, and here is what does not
	broken verdict = "broken"
)

func writeFindings(out io.Writer, findings []finding) error {
	const indent = 17
	for _, f := range findings {
		if err := writeText(out, fmt.Sprintf("%-7s %-8s %s", f.Verdict, f.Check, plain(f.Says)), indent); err != nil {
			return err
		}
		if f.Mend == "" {
			continue
		}
		// Not folded: it is to be copied.
		if _, err := fmt.Fprintf(out, "%*smend: %s\n", indent, "", plain(f.Mend)); err != nil {
			return err
		}
	}
	return nil
}

// A doctor knows where to look.
type doctor struct {
	root   string // "", or the folder in which a test has laid out its machine
	status func() (control.Status, error)
	open   func(path string, flags int) (io.Closer, error)
	user   string
	uid    int
}

func newDoctor(ctx context.Context, kbdd *control.Client) *doctor {
	return &doctor{
		status: func() (control.Status, error) { return kbdd.Status(ctx) },
		open:   func(path string, flags int) (io.Closer, error) { return os.OpenFile(path, flags, 0) },
		user:   userName(uint32(os.Getuid())),
		uid:    os.Geteuid(),
	}
}

// examine goes from what all else needs to what can be done without.
func (d *doctor) examine() []finding {
	st, err := d.status()
	all := []finding{d.cuse(), d.daemon(err), d.node(err == nil), d.uinput(err == nil)}
	if f, ok := d.rights(); ok {
		all = append(all, f)
	}
	if err == nil {
		all = append(all, d.keyboards(st)...)
	}
	return append(all, d.console(), d.logind())
}

func (d *doctor) has(path string) bool {
	_, err := os.Stat(d.root + path)
	return err == nil
}

// cuse is the kernel's part.
func (d *doctor) cuse() finding {
	switch {
	case d.has("/dev/cuse"):
		return finding{"cuse", fine, "the kernel has /dev/cuse", ""}
	case d.moduleMissing("cuse"):
		return finding{"cuse", broken, "this kernel has no CUSE: kbdd needs one with CONFIG_CUSE", ""}
	}
	return finding{"cuse", broken, "there is no /dev/cuse, so kbdd cannot make devices", "modprobe cuse"}
}

// moduleMissing tells if the kernel's modules are known, and this one is not among them.
func (d *doctor) moduleMissing(name string) bool {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return false
	}
	dir := d.root + "/lib/modules/" + unix.ByteSliceToString(uts.Release[:])
	known := false
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		text, err := os.ReadFile(filepath.Join(dir, list))
		if err == nil && strings.Contains(string(text), "/"+name+".ko") {
			return false
		}
		known = known || err == nil
	}
	return known
}

// daemon is kbdd itself; err is what became of the question for its status.
func (d *doctor) daemon(err error) finding {
	switch {
	case err == nil:
		return finding{"kbdd", fine, "kbdd runs and answers", ""}
	case errors.Is(err, fs.ErrPermission):
		return finding{"kbdd", broken, "kbdd cannot be asked: " + err.Error(), d.join("input")}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return finding{"kbdd", broken, "kbdd does not run", d.service("start", "kbdd")}
	}
	return finding{"kbdd", broken, "kbdd does not answer: " + err.Error(), d.service("restart", "kbdd")}
}

// service is the command that has systemd do something, or the like where it is not in charge.
func (d *doctor) service(verb, name string) string {
	switch {
	case d.has("/run/systemd/system"):
		return "systemctl " + verb + " " + name
	case verb == "restart":
		return "pkill -x " + name + "; " + name + " &"
	}
	return name + " &"
}

func (d *doctor) join(group string) string {
	return fmt.Sprintf("usermod -aG %s %s   (and log in anew)", group, d.user)
}

// node is /dev/kbd0.
func (d *doctor) node(running bool) finding {
	st, err := os.Stat(d.root + defaultDevice)
	switch {
	case err == nil && st.Mode()&fs.ModeCharDevice == 0:
		return finding{"node", broken, defaultDevice + " is no device; a program wrote there while kbdd did not run", "rm " + defaultDevice}
	case err == nil:
		return finding{"node", fine, "there is " + defaultDevice, ""}
	case running:
		return finding{"node", broken, "kbdd runs, but there is no " + defaultDevice, d.service("restart", "kbdd")}
	}
	return finding{"node", broken, "there is no " + defaultDevice + ", for kbdd does not run", ""}
}

// uinput takes keys around a muted keyboard.
func (d *doctor) uinput(running bool) finding {
	const dead = ": SysRq, Ctrl-Alt-Del and the power keys are dead while the keyboard is muted"
	switch {
	case !d.has("/dev/uinput") && !running:
		return finding{"uinput", broken, "there is no /dev/uinput" + dead, "modprobe uinput"}
	case !d.has("/dev/uinput"):
		return finding{"uinput", broken, "there is no /dev/uinput" + dead, "modprobe uinput && " + d.service("restart", "kbdd")}
	case running && !d.hasBypass():
		return finding{"uinput", broken, "kbdd could not use /dev/uinput when it started" + dead, d.service("restart", "kbdd")}
	}
	return finding{"uinput", fine, "there is /dev/uinput, for the keys that go to the system", ""}
}

// hasBypass tells if kbdd has made its device, or that cannot be told.
func (d *doctor) hasBypass() bool {
	text, err := os.ReadFile(d.root + "/proc/bus/input/devices")
	return err != nil || strings.Contains(string(text), `Name="kbdd bypass"`)
}

// rights tells whether this user may open /dev/kbd0. To write only: that mutes nothing.
func (d *doctor) rights() (f finding, ok bool) {
	st, err := os.Stat(d.root + defaultDevice)
	if err != nil || st.Mode()&fs.ModeCharDevice == 0 {
		return f, false
	}
	file, err := d.open(d.root+defaultDevice, os.O_WRONLY)
	if err == nil {
		file.Close()
	}
	group, shared := groupOf(st)
	const rule = "udevadm control --reload && udevadm trigger --settle /dev/kbd*"
	switch {
	case errors.Is(err, fs.ErrPermission) && !shared:
		return finding{"rights", broken, "only root may open " + defaultDevice + ": kbdd's udev rule did not set its group", rule}, true
	case errors.Is(err, fs.ErrPermission):
		return finding{"rights", broken, fmt.Sprintf("%s may not open %s, which is for the group %s", d.user, defaultDevice, group), d.join(group)}, true
	case err != nil && !errors.Is(err, unix.EBUSY):
		return finding{"rights", broken, err.Error(), d.service("restart", "kbdd")}, true
	case d.uid == 0 && !shared:
		return finding{"rights", note, "root may open " + defaultDevice + ", and nobody else: kbdd's udev rule did not set its group", rule}, true
	}
	return finding{"rights", fine, d.user + " may open " + defaultDevice, ""}, true
}

// groupOf is the group of a node, and whether it is one that users can be in, and may use the node.
func groupOf(st fs.FileInfo) (name string, shared bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	name = strconv.Itoa(int(sys.Gid))
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return name, sys.Gid != 0 && st.Mode().Perm()&0o060 == 0o060
}

// console is where Ctrl-Alt-Fn and the terminals are.
func (d *doctor) console() finding {
	if d.has("/dev/tty0") {
		return finding{"console", fine, "there are virtual terminals, which kbdd follows", ""}
	}
	return finding{"console", note, "there are no virtual terminals: who opens a device has the keyboard until it is closed", ""}
}

// logind has kbdd stop the programs that wait before the machine suspends.
func (d *doctor) logind() finding {
	const awake = ": a program that waits for a key keeps the machine from suspending"
	runs := false
	for _, p := range d.programs() {
		runs = runs || p.command == "systemd-logind" || p.command == "elogind" || p.command == "elogind-daemon"
	}
	f := finding{"logind", note, "", ""}
	switch {
	case !runs:
		f.Says = "logind does not run" + awake
		if d.has("/run/systemd/system") {
			f.Mend = "systemctl start systemd-logind"
		}
	case !d.has("/run/dbus/system_bus_socket"):
		f.Says = "logind runs, but there is no system bus" + awake
		f.Mend = d.service("start", "dbus")
	default:
		f.Verdict, f.Says = fine, "kbdd hears from logind when the machine is about to suspend"
	}
	return f
}

package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	check  func() string // what "kbdd -check" says; "" if nothing is wrong, or that cannot be told
	open   func(path string, flags int) (io.Closer, error)
	access func(path string) error                                       // whether the node's rights let this program open it
	group  func(node fs.FileInfo) (name string, gid uint32, shared bool) // shared: it lets the group use the node, and users can be in it
	member func(gid uint32) bool                                         // whether the user is in the group, with the next login if not now
	user   string
	uid    int
}

func newDoctor(ctx context.Context, kbdd *control.Client) *doctor {
	name := userName(uint32(os.Getuid()))
	return &doctor{
		status: func() (control.Status, error) { return kbdd.Status(ctx) },
		check:  func() string { return checkConfig(ctx) },
		open:   openInTime,
		access: func(path string) error { return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) },
		group:  groupOf,
		member: func(gid uint32) bool { return isMember(name, gid) },
		user:   name,
		uid:    os.Geteuid(),
	}
}

// openLimit is for an open: of a device whose kbdd hangs it would wait for ever.
const openLimit = 5 * time.Second

func openInTime(path string, flags int) (io.Closer, error) {
	type opened struct {
		file *os.File
		err  error
	}
	done, late := make(chan opened), make(chan struct{})
	go func() {
		f, err := os.OpenFile(path, flags, 0)
		select {
		case done <- opened{f, err}:
		case <-late:
			f.Close()
		}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case <-time.After(openLimit):
		close(late)
		return nil, os.ErrDeadlineExceeded
	}
}

// examine goes from what all else needs to what can be done without.
func (d *doctor) examine() []finding {
	st, err := d.status()
	all := []finding{d.cuse(), d.daemon(err), d.node(err == nil), d.uinput(err == nil)}
	if err == nil {
		all = append(all, d.config()...)
	}
	if f, ok := d.rights(); ok && !hangs(err) { // whom it has open would hang with it
		all = append(all, f)
	}
	if err == nil {
		all = append(all, d.keyboards(st)...)
	}
	return append(all, d.console(), d.logind())
}

func (d *doctor) has(path string) bool {
	_, err := os.Lstat(d.root + path)
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

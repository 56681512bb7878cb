package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
)

// keyboards has kbdd mute the keyboards for a moment, and looks at which it cannot have. Nobody else can tell who has
// grabbed one without grabbing it.
func (d *doctor) keyboards(st control.Status) []finding {
	plugged := slices.ContainsFunc(st.Keyboards, func(k control.Keyboard) bool { return k.Plugged })
	if !plugged {
		return []finding{{"keyboard", note, "kbdd has found no keyboard: plug one in", ""}}
	}
	f, err := d.open(d.root+defaultDevice, os.O_RDONLY)
	switch {
	case errors.Is(err, unix.EBUSY):
		return []finding{{"keyboard", note, "another program has " + defaultDevice + " for itself", "kbdctl release"}}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return []finding{{"keyboard", broken, "kbdd does not answer those who open " + defaultDevice + " to read", d.service("restart", "kbdd")}}
	case err != nil:
		return nil // which was said of the rights
	}
	st, err = d.status()
	f.Close()
	if err != nil {
		return []finding{{"keyboard", broken, "kbdd ended when " + defaultDevice + " was opened", d.service("restart", "kbdd")}}
	}
	var all []finding
	for _, k := range st.Keyboards {
		if k.Problem != "" {
			all = append(all, d.unmuted(k))
		}
	}
	if len(all) == 0 {
		all = append(all, finding{"keyboard", fine, "kbdd can have the keyboards", ""})
	}
	return all
}

// unmuted is the finding for a keyboard that cannot be muted.
func (d *doctor) unmuted(k control.Keyboard) finding {
	f := finding{"keyboard", broken, fmt.Sprintf("%s (%s): %s", k.Name, k.Node, k.Problem), ""}
	var suspects []string
	for _, p := range d.programs() {
		if slices.Contains(listeners, p.command) || !d.hasOpen(p, k.Node) {
			continue
		}
		suspects = append(suspects, fmt.Sprintf("%s (pid %d)", p.command, p.pid))
		if f.Mend == "" {
			f.Mend = d.end(p)
		}
	}
	switch {
	case len(suspects) > 0:
		f.Says += ", it seems " + enumerate(suspects)
	case d.uid != 0:
		f.Mend = "sudo kbdctl doctor # only root sees which"
	}
	return f
}

// listeners are the programs that read keyboards and grab none, and kbdd.
var listeners = []string{"kbdd", "systemd-logind", "elogind", "elogind-daemon", "acpid", "upowerd", "thermald", "triggerhappy", "thd"}

// A running is a program that runs.
type running struct {
	pid     int
	command string
}

func (d *doctor) programs() (all []running) {
	comms, _ := filepath.Glob(d.root + "/proc/[0-9]*/comm")
	for _, comm := range comms {
		text, err := os.ReadFile(comm)
		pid, errPID := strconv.Atoi(filepath.Base(filepath.Dir(comm)))
		if err == nil && errPID == nil {
			all = append(all, running{pid, strings.TrimSuffix(string(text), "\n")})
		}
	}
	return all
}

func (d *doctor) hasOpen(p running, node string) bool {
	links, _ := filepath.Glob(fmt.Sprintf("%s/proc/%d/fd/*", d.root, p.pid))
	return slices.ContainsFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && target == node
	})
}

// end is the command that ends a program: with its service, if it is one (cgroups(7), systemd.unit(5)).
func (d *doctor) end(p running) string {
	text, _ := os.ReadFile(fmt.Sprintf("%s/proc/%d/cgroup", d.root, p.pid))
	for line := range strings.Lines(string(text)) {
		unit := path.Base(strings.TrimSpace(line))
		if name, ok := strings.CutSuffix(unit, ".service"); ok && strings.Contains(line, "/system.slice/") {
			return "systemctl stop " + name
		}
	}
	return fmt.Sprint("kill ", p.pid)
}

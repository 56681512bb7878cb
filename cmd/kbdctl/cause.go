package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What keeps kbdd from running, and users from its devices.

const configFile = "/etc/kbdd.toml"

// daemon is kbdd itself; err is what became of the question for its status.
func (d *doctor) daemon(err error) finding {
	switch {
	case err == nil:
		return finding{"kbdd", fine, "kbdd runs and answers", ""}
	case errors.Is(err, fs.ErrPermission):
		return finding{"kbdd", broken, "kbdd cannot be asked: " + err.Error(), d.join("input")}
	case hangs(err):
		return finding{"kbdd", broken, "kbdd does not answer: " + err.Error(), d.service("restart", "kbdd")}
	}
	says, mend := "kbdd does not run", d.service("start", "kbdd")
	fault := d.check()
	switch {
	case fault != "":
		says += ", for its configuration is wrong: " + strings.TrimPrefix(fault, "kbdd: ")
		mend = "kbdd -check && " + mend + " # once that line is mended"
	case !d.managed("kbdd"):
	case d.isSwitchedOff("systemd/system/kbdd.service") != "":
		says, mend = says+", for its unit is masked", "systemctl unmask kbdd && "+mend
	case !d.isEnabled():
		says, mend = says+", nor is it started at boot", "systemctl enable --now kbdd"
	}
	return finding{"kbdd", broken, says, mend}
}

// hangs tells if kbdd did not answer, though it runs.
func hangs(err error) bool {
	return err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED)
}

// config is the configuration of a kbdd that runs: it may have gone bad since.
func (d *doctor) config() []finding {
	fault := d.check()
	if fault == "" {
		return nil
	}
	return []finding{{
		"config", note, "kbdd goes on without its configuration, which is wrong: " + strings.TrimPrefix(fault, "kbdd: "),
		"kbdd -check && " + d.service("reload", "kbdd") + " # once that line is mended",
	}}
}

// checkConfig is what is wrong with the configuration, as kbdd says it; "" also where that cannot be told.
func checkConfig(ctx context.Context) string {
	f, err := os.Open(configFile)
	if err != nil {
		return ""
	}
	f.Close()
	program, err := exec.LookPath("kbdd")
	if err != nil {
		program = "/usr/sbin/kbdd" // which is not on the path of all users
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, "-check").CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok || ctx.Err() != nil {
		return ""
	}
	return strings.TrimSpace(string(said))
}

// Where systemd and udev look for what is installed, and for what the administrator puts before it.
var installed, before = []string{"/usr/lib/", "/lib/", "/usr/local/lib/"}, []string{"/etc/", "/run/"}

// isInstalled tells if there is a unit or a rule.
func (d *doctor) isInstalled(path string) bool {
	for _, dir := range append(installed, before...) {
		if d.has(dir + path) {
			return true
		}
	}
	return false
}

// isSwitchedOff is the link to /dev/null that is put before a unit or a rule; "" if there is none.
func (d *doctor) isSwitchedOff(path string) string {
	for _, dir := range before {
		if target, err := os.Readlink(d.root + dir + path); err == nil && target == os.DevNull {
			return dir + path
		}
	}
	return ""
}

func (d *doctor) isEnabled() bool {
	links, _ := filepath.Glob(d.root + "/etc/systemd/system/*.wants/kbdd.service")
	return len(links) > 0
}

// managed tells if systemd is in charge of a service.
func (d *doctor) managed(name string) bool {
	return d.has("/run/systemd/system") && (name != "kbdd" || d.isInstalled("systemd/system/kbdd.service"))
}

// service is the command that has systemd do something, or the like where it is not in charge.
func (d *doctor) service(verb, name string) string {
	switch {
	case d.managed(name):
		return "systemctl " + verb + " " + name
	case verb == "restart":
		return "pkill -x " + name + "; " + name + " &"
	case verb == "reload":
		return "pkill -HUP -x " + name
	}
	return name + " &"
}

func (d *doctor) join(group string) string {
	return fmt.Sprintf("usermod -aG %s %s # and log in anew", group, d.user)
}

// rights tells whether this user may open /dev/kbd0. To write only: that mutes nothing.
func (d *doctor) rights() (f finding, ok bool) {
	node := d.root + defaultDevice
	st, err := os.Stat(node)
	if err != nil || st.Mode()&fs.ModeCharDevice == 0 {
		return f, false
	}
	file, err := d.open(node, os.O_WRONLY)
	if err == nil {
		file.Close()
	}
	group, gid, shared := d.group(st)
	says, mend := "", ""
	switch {
	case errors.Is(err, fs.ErrPermission) && d.access(node) == nil: // so it was kbdd's answer
		says = fmt.Sprintf("kbdd refuses %s %s: an entry [[device]] in %s names others", d.user, defaultDevice, configFile)
		mend = fmt.Sprintf("kbdd -check && %s # once %s is named there", d.service("reload", "kbdd"), d.user)
	case errors.Is(err, fs.ErrPermission) && !shared:
		says, mend = d.withoutRule()
		says = "only root may open " + defaultDevice + ": " + says
	case errors.Is(err, fs.ErrPermission) && d.member(gid):
		says = fmt.Sprintf("%s is in the group %s, but was not yet at this login", d.user, group)
		mend = "newgrp " + group + " # or log in anew"
	case errors.Is(err, fs.ErrPermission):
		says = fmt.Sprintf("%s may not open %s, which is for the group %s", d.user, defaultDevice, group)
		mend = d.join(group)
	case errors.Is(err, os.ErrDeadlineExceeded):
		says, mend = "kbdd does not answer those who open "+defaultDevice, d.service("restart", "kbdd")
	case err != nil && !errors.Is(err, unix.EBUSY):
		says, mend = err.Error(), d.service("restart", "kbdd")
	case d.uid == 0 && !shared:
		says, mend = d.withoutRule()
		return finding{"rights", note, "root may open " + defaultDevice + ", and nobody else: " + says, mend}, true
	default:
		return finding{"rights", fine, d.user + " may open " + defaultDevice, ""}, true
	}
	return finding{"rights", broken, says, mend}, true
}

// withoutRule says why the node has not the group that kbdd's udev rule gives it.
func (d *doctor) withoutRule() (says, mend string) {
	const (
		rule  = "udev/rules.d/60-kbdd.rules"
		text  = `SUBSYSTEM=="cuse", KERNEL=="kbd[0-9]*", GROUP="input", MODE="0660"`
		apply = "udevadm control --reload && udevadm trigger --settle -s cuse"
	)
	switch off := d.isSwitchedOff(rule); {
	case off != "":
		return "kbdd's udev rule is switched off by " + off, "rm " + off + " && " + apply
	case !d.isInstalled(rule):
		return "kbdd's udev rule is not installed", "printf '%s\\n' '" + text + "' >/etc/" + rule + " && " + apply
	}
	return "kbdd's udev rule did not set its group", apply
}

// groupOf is the group of a node, and whether it is one that users can be in, and may use the node.
func groupOf(st fs.FileInfo) (name string, gid uint32, shared bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", 0, false
	}
	name = strconv.Itoa(int(sys.Gid))
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return name, sys.Gid, sys.Gid != 0 && st.Mode().Perm()&0o060 == 0o060
}

// isMember tells if the user would be in the group after a new login.
func isMember(name string, gid uint32) bool {
	u, err := user.Lookup(name)
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, strconv.Itoa(int(gid)))
}

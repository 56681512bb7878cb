package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// packages are the Debian packages of the programs that the machine is made of, or is asked to have.
var packages = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"busybox":            "busybox-static",
	"xz":                 "xz-utils",
	"evtest":             "evtest",
	"dbus-daemon":        "dbus-daemon",
	"showkey":            "kbd",
	"kbd_mode":           "kbd",
	"kbdrate":            "kbd",
	"setleds":            "kbd",
	"dumpkeys":           "kbd",
	"loadkeys":           "kbd",
	"openvt":             "kbd",
	"hexdump":            "bsdextrautils",
	"/usr/bin/python3":   "python3-minimal",
	"mmdebstrap":         "mmdebstrap",
}

// install sees to it that programs are there, by apt where it is the host's way.
func install(c *cache, programs ...string) error {
	var missing []string
	for _, program := range programs {
		if _, err := lookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	unavailable := func(why string) error {
		return fmt.Errorf("%w: %s: not found: %s", ErrUnavailable, strings.Join(missing, ", "), why)
	}

	var names []string
	for _, program := range missing {
		name, ok := packages[program]
		if !ok {
			return unavailable("install " + program + " by hand")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	byHand := "install what this system calls " + strings.Join(names, ", ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return unavailable(byHand)
	}
	for _, name := range names {
		c.say("installing the Debian package %s", name)
	}
	args := append([]string{"install", "--yes", "--no-install-recommends"}, names...)
	if err := aptGet(args...); err != nil {
		// Lists that are missing or old are the common reason, and mended.
		c.say("bringing apt's lists up to date")
		if err := aptGet("update"); err != nil {
			return unavailable(err.Error())
		}
		if err := aptGet(args...); err != nil {
			return unavailable(err.Error())
		}
	}
	return nil
}

// aptGet runs apt-get as root, which a developer's sudo may ask for on the terminal.
func aptGet(args ...string) error {
	command := append([]string{"apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120"}, args...)
	if os.Geteuid() != 0 {
		sudo := []string{"sudo"}
		if os.Getenv("CI") == "true" {
			sudo = append(sudo, "--non-interactive")
		}
		command = slices.Concat(sudo, []string{"DEBIAN_FRONTEND=noninteractive"}, command)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, tail(out, 5))
	}
	return nil
}

// lookPath finds a program, the system's folders included that a user's PATH does not have.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, program))
	}
	return path, err
}

func isDebian() bool {
	release, err := os.ReadFile("/etc/os-release")
	return err == nil && slices.Contains(strings.Fields(string(release)), "ID=debian")
}

// debianKernel fetches the current kernel of Debian's archive, which need not be installed.
func debianKernel(c *cache) (*kernel, error) {
	name, err := currentKernelPackage()
	if errors.Is(err, errNoKernelPackage) {
		c.say("bringing apt's lists up to date")
		if err := aptGet("update"); err != nil {
			return nil, err
		}
		name, err = currentKernelPackage()
	}
	if err != nil {
		return nil, err
	}
	c.say("fetching the Debian package %s (70 MB, once)", name)
	dir, err := os.MkdirTemp(c.dir, "deb-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// Root's apt would hand the download to a user who may not write here.
	if err := run(dir, "apt-get", "-o", "APT::Sandbox::User=", "--quiet", "download", name); err != nil {
		return nil, err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("apt-get download %s brought %d packages", name, len(debs))
	}
	if err := run(dir, "dpkg-deb", "--extract", debs[0], "."); err != nil {
		return nil, err
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("the package %s has %d kernels", name, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	modules := filepath.Join(dir, "lib", "modules", release)
	if _, err := os.Stat(modules); err != nil {
		modules = filepath.Join(dir, "usr", "lib", "modules", release)
	}
	version := strings.TrimSuffix(filepath.Base(debs[0]), ".deb")
	return makeKernel(c, "debian-"+version, images[0], modules)
}

var errNoKernelPackage = errors.New("apt knows of no package linux-image-amd64")

// currentKernelPackage gives the package that linux-image-amd64 stands for today.
func currentKernelPackage() (string, error) {
	out, err := exec.Command("apt-cache", "show", "--no-all-versions", "linux-image-amd64").Output()
	if err != nil {
		return "", errNoKernelPackage
	}
	for line := range strings.Lines(string(out)) {
		depends, ok := strings.CutPrefix(line, "Depends: ")
		if !ok {
			continue
		}
		for _, word := range strings.FieldsFunc(depends, func(r rune) bool { return strings.ContainsRune(" ,\n", r) }) {
			if strings.HasPrefix(word, "linux-image-") {
				return word, nil
			}
		}
	}
	return "", errNoKernelPackage
}

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, tail(out, 5))
	}
	return nil
}

// tail gives the last n lines of text.
func tail(text []byte, n int) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

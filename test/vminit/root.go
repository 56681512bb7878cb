package vminit

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"kbdd/test/vm/job"
)

// bootRoot leaves the machine to the PID 1 of the whole system in j.Root, as an initramfs does. It returns only if that fails.
func bootRoot(j job.Job) error {
	if err := furnish(j); err != nil {
		return err
	}
	if err := unix.Mount(j.Root, j.Root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", j.Root, err)
	}
	for _, place := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(place, j.Root+place, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", place, err)
		}
	}
	if err := os.Chdir(j.Root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux"})
}

// furnish puts into the system what it cannot have of its own: the job, the program for it, and the kernel's modules.
func furnish(j job.Job) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(j.Root+filepath.Dir(job.Program), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(j.Root+job.SystemPath, text, 0o644); err != nil {
		return err
	}
	if err := os.Link("/init", j.Root+job.Program); err != nil {
		return err
	}
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return err
	}
	modules := filepath.Join(j.Root, "/usr/lib/modules", unix.ByteSliceToString(host.Release[:]))
	kernel := filepath.Join(modules, "kernel")
	if err := os.MkdirAll(kernel, 0o755); err != nil {
		return err
	}
	for _, file := range j.Modules {
		if err := os.Rename(file, filepath.Join(kernel, filepath.Base(file))); err != nil {
			return err
		}
	}
	for _, list := range []string{"modules.order", "modules.builtin"} {
		if err := os.WriteFile(filepath.Join(modules, list), nil, 0o644); err != nil {
			return err
		}
	}
	depmod := exec.Command("/sbin/depmod")
	depmod.SysProcAttr = &syscall.SysProcAttr{Chroot: j.Root}
	if out, err := depmod.CombinedOutput(); err != nil {
		return fmt.Errorf("depmod: %w: %s", err, out)
	}
	return nil
}

// Job runs the job that PID 1 has left to a whole system. It does not return.
func Job() {
	j, err := readJob(job.SystemPath)
	if err == nil {
		err = runJob(j)
	}
	fmt.Fprintln(os.Stderr, "vminit:", err)
	os.Exit(1)
}

func readJob(path string) (j job.Job, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return j, err
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return j, fmt.Errorf("%s: %w", path, err)
	}
	return j, nil
}

// Package vminit is PID 1 of the test machine: it sets the machine up, runs one program and sends back what became of it.
// What to run stands in the job that package vm left in the root file system.
package vminit

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/vm/job"
)

// Main is the life of the machine. It does not return: the kernel would panic.
func Main() {
	if err := live(); err != nil {
		fmt.Fprintln(os.Stderr, "vminit:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func live() error {
	if err := mountAll(); err != nil {
		return err
	}
	j, err := readJob(job.Path)
	if err != nil {
		return err
	}
	for _, file := range j.Modules {
		if err := loadModule(file); err != nil {
			return err
		}
		if j.Root != "" && filepath.Base(file) == "virtio_console.ko" {
			break // the others are for that system to load
		}
	}
	if err := linkPorts(); err != nil {
		return err
	}
	if j.Root != "" {
		return bootRoot(j)
	}
	if err := countCtrlAltDel(); err != nil {
		return err
	}
	// An open terminal keeps its settings, and echoes what is typed though no one reads it.
	console, err := os.OpenFile("/dev/tty1", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer console.Close()
	if len(j.Args) == 0 {
		return shells()
	}
	return runJob(j)
}

// mountAll makes the places that programs expect.
func mountAll() error {
	mounts := []struct{ kind, place string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/run"},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.place, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.place, m.kind, 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.place, err)
		}
	}
	unix.Umask(0)
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	unix.Umask(0o022)
	return os.Mkdir(job.RunDir, 0o755)
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

// linkPorts gives the ports to the host stable names. The kernel makes them some time after the module was loaded.
func linkPorts() error {
	if err := os.Mkdir(job.PortDir, 0o755); err != nil {
		return err
	}
	missing := map[string]bool{job.Stdout: true, job.Stderr: true, job.Control: true, job.QMP: true}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			name := strings.TrimSpace(string(text))
			if err != nil || !missing[name] {
				continue
			}
			device := "/dev/" + filepath.Base(filepath.Dir(file))
			if err := os.Symlink(device, filepath.Join(job.PortDir, name)); err != nil {
				return err
			}
			delete(missing, name)
		}
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no virtio-serial port for %v", missing)
		}
	}
}

// countCtrlAltDel has the kernel send SIGINT at Ctrl-Alt-Del, instead of rebooting, and keeps count of it in a file.
func countCtrlAltDel() error {
	pressed := make(chan os.Signal, 16)
	signal.Notify(pressed, unix.SIGINT)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return fmt.Errorf("take over Ctrl-Alt-Del: %w", err)
	}
	if err := writeCount(0); err != nil {
		return err
	}
	go func() {
		for count := 1; ; count++ {
			<-pressed
			if err := writeCount(count); err != nil {
				fmt.Fprintln(os.Stderr, "vminit:", err)
			}
		}
	}()
	return nil
}

// writeCount replaces the file, so that a reader never finds it empty.
func writeCount(count int) error {
	fresh := job.CtrlAltDel + ".new"
	return errors.Join(
		os.WriteFile(fresh, fmt.Appendln(nil, count), 0o644),
		os.Rename(fresh, job.CtrlAltDel))
}

// Package vm boots a Linux machine in QEMU, runs one program in it, and brings back its output, its exit status and the
// files that it wrote. It knows nothing of Go's tests and nothing of keyboards.
//
// The machine has no disk and no network. Its root file system is an initramfs made for the run, its PID 1 is test/vminit,
// and the two sides talk over virtio-serial ports as package job says.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kbdd/test/vm/job"
)

// ErrUnavailable is the error where QEMU or a kernel to boot cannot be had.
var ErrUnavailable = errors.New("no test machine here")

// Machine says how the machine is to be. Init, Stdout, Stderr and Say must be set.
type Machine struct {
	Init string // a static program that is vminit when it runs as PID 1

	CPUs       int      // 2 if it is 0; with Icount always 1
	Icount     bool     // the clock counts instructions: one CPU, and latencies without noise
	KernelArgs []string // more words for the kernel's command line
	QEMUArgs   []string // more arguments for QEMU
	Debian     bool     // a whole Debian, in which the program is a service, instead of busybox
	Screen     bool     // a text screen to look at, for seconds more of booting
	Person     bool     // the terminal becomes the machine's screen and keyboard

	Files    []File   // what else is to be in the machine
	Programs []string // programs of this host to copy into /usr/bin, with their shared libraries
	Shots    string   // the folder for screenshots, or "" to drop them

	Timeout time.Duration // for a run, from power-on; without limit if it is 0

	Stdout, Stderr io.Writer                        // the program's output, as it comes
	Console        io.Writer                        // the kernel's messages, or nil
	Say            func(format string, args ...any) // tells the user what takes long

	root string // the archive of the Debian, if it is one
}

// File is a file or folder to copy into the machine.
type File struct{ Host, Guest string }

// Prepare fetches and unpacks what the machine is made of, as far as that is not done.
func (m *Machine) Prepare() error {
	_, _, err := m.prepare()
	return err
}

func (m *Machine) prepare() (*cache, *kernel, error) {
	c, err := openCache(m.Say)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, nil, err
	}
	if m.Debian {
		if m.root, err = debian(c); err != nil {
			unlock()
			return nil, nil, err
		}
	}
	defer unlock()
	programs := append([]string{"qemu-system-x86_64", "busybox", "xz"}, m.Programs...)
	if err := install(c, programs...); err != nil {
		return nil, nil, err
	}
	k, err := findKernel(c)
	if err != nil {
		return nil, nil, err
	}
	return c, k, nil
}

// Run boots the machine, runs the job and switches the machine off. The error tells why there is no result.
func (m *Machine) Run(ctx context.Context, j job.Job) (job.Result, error) {
	c, k, err := m.prepare()
	if err != nil {
		return job.Result{}, err
	}
	return m.boot(ctx, k, chooseAccelerator(ctx, c, k, m), j)
}

// quitGrace is the time for a hanging program to show where it hangs.
const quitGrace = 5 * time.Second

func (m *Machine) boot(ctx context.Context, k *kernel, accel string, j job.Job) (job.Result, error) {
	dir, err := os.MkdirTemp("", "vmrun-")
	if err != nil {
		return job.Result{}, err
	}
	defer os.RemoveAll(dir)
	initrd, err := os.Create(filepath.Join(dir, "initramfs"))
	if err != nil {
		return job.Result{}, err
	}
	defer initrd.Close()
	if err := m.buildImage(initrd, k, j); err != nil {
		return job.Result{}, fmt.Errorf("the machine's file system: %w", err)
	}

	q, err := m.startQEMU(k, accel, dir, initrd.Name())
	if err != nil {
		return job.Result{}, err
	}
	defer q.stop()
	result, err := m.await(ctx, q, j)
	q.stop()
	if err == nil && m.Shots != "" {
		err = keepShots(dir, m.Shots)
	}
	return result, err
}

// await waits for the results, or for a reason why there will be none.
func (m *Machine) await(ctx context.Context, q *qemu, j job.Job) (job.Result, error) {
	type outcome struct {
		result job.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := receive(q.control, j.Outputs)
		done <- outcome{result, err}
	}()
	var expired <-chan time.Time
	if m.Timeout > 0 {
		expired = time.After(m.Timeout)
	}

	select {
	case o := <-done:
		if len(j.Args) == 0 {
			return o.result, nil // a person switched the machine off
		}
		if errors.Is(o.err, io.EOF) || errors.Is(o.err, io.ErrUnexpectedEOF) {
			return o.result, q.died()
		}
		return o.result, o.err
	case <-ctx.Done():
		return job.Result{}, context.Cause(ctx)
	case <-expired:
	}
	fmt.Fprintln(q.control, job.Quit)
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(quitGrace):
	}
	return job.Result{}, fmt.Errorf("no end within %v%s", m.Timeout, q.lastWords())
}

// keepShots moves the screenshots out of a run's own folder.
func keepShots(dir, to string) error {
	shots, err := filepath.Glob(filepath.Join(dir, "*.png"))
	if err != nil || len(shots) == 0 {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, shot := range shots {
		picture, err := os.ReadFile(shot)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(shot)), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}

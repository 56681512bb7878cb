package vminit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/vm/job"
)

// runJob runs the program and sends the results.
func runJob(j job.Job) error {
	control, err := openPort(job.Control)
	if err != nil {
		return err
	}
	begin := time.Now()
	var result job.Result
	pid, err := start(j)
	if err != nil {
		result = job.Result{Status: 127, Error: err.Error()}
	} else {
		go obey(control, pid)
		result = wait(pid)
	}
	if err := sendResults(control, j.Outputs, begin, result); err != nil {
		return fmt.Errorf("send the results: %w", err)
	}
	// The host switches the machine off now, which is faster than to do it here. If it is gone, no one minds.
	time.Sleep(10 * time.Second)
	return errors.New("the host took the results and left the machine on")
}

// start starts the program with the ports to the host as its output: what it has written is at the host then, whatever
// happens to the machine.
func start(j job.Job) (pid int, err error) {
	for _, variable := range j.Env {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	files := []uintptr{in.Fd()}
	for _, name := range []string{job.Stdout, job.Stderr} {
		port, err := openPort(name)
		if err != nil {
			return 0, err
		}
		defer port.Close()
		files = append(files, port.Fd())
	}
	program, err := exec.LookPath(j.Args[0])
	if err != nil {
		return 0, err
	}
	// The program gets a session of its own, so that the terminals that it opens may become its own too.
	return syscall.ForkExec(program, j.Args, &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
}

// openPort opens a port in blocking mode, since programs expect that of their output.
func openPort(name string) (*os.File, error) {
	path := filepath.Join(job.PortDir, name)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// obey does what the host orders.
func obey(control io.Reader, pid int) {
	for orders := bufio.NewScanner(control); orders.Scan(); {
		if orders.Text() == job.Quit {
			_ = unix.Kill(pid, unix.SIGQUIT) // it may be gone already
		}
	}
}

// wait waits for the program, and buries on the way what other processes leave behind, as a PID 1 must.
func wait(pid int) job.Result {
	for {
		var status unix.WaitStatus
		dead, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR || err == nil && dead != pid:
			continue
		case err != nil:
			return job.Result{Status: 127, Error: "wait: " + err.Error()}
		case status.Signaled():
			return job.Result{Status: 128 + int(status.Signal()), Signal: status.Signal().String()}
		}
		return job.Result{Status: status.ExitStatus()}
	}
}

// sendResults sends the outputs that are there, then the result. Of a folder's files those written since begin count.
func sendResults(w io.Writer, outputs []string, begin time.Time, result job.Result) error {
	messages := json.NewEncoder(w)
	for _, output := range outputs {
		err := filepath.WalkDir(output, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // programs need not write all that they could
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			stat, err := e.Info()
			if err != nil || stat.ModTime().Before(begin) {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return messages.Encode(job.Message{File: path, Content: content})
		})
		if err != nil && result.Error == "" {
			result.Error = "send the program's files: " + err.Error()
		}
	}
	return messages.Encode(job.Message{Result: &result})
}

// shells gives the machine to a person: a shell on each of the first VTs, until it is switched off by poweroff or reboot.
func shells() error {
	off := make(chan os.Signal, 1)
	signal.Notify(off, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM) // as busybox's halt, poweroff and reboot say it
	for n := range 4 {
		go func() {
			for {
				if err := shell(fmt.Sprint("/dev/tty", n+1)); err != nil {
					fmt.Fprintln(os.Stderr, "vminit:", err)
					return
				}
			}
		}()
	}
	<-off
	return nil
}

func shell(tty string) error {
	f, err := os.OpenFile(tty, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command("/bin/sh", "-l")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=linux"}
	cmd.Dir = "/root"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain has the program play kbdd where a test starts it as that.
func TestMain(m *testing.M) {
	role, script, _ := strings.Cut(os.Getenv("KBDD_TEST_CHILD"), " ")
	switch role {
	case "panic":
		panic("as kbdd may")
	case "lives":
		os.Exit(lives(script))
	case "starts": // a program that takes long to start, on another thread than its first
		runtime.LockOSThread()
		go exec.Command(script).Run()
		select {}
	case "run":
		keptPause = 0
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// endsForGood are the statuses after which systemd leaves kbdd alone.
func endsForGood(t *testing.T) (statuses []int) {
	t.Helper()
	unit, err := os.ReadFile("kbdd.service")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(unit)) {
		list, ok := strings.CutPrefix(line, "RestartPreventExitStatus=")
		for word := range strings.FieldsSeq(list) {
			if n, err := strconv.Atoi(word); err == nil && ok {
				statuses = append(statuses, n)
			}
		}
	}
	return statuses
}

// badConfig is the path of one.
func badConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kbdd.toml")
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKbddIsStartedAgainAfterAPanic(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "KBDD_TEST_CHILD=panic")
	said, err := child.CombinedOutput()
	if !strings.Contains(string(said), "panic: as kbdd may") {
		t.Fatalf("%v: %s", err, said)
	}
	if status := child.ProcessState.ExitCode(); slices.Contains(endsForGood(t), status) {
		t.Errorf("after a panic, which ends with status %d, systemd does not start kbdd again", status)
	}
}

func TestKbddIsNotStartedAgainForWhatAPersonMustMend(t *testing.T) {
	forGood := endsForGood(t)
	for _, args := range [][]string{{"-nonsense"}, {"nonsense"}, {"-config", "/none"}, {"-config", badConfig(t)}} {
		if status := run(args, io.Discard, io.Discard); !slices.Contains(forGood, status) {
			t.Errorf("kbdd %q ends with %d, and is started again", args, status)
		}
	}
	if !slices.Contains(forGood, exitCannot) {
		t.Errorf("where kbdd cannot work it is started again: %v", forGood)
	}
}

// TestKbddIsStartedAgainWhileItsDevicesAreKept has an earlier kbdd leave no more than a program that it has stopped for a suspend.
func TestKbddIsStartedAgainWhileItsDevicesAreKept(t *testing.T) {
	program := startProgram(t)
	stopProgram(t, program)
	pidfd, err := unix.PidfdOpen(program, 0)
	if err != nil {
		t.Fatal(err)
	}
	kept := os.NewFile(uintptr(pidfd), "pidfd")
	defer kept.Close()
	kbdd := func(args ...string) (status int) {
		child := exec.Command(os.Args[0], append(args, "-config", badConfig(t))...)
		child.Env = append(os.Environ(), "KBDD_TEST_CHILD=run", "LISTEN_FDS=1", fmt.Sprint("LISTEN_FDNAMES=", stoppedPrefix, program))
		child.ExtraFiles = []*os.File{kept}
		_ = child.Run()
		return child.ProcessState.ExitCode()
	}
	if status := kbdd("-check"); status != exitConfig {
		t.Errorf("-check ends with %d", status)
	}
	if !isStopped(program) {
		t.Error("-check has a program go on")
	}
	if status := kbdd(); status <= 0 || slices.Contains(endsForGood(t), status) {
		t.Errorf("it ends with %d, and its devices with it", status)
	}
	if isStopped(program) {
		t.Error("a program stays stopped for as long as the configuration is wrong")
	}
}

func TestWhatDoesNotGoAwayIsTold(t *testing.T) {
	for _, c := range []struct {
		err     error
		lasting bool
	}{
		{noDeviceError{fmt.Errorf("/dev/cuse: %w: load the module", unix.ENOENT)}, true},
		{noDeviceError{fmt.Errorf("/dev/cuse: %w: load the module", unix.ENODEV)}, true},
		{noDeviceError{fmt.Errorf("/dev/cuse: %w: load the module", unix.ENXIO)}, true},
		{noDeviceError{fmt.Errorf("/dev/cuse: %w: run as root", unix.EACCES)}, true},
		{noDeviceError{fmt.Errorf("/dev/cuse: %w", unix.ENOMEM)}, false},
		{noDeviceError{fmt.Errorf("/dev/kbd0: %w: another process serves this device", fs.ErrExist)}, false},
		{fmt.Errorf("watching /dev/input: %w", fs.ErrNotExist), false},
		{errors.New("another"), false},
	} {
		if got := isLasting(c.err); got != c.lasting {
			t.Errorf("%v: lasting is %v", c.err, got)
		}
	}
}

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// nodeIsOpen tells if a process other than this one has the node open.
func nodeIsOpen(t testing.TB, node string) bool {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if strings.HasPrefix(link, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			continue
		}
		if target, err := os.Readlink(link); err == nil && target == node {
			return true
		}
	}
	return false
}

// runKbdd runs kbdd to its end, which it must come to by itself.
func runKbdd(t *testing.T, attr *syscall.SysProcAttr, args ...string) (status int, stderr string) {
	t.Helper()
	var buf bytes.Buffer
	cmd := exec.Command("kbdd", args...)
	cmd.SysProcAttr = attr
	cmd.Stderr = &buf
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok && err != nil {
		t.Fatal(err)
	} else if ok {
		status = exit.ExitCode()
	}
	return status, buf.String()
}

func TestBadSurroundingsAreOneLine(t *testing.T) {
	machine.Require(t)
	tests := []struct {
		name   string
		before func(t *testing.T)
		attr   *syscall.SysProcAttr
		args   []string
		status int
		says   []string
	}{{
		name: "unknown option", args: []string{"-bogus"},
		status: 78, says: []string{"-bogus", `"kbdd -h"`},
	}, {
		name: "argument", args: []string{"now"},
		status: 78, says: []string{`"now"`, `"kbdd -h"`},
	}, {
		name: "not root", attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}},
		status: 69, says: []string{"/dev/cuse", "permission denied", "run as root"},
	}, {
		name: "no cuse", before: hideCuse,
		status: 69, says: []string{"/dev/cuse", "no such file", "modprobe cuse"},
	}, {
		name: "second kbdd", before: func(t *testing.T) { startKbdd(t) },
		status: 1, says: []string{kbd0, "another process serves this device"},
	}, {
		name: "file in the way", before: func(t *testing.T) {
			if err := os.WriteFile(kbd0, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(kbd0) })
		},
		status: 69, says: []string{kbd0, "in the way", "remove it"},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before(t)
			}
			status, stderr := runKbdd(t, tt.attr, tt.args...)
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			if strings.Count(stderr, "\n") != 1 {
				t.Errorf("not one line: %q", stderr)
			}
			for _, s := range tt.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("%q does not say %q", stderr, s)
				}
			}
		})
	}
	// Nothing was left behind by all these.
	startKbdd(t)
	open(t, unix.O_RDONLY).close()
}

// hideCuse takes /dev/cuse away until the test ends.
func hideCuse(t *testing.T) {
	if err := os.Rename("/dev/cuse", "/dev/cuse.hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Rename("/dev/cuse.hidden", "/dev/cuse") })
}

func TestKbddWithNoKeyboardStandsAndWaits(t *testing.T) {
	machine.Require(t)
	machine.OpenRawPS2(t) // takes the only keyboard away from the kernel's driver
	kbdd := startKbdd(t)
	awaitSaid(t, kbdd, "no keyboard")
	f := open(t, unix.O_RDONLY)
	f.wantNothing()
	f.close()
}

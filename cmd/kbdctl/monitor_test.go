package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeDevice is the path of a device that gives these bytes, and then no more.
func fakeDevice(t *testing.T, codes string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kbd0")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			f.WriteString(codes)
			f.Close()
		}
	}()
	return path
}

// kbdctl runs the program.
func kbdctl(args ...string) (status int, stdout, stderr string) {
	var out, errors bytes.Buffer
	status = run(context.Background(), args, &out, &errors)
	return status, out.String(), errors.String()
}

const (
	typedA = "\x1e\x9e"
	ctrlC  = "\x1d\x2e"
)

func TestMonitorPrintsKeysUntilCtrlC(t *testing.T) {
	status, out, _ := kbdctl("monitor", fakeDevice(t, typedA+"\xe0\x5b\xff\xe0\xdb\x2e\xae"+ctrlC+typedA))
	var got []string
	for line := range strings.Lines(out) {
		_, line, _ = strings.Cut(line, "  ")
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"1e KEY_A press", "9e KEY_A release", "e0 5b KEY_LEFTMETA press", "ff overrun: keys were lost", "e0 db KEY_LEFTMETA release",
		"2e KEY_C press", "ae KEY_C release", "1d KEY_LEFTCTRL press", "2e KEY_C press",
	}
	if status != 0 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("status %d, got\n%s", status, out)
	}
}

func TestMonitorGivesRawBytes(t *testing.T) {
	codes := "\xe0\x2a\xe0\x37\xe0\xb7\xe0\xaa" + ctrlC
	if status, out, _ := kbdctl("monitor", "--raw", fakeDevice(t, codes)); status != 0 || out != codes {
		t.Errorf("status %d, got % x", status, out)
	}
}

func TestMonitorGivesJSON(t *testing.T) {
	_, out, _ := kbdctl("monitor", "--json", fakeDevice(t, ctrlC))
	_, line, _ := strings.Cut(out, `",`)
	if want := `"bytes":"1d","event":"press","key":"KEY_LEFTCTRL","code":29}`; !strings.HasPrefix(line, want) {
		t.Errorf("got %s", out)
	}
}

func TestMonitorFailsWhereThereIsNoKeyboard(t *testing.T) {
	for _, c := range []struct {
		device, want string
		status       int
	}{
		{"/nowhere/kbd0", "is kbdd running?", exitFailure},
		{"/dev/null", "is it a keyboard?", exitFailure},
	} {
		status, _, errors := kbdctl("monitor", c.device)
		if status != c.status || !strings.Contains(errors, c.want) {
			t.Errorf("%s: status %d, %s", c.device, status, errors)
		}
	}
}

func TestUsageErrorsAreToldFromFailures(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"nonsense"},
		{"list", "extra"},
		{"list", "--nonsense"},
		{"monitor", "a", "b"},
		{"monitor", "--set", "4"},
		{"monitor", "--set", "x"},
		{"monitor", "--raw", "--json"},
		{"release", "a", "b"},
	} {
		if status, _, errors := kbdctl(args...); status != exitUsage || !strings.HasPrefix(errors, "kbdctl: ") {
			t.Errorf("%q: status %d, %s", args, status, errors)
		}
	}
	socket := "--socket=" + filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{{"list"}, {"status"}, {"status", "-w"}, {"release"}} {
		if status, _, errors := kbdctl(append(args, socket)...); status != exitFailure || !strings.Contains(errors, "is kbdd running?") {
			t.Errorf("%q: status %d, %s", args, status, errors)
		}
	}
}

package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain has the program play kbdctl where a test starts it as that.
func TestMain(m *testing.M) {
	if os.Getenv("KBDCTL_TEST_CHILD") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestWhatDoesNotExistIsAnErrorOfUsage(t *testing.T) {
	for _, args := range []string{
		"", "bogus", "help bogus", "help status bogus", "completion", "completion bogus", "list bogus", "status --bogus",
		"release /dev/null", "release .", "release kbd", "release kbd0/release", "release ../kbd0",
	} {
		status, out, errs := kbdctl(strings.Fields(args)...)
		if status != exitUsage || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("kbdctl %s: status %d, %s%s", args, status, out, errs)
		}
	}
	for _, args := range []string{"help", "help status", "help help", "help completion bash", "-h", "status -h", "--version"} {
		if status, out, errs := kbdctl(strings.Fields(args)...); status != 0 || out == "" || errs != "" {
			t.Errorf("kbdctl %s: status %d, %s%s", args, status, out, errs)
		}
	}
}

// TestReleaseFollowsLinks has one that udev's names would give, to a device that need not stand.
func TestReleaseFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	socket, link := filepath.Join(dir, "control.sock"), filepath.Join(dir, "usb-Maker_Scanner")
	if err := os.Symlink("/dev/kbd7", link); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	go http.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	defer l.Close()
	for _, device := range []string{link, "kbd7", "/dev/kbd7", "/dev/../dev/kbd7"} {
		if status, _, errs := kbdctl("--socket", socket, "release", device); status != 0 {
			t.Fatalf("release %s: status %d, %s", device, status, errs)
		}
		if path := <-asked; path != "/v1/devices/kbd7/release" {
			t.Errorf("release %s asks for %s", device, path)
		}
	}
}

// TestSecondCtrlCKills has kbdctl wait for what no signal ends: here for somebody who opens a pipe.
func TestSecondCtrlCKills(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "monitor", fifo)
	cmd.Env = append(os.Environ(), "KBDCTL_TEST_CHILD=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case <-ended:
			return
		case <-time.After(100 * time.Millisecond):
			cmd.Process.Signal(unix.SIGINT)
		case <-deadline:
			t.Fatal("no Ctrl-C ends it")
		}
	}
}

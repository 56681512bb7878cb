package cuse

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestGreetingsThatAreNotLinuxsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name     string
		greeting []byte
		says     string // "" for a good one
	}{
		{"Linux 6.1", greeting(7, 38), ""},
		{"a later one", greeting(7, 99), ""},
		{"Linux 3.9", greeting(7, 21), ""},
		{"too old", greeting(7, 20), "version 7.20"},
		{"too new", greeting(8, 0), "version 8.0"},
		{"too short", greeting(7, 38)[:55], "not CUSE_INIT"},
		{"a request", (&rig{}).request(opOpen, make([]byte, 16)), "not CUSE_INIT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fds[1])
			if _, err := unix.Write(fds[1], tt.greeting); err != nil {
				t.Fatal(err)
			}
			dev, err := New(os.NewFile(uintptr(fds[0]), "/dev/cuse"), "rig", nil)
			switch {
			case tt.says == "" && err != nil:
				t.Error(err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("%v, want a word of %q", err, tt.says)
			case err == nil:
				dev.Close()
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"kbd0", "folder/kbd-0.x_y", "a"} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "../kbd0", "/dev/kbd0", "a//b", "a/", "a b", " a", "a\n", "a\x00b", "a=b", "a!b", "voilà",
		strings.Repeat("a", 201),
	} {
		if err := checkName(name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

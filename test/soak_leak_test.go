package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// nodesOpen tells if kbdd has these keyboards open, and no others.
func (s *soak) nodesOpen(nodes []string) bool {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.kbdd.cmd.Process.Pid))
	var open []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "/dev/input/event") {
			open = append(open, target)
		}
	}
	slices.Sort(nodes)
	slices.Sort(open)
	return slices.Equal(nodes, open)
}

// usage is what kbdd takes of the system.
type usage struct{ descriptors, threads, kilobytes int }

func (s *soak) usage() (u usage) {
	s.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", s.kbdd.cmd.Process.Pid)
	descriptors, err := os.ReadDir(proc + "fd")
	if err != nil {
		s.t.Fatal(err)
	}
	u.descriptors = len(descriptors)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "Threads: %d", &u.threads)
		fmt.Sscanf(line, "VmRSS: %d", &u.kilobytes)
	}
	return u
}

// wantNoLeak checks what kbdd takes when nobody uses it any more against what it took at the beginning. In between it has
// made devices, each with a descriptor, a goroutine and a buffer. It ends kbdd to see its goroutines.
func (s *soak) wantNoLeak(before usage) {
	s.t.Helper()
	const (
		buffer     = 300      // of a device, in kilobytes
		heap       = 12 << 10 // by which Go's may grow, in kilobytes
		threads    = 24       // that Go's runtime may have started; it keeps them
		goroutines = 20       // for all but the devices
	)
	made := len(s.numbers) - 1
	machine.WaitUntil(s.t, fmt.Sprintf("kbdd has %d descriptors", before.descriptors+made), func() bool {
		return s.usage().descriptors == before.descriptors+made
	})
	after := s.usage()
	if after.threads > before.threads+threads || after.kilobytes > before.kilobytes+heap+made*buffer {
		s.t.Errorf("kbdd takes %+v, and took %+v before", after, before)
	}
	_ = s.kbdd.end(unix.SIGQUIT)
	if n := len(regexp.MustCompile(`(?m)^goroutine [1-9]`).FindAllString(s.kbdd.log.String(), -1)); n == 0 || n > goroutines+made {
		s.t.Errorf("kbdd has %d goroutines", n)
	} else {
		s.t.Logf("kbdd takes %+v, and took %+v before; it has %d goroutines and %d devices", after, before, n, made+2)
	}
}

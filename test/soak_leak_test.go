package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
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

// How often it is looked at what kbdd takes: at any moment, and at rest, when nobody has a device open.
const (
	sampleSteps = 100
	restSteps   = 500
)

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

// goroutines is how many kbdd has.
func (s *soak) goroutines() (n int) {
	s.t.Helper()
	text, err := control.NewClient(control.Socket).Metrics(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		fmt.Sscanf(line, "go_goroutines %d", &n)
	}
	return n
}

// A leak is what would show one.
type leak struct {
	begin   time.Time
	first   usage // at rest
	devices int   // at first, those of single keyboards
	peak    usage // since the last rest
}

// sample looks at what kbdd takes at a moment.
func (s *soak) sample() {
	s.t.Helper()
	const enough = 32 << 10 // kilobytes
	u, peak := s.usage(), &s.leak.peak
	peak.descriptors = max(peak.descriptors, u.descriptors)
	peak.threads = max(peak.threads, u.threads)
	peak.kilobytes = max(peak.kilobytes, u.kilobytes)
	if u.kilobytes > enough {
		s.t.Fatalf("kbdd has %d KiB resident, which should not be more than %d", u.kilobytes, enough)
	}
}

// rest ends all that goes on, and checks what kbdd takes then against what it took at the first rest. In between it has made
// devices, each with a descriptor, a goroutine and a buffer.
func (s *soak) rest() {
	s.t.Helper()
	const (
		buffer     = 300     // of a device, in kilobytes
		heap       = 8 << 10 // by which Go's may grow, in kilobytes
		threads    = 16      // that Go's runtime may have started besides; it keeps them
		goroutines = 20      // for all but the devices
	)
	s.sample()
	s.endAll()
	l := &s.leak
	if s.steps == 0 {
		l.first, l.devices = s.usage(), len(s.numbers)
		s.t.Log("   step       time  devices  descriptors  threads  goroutines  resident   peak since: descriptors  threads  resident")
	}
	made := len(s.numbers) - l.devices
	machine.WaitUntil(s.t, fmt.Sprintf("kbdd has %d descriptors", l.first.descriptors+made), func() bool {
		return s.usage().descriptors == l.first.descriptors+made
	})
	s.sample()
	u, n := s.usage(), s.goroutines()
	s.t.Logf("%7d  %9v  %7d  %11d  %7d  %10d  %5d KiB  %23d  %7d  %5d KiB", s.steps, time.Since(l.begin).Round(time.Second),
		len(s.numbers)+1, u.descriptors, u.threads, n, u.kilobytes, l.peak.descriptors, l.peak.threads, l.peak.kilobytes)
	l.peak = usage{}
	if u.threads > l.first.threads+threads || u.kilobytes > l.first.kilobytes+heap+made*buffer || n > goroutines+len(s.numbers) {
		s.kbdd.cmd.Process.Signal(unix.SIGQUIT) // it tells where its goroutines are
		s.t.Fatalf("kbdd takes %+v and %d goroutines with %d devices, and took %+v with %d at first", u, n, len(s.numbers)+1, l.first, l.devices+1)
	}
}

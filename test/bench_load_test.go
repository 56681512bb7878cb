package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// loadKeys is how many keys are typed for each figure.
const loadKeys = 512

// BenchmarkLoad counts the keys a second that go through without loss, and kbdd's CPU time for each, by the number of
// keyboards and readers.
func BenchmarkLoad(b *testing.B) {
	const burst = 8 // of keybench
	for _, load := range []struct {
		keyboards, readers int
		prepare            func(*exec.Cmd)
		suffix             string
	}{
		{1, 1, nil, ""},
		{1, 8, nil, ""},
		{1, 64, nil, ""},
		{8, 1, nil, ""},
		{8, 8, nil, ""},
		{8, 64, nil, ""},
		{1, 1, deployed, "/deployed"},
		{1, 64, deployed, "/deployed"},
	} {
		b.Run(fmt.Sprintf("keyboards=%d/readers=%d%s", load.keyboards, load.readers, load.suffix), func(tb *testing.B) {
			b := newBench(tb, load.keyboards)
			kbdd := startKbddWith(b, load.prepare)
			typist := b.start("load", kbd0, load.keyboards, load.readers, loadKeys/burst/load.keyboards)
			typist.line()
			before := kbdd.cpuTime()
			typist.tell()
			var keys, ns float64
			if _, err := fmt.Sscan(typist.line(), &keys, &ns); err != nil {
				b.Fatal(err)
			}
			cost := float64(kbdd.cpuTime()-before) / keys / 1000
			b.ReportMetric(keys/(ns/1e9), "keys/s")
			b.ReportMetric(cost, "cpu-us/key")
			b.ReportMetric(cost/float64(load.readers), "cpu-us/key/reader")
			b.ReportMetric(kbdd.resident(), "resident-MiB")
		})
	}
}

// resident is how much memory kbdd has in use, in MiB.
func (d *daemon) resident() float64 {
	d.t.Helper()
	return d.status("VmRSS", fmt.Sprint("/proc/", d.cmd.Process.Pid)) / 1024
}

// cpuTime is the time in nanoseconds that the threads of kbdd have run.
func (d *daemon) cpuTime() (ns int64) {
	d.t.Helper()
	for _, task := range d.tasks() {
		text, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if err != nil {
			d.t.Fatal(err)
		}
		var ran int64
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			d.t.Fatal(err)
		}
		ns += ran
	}
	return ns
}

// tasks are the folders in /proc of kbdd's threads.
func (d *daemon) tasks() []string {
	d.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", d.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		d.t.Fatal("kbdd has no threads: ", err)
	}
	return tasks
}

// status is the sum of a field in the status of these tasks of /proc.
func (d *daemon) status(field string, tasks ...string) (sum float64) {
	d.t.Helper()
	for _, task := range tasks {
		text, err := os.ReadFile(filepath.Join(task, "status"))
		if err != nil {
			d.t.Fatal(err)
		}
		_, value, found := strings.Cut(string(text), "\n"+field+":")
		var n float64
		if _, err := fmt.Sscan(value, &n); !found || err != nil {
			d.t.Fatalf("%s has no %s", task, field)
		}
		sum += n
	}
	return sum
}

package test

import (
	"fmt"
	"os"
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
	for _, keyboards := range []int{1, 8} {
		for _, readers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("keyboards=%d/readers=%d", keyboards, readers), func(tb *testing.B) {
				b := newBench(tb, keyboards)
				kbdd := startKbdd(b)
				load := b.start("load", kbd0, keyboards, readers, loadKeys/burst/keyboards)
				load.line()
				before := kbdd.cpuTime()
				load.tell()
				var keys, ns float64
				if _, err := fmt.Sscan(load.line(), &keys, &ns); err != nil {
					b.Fatal(err)
				}
				cost := float64(kbdd.cpuTime()-before) / keys / 1000
				b.ReportMetric(keys/(ns/1e9), "keys/s")
				b.ReportMetric(cost, "cpu-us/key")
				b.ReportMetric(cost/float64(readers), "cpu-us/key/reader")
			})
		}
	}
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

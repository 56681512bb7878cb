package test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// idleTime is how long kbdd is watched doing nothing, and settleTime how long it has been left alone before.
const (
	idleTime   = 60 * time.Second
	settleTime = 10 * time.Second
)

// BenchmarkIdle counts how often kbdd wakes and what system calls it makes while no key is typed, and takes its size.
func BenchmarkIdle(b *testing.B) {
	for _, idle := range []struct {
		name    string
		prepare func(*exec.Cmd)
		readers int
	}{
		{"nobody", nil, 0},
		{"nobody/deployed", deployed, 0},
		{"reader", nil, 1},
		{"reader/deployed", deployed, 1},
		{"readers=64", nil, 64},
		{"readers=64/deployed", deployed, 64},
	} {
		b.Run(idle.name, func(tb *testing.B) {
			b := newBench(tb, 1)
			kbdd := startKbddWith(b, idle.prepare)
			if idle.readers > 0 {
				b.start("readers", kbd0, idle.readers).line()
			}
			time.Sleep(settleTime)
			calls := kbdd.countSyscalls()
			before := kbdd.switches()
			time.Sleep(idleTime)
			b.ReportMetric(kbdd.switches()-before, "wakeups/min")
			b.ReportMetric(calls(), "syscalls/min")
			b.ReportMetric(kbdd.resident(), "resident-MiB")
		})
	}
}

// switches is how often a thread of kbdd has stopped running.
func (d *daemon) switches() float64 {
	d.t.Helper()
	tasks := d.tasks()
	return d.status("voluntary_ctxt_switches", tasks...) + d.status("nonvoluntary_ctxt_switches", tasks...)
}

// countSyscalls counts the system calls that kbdd makes from now on.
func (d *daemon) countSyscalls() (count func() float64) {
	d.t.Helper()
	const tracing = "/sys/kernel/tracing"
	if err := unix.Mount("tracefs", tracing, "tracefs", 0, ""); err != nil && err != unix.EBUSY {
		d.t.Fatal("mount tracefs: ", err)
	}
	id, err := os.ReadFile(filepath.Join(tracing, "events/raw_syscalls/sys_enter/id"))
	if err != nil {
		d.t.Fatal(err)
	}
	config, err := strconv.ParseUint(strings.TrimSpace(string(id)), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: config, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unsafe.Sizeof(attr))
	var counters []int
	for _, task := range d.tasks() {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			d.t.Fatal(err)
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			d.t.Fatal("perf_event_open: ", err)
		}
		counters = append(counters, fd)
	}
	return func() (sum float64) {
		for _, fd := range counters {
			var buf [8]byte
			if _, err := unix.Read(fd, buf[:]); err != nil {
				d.t.Fatal("read a perf event: ", err)
			}
			unix.Close(fd)
			sum += float64(binary.NativeEndian.Uint64(buf[:]))
		}
		return sum
	}
}

// BenchmarkStart takes the time from exec to the word that kbdd is ready, and the size of its file.
func BenchmarkStart(tb *testing.B) {
	b := newBench(tb, 1)
	begin := time.Now()
	startKbdd(b)
	b.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "ready-ms")
	path, err := exec.LookPath("kbdd")
	if err != nil {
		b.Fatal(err)
	}
	stat, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(stat.Size())/(1<<20), "binary-MiB")
}

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// good are results within all limits.
func good() results {
	half := func() figures {
		all := figures{
			"Start":  {"ready-ms": 10, "binary-MiB": 9},
			"Change": {"open-ms": 8, "close-ms": 1, "join-ms": 9, "switch-ms": 12, "sysrq-r-ms": 3},
		}
		for _, path := range paths {
			all["Latency/"+path.name] = map[string]float64{"p50-us": 15, "p99-us": 17, "p99.9-us": 19}
		}
		all["Latency/vt"]["p50-us"] = 19
		for _, load := range loads {
			all[fmt.Sprintf("Load/keyboards=%d/readers=%d%s", load.keyboards, load.readers, load.suffix)] = map[string]float64{
				"keys/s": 60000, "cpu-us/key": 8, "cpu-us/key/reader": 8, "resident-MiB": 8,
			}
		}
		for _, idle := range idles {
			all["Idle/"+idle.name] = map[string]float64{"wakeups/min": 0, "syscalls/min": 0, "resident-MiB": 7}
		}
		return all
	}
	return results{Instructions: half(), Real: half()}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *results)
		want string // all lines; "" for none
	}{
		{"all is well", func(*results) {}, ""},
		{"at the limits", func(r *results) {
			r.Instructions["Latency/kbdd/poll"]["p50-us"] = 16.5
			r.Instructions["Latency/kept/read"]["p50-us"] = 15 * 1.25
			r.Instructions["Start"]["ready-ms"] = 50
			r.Instructions["Idle/reader"]["resident-MiB"] = 15.9
			r.Instructions["Idle/reader/deployed"]["wakeups/min"] = 300
		}, ""},
		{
			"slow reads", func(r *results) { r.Instructions["Latency/kbdd/read"]["p50-us"] = 18.9 },
			"kbdd/read is 1.26 of server/read at p50, more than 1.10",
		},
		{
			"slow polls", func(r *results) { r.Instructions["Latency/kbdd/poll"]["p50-us"] = 20 },
			"kbdd/poll is 1.33 of server/poll at p50, more than 1.10",
		},
		{
			"slow epolls", func(r *results) { r.Instructions["Latency/kbdd/epoll"]["p50-us"] = 20 },
			"kbdd/epoll is 1.33 of server/epoll at p50, more than 1.10",
		},
		{
			"slow where it is kept", func(r *results) { r.Instructions["Latency/kept/read"]["p50-us"] = 20 },
			"kept/read is 1.33 of server/read at p50, more than 1.25",
		},
		{
			"no faster than a terminal", func(r *results) { r.Instructions["Latency/vt"]["p50-us"] = 15 },
			"kbdd/read, 15 thousand instructions at p50, is not below vt, 15",
		},
		{
			"it wakes", func(r *results) { r.Instructions["Idle/nobody"]["wakeups/min"] = 2 },
			"Idle/nobody has 2 wakeups/min, more than none",
		},
		{
			"it makes system calls", func(r *results) { r.Instructions["Idle/nobody/deployed"]["syscalls/min"] = 3 },
			"Idle/nobody/deployed has 3 syscalls/min, more than none",
		},
		{
			"it wakes while a reader waits", func(r *results) { r.Instructions["Idle/reader"]["wakeups/min"] = 1 },
			"Idle/reader has 1 wakeups/min, more than none",
		},
		{
			"it wakes often", func(r *results) { r.Instructions["Idle/reader/deployed"]["wakeups/min"] = 472 },
			"Idle/reader/deployed has 472 wakeups/min, more than 300",
		},
		{"late", func(r *results) { r.Instructions["Start"]["ready-ms"] = 50.1 }, "kbdd is ready after 50.1 ms, more than 50"},
		{
			"fat", func(r *results) { r.Instructions["Idle/readers=64"]["resident-MiB"] = 16 },
			"Idle/readers=64 by instructions: 16 MiB are resident, not less than 16",
		},
		{
			"fat in real time", func(r *results) { r.Real["Load/keyboards=1/readers=64"]["resident-MiB"] = 17 },
			"Load/keyboards=1/readers=64 by real time: 17 MiB are resident, not less than 16",
		},
		{
			"late to join", func(r *results) { r.Instructions["Change"]["join-ms"] = 101 },
			"a new keyboard is muted after 101 ms, more than 100",
		},
		{
			"late to switch", func(r *results) { r.Instructions["Change"]["switch-ms"] = 51 },
			"another terminal has the keyboard after 51 ms, more than 50",
		},
		{
			"late to be taken away", func(r *results) { r.Instructions["Change"]["sysrq-r-ms"] = 51 },
			"the console has the keyboard 51 ms after Alt-SysRq-R, more than 50",
		},
		{"two at once", func(r *results) {
			r.Instructions["Start"]["ready-ms"] = 60
			r.Instructions["Idle/nobody"]["wakeups/min"] = 2
		}, "Idle/nobody has 2 wakeups/min, more than none\nkbdd is ready after 60 ms, more than 50"},
		{"no real time", func(r *results) { r.Real = nil }, "nothing was measured in real time"},
		{"half of the real time", func(r *results) { delete(r.Real, "Latency/vt") }, "Latency/vt in p50-us was not measured"},
		{
			"no server", func(r *results) { delete(r.Instructions, "Latency/server/read") },
			"Latency/server/read in p50-us was not measured",
		},
		{
			"no memory", func(r *results) { delete(r.Instructions["Idle/reader"], "resident-MiB") },
			"Idle/reader in resident-MiB was not measured",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, got := good(), ""
			tt.do(&r)
			if err := r.check(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("check says\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestCheckNeedsWhatWasMeasured(t *testing.T) {
	if checkFile(filepath.Join(t.TempDir(), "none.json")) == nil {
		t.Error("no file is no error")
	}
	if err := checkFile(write(t, "bench.json", "{}")); err == nil || !strings.Contains(err.Error(), "was not measured") {
		t.Errorf("an empty file: %v", err)
	}
}

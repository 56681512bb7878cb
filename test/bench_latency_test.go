package test

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// latencyEvents is how many presses and releases are typed on each path: four of them are beyond p99.9.
const latencyEvents = 4000

// latencyPause is how long no key is typed before each one. Shorter than 5 ms, and Go's runtime is not always asleep.
const latencyPause = 5 * time.Millisecond

// BenchmarkLatency takes the time of a key from the write on uinput to the return of the reader's read(2).
func BenchmarkLatency(b *testing.B) {
	const device = "benchkbd"
	node := func(b *bench) string { return b.keyboards[0].Node() }
	vt := func(*bench) string { return "/dev/tty1" }
	kbdd := func(b *bench) string { startKbdd(b); return kbd0 }
	kept := func(b *bench) string { startKbddWith(b, deployed); return kbd0 }
	server := func(b *bench) string { return b.start("server", node(b), device).line() }
	remapper := func(b *bench) string { return b.start("remap", node(b)).line() }
	for _, path := range []struct {
		name, how string
		device    func(*bench) string // sets the path up, and says what there is to read
	}{
		{"evdev", "evdev", node},
		{"remapper", "evdev", remapper},
		{"vt", "vt", vt},
		{"server/read", "read", server},
		{"server/poll", "poll", server},
		{"server/epoll", "epoll", server},
		{"kbdd/read", "read", kbdd},
		{"kbdd/poll", "poll", kbdd},
		{"kbdd/epoll", "epoll", kbdd},
		{"kept/read", "read", kept},
	} {
		b.Run(path.name, func(tb *testing.B) {
			b := newBench(tb, 1)
			latency := b.start("latency", path.how, path.device(b), latencyEvents, latencyPause.Nanoseconds())
			var took []float64
			for range latencyEvents {
				ns, err := strconv.ParseFloat(latency.line(), 64)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, ns/1000)
			}
			slices.Sort(took)
			b.ReportMetric(percentile(took, 50), "p50-us")
			b.ReportMetric(percentile(took, 99), "p99-us")
			b.ReportMetric(percentile(took, 99.9), "p99.9-us")
		})
	}
}

// percentile is the smallest of the sorted values that p % of them do not exceed.
func percentile(sorted []float64, p float64) float64 {
	n := int(float64(len(sorted))*p/100 + 0.999999)
	return sorted[max(n, 1)-1]
}

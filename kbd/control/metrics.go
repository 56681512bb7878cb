package control

import (
	"fmt"
	"io"
	"strings"
)

// writeTo writes the metrics in Prometheus' text format, version 0.0.4.
func (m *Metrics) writeTo(w io.Writer) error {
	var b strings.Builder
	single := func(name, kind, help string, value any) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s %[3]s\n%[1]s %[4]v\n", name, help, kind, value)
	}
	single("go_goroutines", "gauge", "Goroutines that there are.", m.Goroutines)
	single("kbdd_opens_total", "counter", "Files opened.", m.Opens)
	single("kbdd_holders", "gauge", "Files that are open.", m.Holders)
	single("kbdd_keys_total", "counter", "Presses and releases that a device heard.", m.Keys)
	single("kbdd_dropped_total", "counter", "Presses that had no code in the reader's set.", m.Dropped)
	single("kbdd_overruns_total", "counter", "Times that keys were lost, and a reader was told.", m.Overruns)
	m.MuteWait.writeTo(&b, "kbdd_mute_wait_seconds", "How long open(2) waited for the keyboards to be muted.")
	m.Latency.writeTo(&b, "kbdd_latency_seconds", "From when kbdd has a key until its readers are told.")
	_, err := io.WriteString(w, b.String())
	return err
}

func (h *Histogram) writeTo(b *strings.Builder, name, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %[1]s histogram\n", name, help)
	var sum uint64
	for i, count := range h.Counts {
		sum += count
		le := "+Inf"
		if i < len(h.Bounds) {
			le = fmt.Sprint(h.Bounds[i].Seconds())
		}
		fmt.Fprintf(b, "%s_bucket{le=%q} %d\n", name, le, sum)
	}
	fmt.Fprintf(b, "%s_sum %v\n%[1]s_count %[3]d\n", name, h.Sum.Seconds(), sum)
}

package control

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMetricsAreWhatPrometheusReads(t *testing.T) {
	h := NewHistogram(time.Millisecond, 10*time.Millisecond)
	for _, d := range []time.Duration{time.Microsecond, time.Millisecond, 2 * time.Millisecond, time.Second} {
		h.Observe(d)
	}
	m := Metrics{Goroutines: 17, Opens: 7, Holders: 2, Keys: 1234, Dropped: 3, Overruns: 1, MuteWait: h, Latency: NewHistogram(time.Second)}
	var b strings.Builder
	if err := m.writeTo(&b); err != nil {
		t.Fatal(err)
	}
	const want = `# HELP go_goroutines Goroutines that there are.
# TYPE go_goroutines gauge
go_goroutines 17
# HELP kbdd_opens_total Files opened.
# TYPE kbdd_opens_total counter
kbdd_opens_total 7
# HELP kbdd_holders Files that are open.
# TYPE kbdd_holders gauge
kbdd_holders 2
# HELP kbdd_keys_total Presses and releases that a device heard.
# TYPE kbdd_keys_total counter
kbdd_keys_total 1234
# HELP kbdd_dropped_total Presses that had no code in the reader's set.
# TYPE kbdd_dropped_total counter
kbdd_dropped_total 3
# HELP kbdd_overruns_total Times that keys were lost, and a reader was told.
# TYPE kbdd_overruns_total counter
kbdd_overruns_total 1
# HELP kbdd_mute_wait_seconds How long open(2) waited for the keyboards to be muted.
# TYPE kbdd_mute_wait_seconds histogram
kbdd_mute_wait_seconds_bucket{le="0.001"} 2
kbdd_mute_wait_seconds_bucket{le="0.01"} 3
kbdd_mute_wait_seconds_bucket{le="+Inf"} 4
kbdd_mute_wait_seconds_sum 1.003001
kbdd_mute_wait_seconds_count 4
# HELP kbdd_latency_seconds From when kbdd has a key until its readers are told.
# TYPE kbdd_latency_seconds histogram
kbdd_latency_seconds_bucket{le="1"} 0
kbdd_latency_seconds_bucket{le="+Inf"} 0
kbdd_latency_seconds_sum 0
kbdd_latency_seconds_count 0
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestManualHasEachMetric(t *testing.T) {
	page, err := os.ReadFile("../../cmd/kbdctl/kbdctl.1")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	var b strings.Builder
	(&Metrics{}).writeTo(&b)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(b.String(), -1) {
		want = append(want, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^\.It Va (\S+)`).FindAllStringSubmatch(string(page), -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("kbdctl(1) has %q, kbdd %q", got, want)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadsWhatGoTestPrints(t *testing.T) {
	var r results
	all, err := r.read(write(t, "bench.txt", `goos: linux
kernel: 6.1.0-48-amd64
BenchmarkMachine-2           	       1
BenchmarkLatency/kbdd/read-2 	       1	        15.5 p50-us	        24.6 p99.9-us
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Kernel != "6.1.0-48-amd64" {
		t.Errorf("the kernel is %q", r.Kernel)
	}
	if got := all["Latency/kbdd/read"]; got["p50-us"] != 15.5 || got["p99.9-us"] != 24.6 {
		t.Errorf("the figures are %v", all)
	}
}

func TestBenchmarksThatDidNotEndAreAnError(t *testing.T) {
	for _, text := range []string{"", "BenchmarkStart 1 10.1 ready-ms\n", "BenchmarkStart 1 10.1 ready-ms\n--- FAIL: BenchmarkIdle\nFAIL\n"} {
		var r results
		if _, err := r.read(write(t, "bench.txt", text)); err == nil || !strings.Contains(err.Error(), "did not run to their end") {
			t.Errorf("%q: the error is %v", text, err)
		}
	}
}

func TestTableNeedsAllFigures(t *testing.T) {
	r := results{Instructions: figures{}, Real: figures{}}
	if _, err := r.table(); err == nil || !strings.Contains(err.Error(), "was not measured") {
		t.Errorf("the error is %v", err)
	}
}

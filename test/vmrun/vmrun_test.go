package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vmrun is the program under test, built once; empty where there is no machine to be had.
var vmrun string

func TestMain(m *testing.M) {
	if os.Getenv("VMRUN_TEST") != "" {
		os.Exit(run([]string{"true"})) // the test is vmrun itself
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "vmrun-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program := filepath.Join(dir, "vmrun")
		build := exec.Command("go", "build", "-o", program, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // static, for it is the machine's init too
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
		fetch := exec.Command(program, "-fetch")
		fetch.Stderr = os.Stderr
		if out, err := fetch.Output(); err == nil && !bytes.HasPrefix(out, []byte("SKIP")) {
			vmrun = program
		}
		return m.Run()
	}())
}

// runVM runs a command with vmrun in its arguments and gives its exit status and all that it says.
func runVM(t *testing.T, dir string, args ...string) (status int, output string) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("boots a machine")
	case vmrun == "" && os.Getenv("CI") == "true":
		t.Fatal("there is no QEMU or no kernel here")
	case vmrun == "":
		t.Skip("there is no QEMU or no kernel here")
	}
	t.Parallel()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestGoTestRunsInTheMachine(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "coverage")
	status, out := runVM(t, "testdata/sample",
		"go", "test", "-exec", vmrun, "-count=1", "-v", "-tags", "netgo,osusergo", "-coverprofile", profile, ".")
	if status != 1 || !strings.Contains(out, "--- FAIL: TestSample") || !strings.Contains(out, "a failure for vmrun to report") {
		t.Errorf("status %d, not that of a failed test", status)
	}
	if !strings.Contains(out, `parent 1, KBDD_VM=1, input "from the host"`) {
		t.Error("the test did not run in the machine with its files")
	}
	coverage, err := os.ReadFile(profile)
	if err != nil || !strings.Contains(string(coverage), "sample/sample.go:5.") {
		t.Errorf("coverage: %q, %v", coverage, err)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestExitStatusComesBack(t *testing.T) {
	status, out := runVM(t, ".", vmrun, "sh", "-c", "echo out; echo err >&2; exit 7")
	if status != 7 || !strings.Contains(out, "out\n") || !strings.Contains(out, "err\n") {
		t.Errorf("status %d, output %q", status, out)
	}
}

func TestProgramsOfTheHostWork(t *testing.T) {
	status, out := runVM(t, ".", vmrun, "-with", "showkey", "-file", "main.go:/src/main.go",
		"sh", "-c", "showkey --version && grep -c 'func main' /src/main.go && kill -TERM $$")
	if status != 128+15 || !strings.Contains(out, "showkey") || !strings.Contains(out, "\n1\n") {
		t.Errorf("status %d, output %q", status, out)
	}
}

func TestPanicOfTheKernelIsAnError(t *testing.T) {
	status, out := runVM(t, ".", vmrun, "sh", "-c", "echo c >/proc/sysrq-trigger")
	if status != exitBroken || !strings.Contains(out, "the machine died") || !strings.Contains(out, "Kernel panic") {
		t.Errorf("status %d, output %q", status, out)
	}
}

func TestTimeIsLimited(t *testing.T) {
	status, out := runVM(t, ".", vmrun, "-timeout", "1s", "true") // the machine boots no faster
	if status != exitBroken || !strings.Contains(out, "no end within 1s") {
		t.Errorf("status %d, output %q", status, out)
	}
}

// Where QEMU cannot be had a developer goes on without it, and CI does not.
func TestMissingQEMUIsASkip(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for ci, want := range map[string]int{"": 0, "true": exitBroken} {
		cmd := exec.Command(program)
		cmd.Env = []string{"VMRUN_TEST=1", "PATH=/nonexistent", "HOME=" + t.TempDir(), "CI=" + ci}
		out, _ := cmd.CombinedOutput()
		text := string(out)
		got := cmd.ProcessState.ExitCode()
		if got != want || !strings.Contains(text, "install") || !strings.Contains(text, "qemu-system-x86") {
			t.Errorf("CI=%q: status %d, output %q", ci, got, out)
		}
		if skips := strings.HasPrefix(text, "SKIP: "); skips != (ci == "") {
			t.Errorf("CI=%q: output %q", ci, out)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{{}, {"-nonsense", "true"}, {"-fetch", "true"}, {"-timeout", "soon", "true"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestFilesOfATest(t *testing.T) {
	inputs, outputs := testFiles("/src/pkg", strings.Fields(
		"-test.v=true -test.coverprofile=/tmp/b001/cover.out -test.gocoverdir=/tmp/b001/gocover -test.outputdir=/src "+
			"-test.cpuprofile=cpu.out -test.fuzzcachedir=/cache/fuzz -test.run=Trace -test.timeout=10m0s"))
	if want := []string{"/src/pkg/testdata", "/tmp/b001/gocover", "/cache/fuzz"}; !slices.Equal(inputs, want) {
		t.Errorf("inputs %q", inputs)
	}
	want := []string{
		"/src/pkg/testdata/fuzz", "/tmp/b001/gocover", "/src/_artifacts", "/cache/fuzz", "/tmp/b001/cover.out", "/src/cpu.out",
	}
	if !slices.Equal(outputs, want) {
		t.Errorf("outputs %q", outputs)
	}
}

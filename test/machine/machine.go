// Package machine drives the QEMU test machine from inside: it types on the machine's keyboards, plugs them, and reads the
// screens of its virtual terminals. It is for tests that cmd vmrun runs there, and knows nothing of what they test.
//
// # Nothing sleeps
//
// QEMU answers that a key was typed before the kernel in the machine has seen it, and a test that sleeps for a while fails on
// a busy host. So all here is in step with the kernel: when a keyboard's Press or Release returns, every listener has the key
// (a terminal, a reader of evdev, the holder of a grab), and Console.Text then shows what the terminal made of it. This
// holds for what must not happen as well: a text that is the same after a Press stays the same.
//
// What is made by other programs must be waited for: WaitUntil and Console.Wait do, with a limit.
package machine

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"kbdd/test/vm/job"
)

// Limit is how long this package waits for anything. It is long, since the machine may be emulated on a busy host, and
// costs nothing where things work.
const Limit = 20 * time.Second

// Require skips a test that does not run in the machine. Where KBDD_VM_TESTS and CI=true are set, the test fails instead:
// someone meant it to run.
func Require(t testing.TB) {
	t.Helper()
	switch {
	case os.Getenv("KBDD_VM") != "":
	case os.Getenv("KBDD_VM_TESTS") != "" && os.Getenv("CI") == "true":
		t.Fatal("this test must run in the test machine: run it with make test")
	default:
		t.Skip("this test needs the test machine: run it with make test")
	}
}

// WaitUntil waits for something to become true and fails the test if it does not, with the words "waited in vain until "
// and what.
func WaitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !poll(done) {
		t.Fatalf("waited in vain until %s", what)
	}
}

// poll asks, ever less often, until the answer is yes or time is up.
func poll(done func() bool) bool {
	pause := 50 * time.Microsecond
	for deadline := time.Now().Add(Limit); ; time.Sleep(pause) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		pause = min(2*pause, 5*time.Millisecond)
	}
}

// CtrlAltDels counts how often Ctrl-Alt-Del has reached PID 1, which counts instead of rebooting. The kernel tells PID 1 some
// time after the key: wait for the count that is expected.
func CtrlAltDels(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(job.CtrlAltDel)
	if err != nil {
		t.Fatal(err)
	}
	count, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// Screenshot takes a picture of the machine's screen, as name.png in the folder that vmrun's -shots names (or nowhere without
// it). It shows text only if the machine was booted with vmrun's -screen.
func Screenshot(t testing.TB, name string) {
	t.Helper()
	args := map[string]string{"filename": name + ".png", "format": "png"} // in QEMU's current folder
	if err := monitor(t).command("screendump", args, nil); err != nil {
		t.Fatal(err)
	}
}

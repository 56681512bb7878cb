package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbdd/test/machine"
)

func TestManualsAreClean(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	pages, err := filepath.Glob("../*/*.[1-8]")
	if err != nil {
		t.Fatal(err)
	}
	commands, err := filepath.Glob("../cmd/*/*.[1-8]")
	if err != nil || len(pages) == 0 {
		t.Fatalf("the pages are %v, %v", pages, err)
	}
	for _, page := range append(pages, commands...) {
		text, _ := exec.Command(mandoc, "-T", "lint", page).CombinedOutput()
		for line := range strings.Lines(string(text)) {
			// Which other pages there are depends on the host.
			if !strings.Contains(line, "referenced manual not found") && !strings.Contains(line, "mandoc.db") {
				t.Error(strings.TrimSpace(line))
			}
		}
	}
}

// example is what stands under a title of kbd(4), between .Bd and .Ed.
func example(t testing.TB, title string) string {
	t.Helper()
	page, err := os.ReadFile("testdata/kbd.4")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), ".Ss "+title+"\n.Bd -literal\n")
	text, _, ended := strings.Cut(rest, ".Ed\n")
	if !found || !ended {
		t.Fatalf("kbd(4) has no example %q", title)
	}
	return strings.ReplaceAll(text, `\e`, `\`)
}

func TestManualsProgramCompiles(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed")
	}
	cmd := exec.Command(gcc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-")
	cmd.Stdin = strings.NewReader(example(t, "In C"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestManualsScriptWorks(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	v := startVictim(t, exec.Command("/bin/busybox", "sh", "-c", example(t, "In the shell")))
	v.wantLine(" fa fa")
	v.wantLine(" fa fa")
	if leds := keyboard.LEDs(); leds != machine.NumLock {
		t.Errorf("the LEDs are %03b, want Num Lock", leds)
	}
	v.wantLine("Press a key.")
	keyboard.Type("a")
	v.wantLine(" 1c") // set 2
	if err := v.cmd.Wait(); err != nil {
		t.Error(err)
	}
	keyboard.Type("x")
	wantScreen(t, tty, "x")
}

package test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// may is what each package may import of this module: arrows point down, and the leaves do not know each other.
var may = map[string][]string{
	"scancode":      {},
	"cuse":          {},
	"cuse/cusetest": {},
	"kbd/atkbd":     {"scancode"},
	"kbd/input":     {},
	"kbd/vt":        {},
	"kbd/control":   {},
	"kbd":           {"scancode", "cuse", "kbd/atkbd", "kbd/input", "kbd/vt", "kbd/control"},
	"cmd/kbdd":      {"cuse", "kbd", "kbd/input", "kbd/vt", "kbd/control"},
	"cmd/kbdctl":    {"scancode", "kbd/control"},
}

// unsafeFiles are the files that may be unsafe: where this module meets the kernel, and one that meets the runtime.
var unsafeFiles = []string{"cmd/kbdd/idle.go", "cuse/wire.go", "kbd/input/evdev.go", "kbd/input/uinput.go", "kbd/vt/ioctl.go"}

func TestImportsPointDown(t *testing.T) {
	gocmd, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command here")
	}
	list := exec.Command(gocmd, "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "./...")
	list.Dir = ".."
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ": ")
		pkg = strings.TrimPrefix(pkg, "kbdd/")
		if strings.HasPrefix(pkg, "test") {
			continue
		}
		allowed, known := may[pkg]
		if !known {
			t.Errorf("%s is a new package: say here what it may import", pkg)
		}
		for imported := range strings.FieldsSeq(imports) {
			name, ours := strings.CutPrefix(imported, "kbdd/")
			if ours && !slices.Contains(allowed, name) {
				t.Errorf("%s imports %s", pkg, name)
			}
		}
	}
}

func TestUnsafeStandsOnlyAtTheKernel(t *testing.T) {
	grep := exec.Command("git", "grep", "-l", `"unsafe"`, "--", "*.go", ":!test", ":!*_test.go")
	grep.Dir = ".."
	out, err := grep.Output()
	if err != nil {
		t.Skip("this is no checkout with git at hand")
	}
	for file := range strings.FieldsSeq(string(out)) {
		if !slices.Contains(unsafeFiles, filepath.ToSlash(file)) {
			t.Errorf("%s is unsafe", file)
		}
	}
}

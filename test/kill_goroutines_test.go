package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// killGoroutines are all places where kbdd starts a goroutine or has one started, with what panics there in the kill matrix, or why
// nothing does: "-" and the reason.
var killGoroutines = map[string]string{
	"cmd/kbdd newLogWriter: go func":            "log",
	"cmd/kbdd dialSystemBus: context.AfterFunc": "- it does nothing but close a socket",
	"cmd/kbdd make: n.serving.Go":               "requests",
	"cmd/kbdd serveNodes: background.Go":        "keyboards come and go",
	"cmd/kbdd serveNodes: background.Go 2":      "suspend",
	"cmd/kbdd serveNodes: go guard.run":         "watchdog",
	"cmd/kbdd sleep: time.AfterFunc":            "- it does nothing but tell the watchdog",
	"cmd/kbdd run: go s.listen":                 "- it is the supervisor's, whose end is a case of its own",
	"cmd/kbdd start: go func":                   "- it is the supervisor's, whose end is a case of its own",
	"cmd/kbdd hearOut: go func":                 "- likewise",
	"kbd changedLocked: go func":                "keyboards have changed hands",
	"kbd viewLocked: go func":                   "terminals",
	"kbd armLocked: time.AfterFunc":             "typematic",
	"kbd emptyReadLocked: time.AfterFunc":       "- it does nothing but Wake, as others do",
	"kbd watchStallLocked: time.AfterFunc":      "stall-timeout",
	"kbd checkStall: time.AfterFunc":            "stall-timeout",
	"kbd checkStall: go s.settle":               "after stall-timeout",
	"kbd/input changeToLocked: go k.change":     "keyboard is taken",
	"kbd/input take: go k.run":                  "keyboard's thread",
	"kbd/input await: go func":                  "- it does nothing but read once, and have the keyboard taken",
	"kbd/input passUnread: time.AfterFunc":      "- it is there for one that hangs already",
	"kbd/input Run: context.AfterFunc":          "- it does nothing but close a socket",
	"kbd/vt Watch: context.AfterFunc":           "- it does nothing but close a pipe",
	"kbd/control exchange: context.AfterFunc":   "- it is kbdctl's",
	"kbd/control Start: go s.http.Serve":        "control socket",
	"cuse Serve: time.AfterFunc":                "record has settled",
	"cuse start: d.calls.Go":                    "open(2)",
	"cuse startRelease: d.calls.Go":             "close(2)",
}

// TestEachGoroutinePanics finds the places in the source.
func TestEachGoroutinePanics(t *testing.T) {
	if _, err := os.Stat("../go.mod"); err != nil {
		t.Skip("there is no source here")
	}
	found := map[string]bool{}
	for _, dir := range []string{"cmd/kbdd", "kbd", "kbd/*", "cuse"} {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") && !strings.Contains(file, "kbdtest") {
				goroutineStarts(t, file, found)
			}
		}
	}
	for start := range found {
		what, known := killGoroutines[start]
		switch isCase := slices.ContainsFunc(killPanics, func(p killPanic) bool { return p.goroutine == what }); {
		case !known:
			t.Errorf("%s: have it panic in the kill matrix, or say here why not", start)
		case !isCase && !strings.HasPrefix(what, "- "):
			t.Errorf("%s: there is no panic %q", start, what)
		}
	}
	for start := range killGoroutines {
		if !found[start] {
			t.Errorf("%s: there is no such place", start)
		}
	}
}

// goroutineStarts adds those of a file to found, as "package function: call".
func goroutineStarts(t *testing.T, path string, found map[string]bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		name := "-"
		if f, ok := decl.(*ast.FuncDecl); ok {
			name = f.Name.Name
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			start := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				start = "go " + calleeName(n.Call.Fun)
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "Go" || s.Sel.Name == "AfterFunc") {
					start = calleeName(s)
				}
			}
			if start == "" {
				return true
			}
			first := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../") + " " + name + ": " + start
			start = first
			for n := 2; found[start]; n++ {
				start = fmt.Sprint(first, " ", n)
			}
			found[start] = true
			return true
		})
	}
}

// calleeName is how a function is called in the source.
func calleeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return calleeName(e.X) + "." + e.Sel.Name
	case *ast.FuncLit:
		return "func"
	}
	return fmt.Sprintf("%T", e)
}

package vt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// machine is a console over files in a folder.
func machine(t *testing.T, files map[string]string) *Console {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &Console{path: filepath.Join(dir, "tty0"), active: filepath.Join(dir, "active"), proc: dir}
}

func TestTerminalOfAProcess(t *testing.T) {
	for _, tt := range []struct {
		stat string
		want int
	}{
		{"12 (game) S 1 12 12 1027 12 4194304", 3}, // 4:3
		{"12 (a b) c) S 1 12 12 1025 12 0", 1},     // a name that looks like the rest
		{"12 (game) S 1 12 12 34817 12 0", 0},      // 136:1, a pseudoterminal
		{"12 (game) S 1 12 12 0 -1 0", 0},          // a daemon
		{"12 (game) S 1 12 12 1088 12 0", 0},       // 4:64, a serial line
		{"12 (game", 0},
		{"12 (game) S 1", 0},
		{"", 0},
	} {
		c := machine(t, map[string]string{"12/stat": tt.stat})
		if got := c.Of(12); got != tt.want {
			t.Errorf("Of a process with stat %q = %d, want %d", tt.stat, got, tt.want)
		}
	}
	if got := machine(t, nil).Of(12); got != 0 {
		t.Errorf("Of a process that is gone = %d, want 0", got)
	}
}

func TestActiveTerminal(t *testing.T) {
	for text, want := range map[string]int{"tty7\n": 7, "": 0, "hvc0\n": 0} {
		if got := machine(t, map[string]string{"active": text}).Active(); got != want {
			t.Errorf("Active with %q = %d, want %d", text, got, want)
		}
	}
}

func TestMachineWithoutTerminals(t *testing.T) {
	c := machine(t, nil)
	if got := c.Active(); got != 0 {
		t.Errorf("Active = %d, want 0", got)
	}
	if got := c.LEDs(); got != 0 {
		t.Errorf("LEDs = %d, want 0", got)
	}
	if err := c.Watch(t.Context(), func(int) { t.Error("told of a terminal") }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Watch: %v, want that there is no such file", err)
	}
	if err := c.Activate(1); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Activate: %v, want ENOENT", err)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	c := machine(t, map[string]string{"active": "tty2\n"})
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	err := c.Watch(ctx, func(active int) {
		told = active
		cancel()
	})
	if !errors.Is(err, context.Canceled) || told != 2 {
		t.Errorf("Watch: %v after telling of %d", err, told)
	}
}

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRecordLeavesAnOldFileUnlessItCanRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(file, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"/nowhere/event0", "/dev/null"} {
		if status, _, errs := kbdctl("record", file, node); status != exitFailure || !strings.Contains(errs, node) {
			t.Errorf("status %d: %s", status, errs)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the old file has %q", text)
	}
}

func TestRecordingIsItsOwnersOnly(t *testing.T) {
	dir := t.TempDir()
	old, fifo := filepath.Join(dir, "old"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(old, []byte("of another keyboard"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	os.Chmod(old, 0o644)
	os.Chmod(fifo, 0o644)
	for path, want := range map[string]os.FileMode{old: 0o600, filepath.Join(dir, "new"): 0o600, fifo: os.ModeNamedPipe | 0o644} {
		f, err := createRecording(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if st, err := os.Stat(path); err != nil || st.Mode() != want || st.Size() != 0 {
			t.Errorf("%s: %v, %d bytes, %v", path, st.Mode(), st.Size(), err)
		}
	}
}

// TestRecordingIsWrittenAsItIsTyped looks into a pipe while the keyboard is still there.
func TestRecordingIsWrittenAsItIsTyped(t *testing.T) {
	events, keyboard := io.Pipe()
	out, recorded := io.Pipe()
	rec := &recording{name: "Keyboard A"}
	ended := make(chan error)
	go func() { ended <- rec.record(events, recorded) }()
	read := func(want string) {
		t.Helper()
		var got []byte
		buf := make([]byte, 512)
		for deadline := time.Now().Add(5 * time.Second); !bytes.Contains(got, []byte(want)) && time.Now().Before(deadline); {
			n, err := out.Read(buf)
			if got = append(got, buf[:n]...); err != nil {
				break
			}
		}
		if !bytes.Contains(got, []byte(want)) {
			t.Fatalf("the pipe has %q, want %q", got, want)
		}
	}
	read("N: Keyboard A\n")
	keyboard.Write(input(time.Second, evKey, 30, 1))
	read("E: 0.000000 0001 001e 0001\n")
	keyboard.CloseWithError(os.ErrDeadlineExceeded) // as Ctrl-C has it
	read("E: 0.000000 0001 001e 0000\n")
	go io.Copy(io.Discard, out)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRecordTellsThatTheDiskIsFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	rec := &recording{name: "Keyboard A"}
	events := io.MultiReader(bytes.NewReader(input(0, evKey, 30, 1)), strings.NewReader(""))
	if err := rec.record(events, full); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("it ended with %v", err)
	}
}

func TestPlayBeginsWithTheFirstEvent(t *testing.T) {
	const keyboard = "B: 01 00 00 00 40 00 00 00 00\n"
	rec, err := readRecording(strings.NewReader(keyboard + "E: 1000.500000 0001 001e 0001\nE: 1000.750000 0001 001e 0000\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := []time.Duration{rec.events[0].at, rec.events[1].at}; got[0] != 0 || got[1] != 250*time.Millisecond {
		t.Errorf("the events come after %v", got)
	}
}

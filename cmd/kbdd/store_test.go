package main

import (
	"io"
	"log/slog"
	"os"
	"testing"
)

// TestDeviceThatNobodyGoesOnWithIsEnded has kbd2 missing, and so kbd3 be of a keyboard that nobody knows.
func TestDeviceThatNobodyGoesOnWithIsEnded(t *testing.T) {
	program, conn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	s := store{log: slog.New(slog.DiscardHandler), left: map[string]leftNode{"kbd3": {conn: conn}}}
	if labels := s.labels(); len(labels) > 0 {
		t.Errorf("labels %q", labels)
	}
	s.giveUp()
	if _, err := program.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("who has the device open gets %v, want its end", err)
	}
	if len(s.left) > 0 {
		t.Errorf("left are %v", s.left)
	}
}

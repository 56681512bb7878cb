package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hung is the path of a kbdd that takes connections and does nothing.
func hung(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path
}

func TestClientDoesNotWaitForAKbddThatHangs(t *testing.T) {
	client := NewClient(hung(t))
	client.limit = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	errs := map[string]error{}
	_, errs["status"] = client.Status(ctx)
	_, errs["metrics"] = client.Metrics(ctx)
	errs["release"] = client.Release(ctx, "kbd0")
	for _, err := range client.Watch(ctx) {
		errs["watch"] = err
	}
	for question, err := range errs {
		if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "kbdd hangs") {
			t.Errorf("%s: %v", question, err)
		}
	}
}

// TestWatchWaitsLongerThanOtherQuestions has nothing change for longer than an answer may take.
func TestWatchWaitsLongerThanOtherQuestions(t *testing.T) {
	service, client, _ := start(t)
	client.limit = 200 * time.Millisecond
	seen := 0
	for st, err := range client.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 2 {
			return
		}
		time.Sleep(2 * client.limit)
		st.Terminal++
		service.set(st)
	}
}

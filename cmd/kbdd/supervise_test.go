package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// lives play the part of a kbdd that is supervised: each word is how one of its lives goes, and a file counts them.
func lives(script string) int {
	count := os.Getenv("KBDD_TEST_LIVES")
	text, _ := os.ReadFile(count)
	os.WriteFile(count, append(text, '.'), 0o600)
	words := strings.Fields(script)
	switch word := words[min(len(text), len(words)-1)]; word {
	case "ready":
		daemon.SdNotify(false, daemon.SdNotifyReady)
	case "stores":
		daemon.SdNotify(false, daemon.SdNotifyReady)
		s := openStore(slog.New(slog.DiscardHandler))
		for i := range superviseKeeps + 1 {
			s.tell(fmt.Sprint("FDSTORE=1\nFDNAME=kbd", i), 0)
		}
	case "runs":
		daemon.SdNotify(false, daemon.SdNotifyReady)
		fmt.Println("it runs")
		time.Sleep(time.Minute)
	case "panics":
		panic("as kbdd may")
	case "bad-configuration":
		return exitConfig
	}
	return exitFailure
}

// A syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// superviseLives supervises a kbdd whose lives go as told, until as many have begun, or the supervisor gives up.
func superviseLives(t *testing.T, script string, until int) (status, began int, log string) {
	t.Helper()
	count := filepath.Join(t.TempDir(), "lives")
	t.Setenv("KBDD_TEST_CHILD", "lives "+script)
	t.Setenv("KBDD_TEST_LIVES", count)
	out := &syncBuffer{}
	s, err := newSupervisor([]string{os.Args[0]}, slog.New(slog.NewTextHandler(io.MultiWriter(out, t.Output()), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.notify.Close()
	ended := make(chan int, 1)
	go func() { ended <- s.run() }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(count)
		select {
		case status := <-ended:
			return status, len(text), out.String()
		default:
		}
		if len(text) >= until {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d lives in this time", len(text))
		}
	}
	unix.Kill(os.Getpid(), unix.SIGTERM)
	return <-ended, until, out.String()
}

func TestSupervisorGivesUpWhereKbddCannotStart(t *testing.T) {
	if status, began, _ := superviseLives(t, "bad-configuration runs", 2); status != exitConfig || began != 1 {
		t.Errorf("it ended with %d after %d times", status, began)
	}
}

func TestSupervisorGoesOnOnceKbddWasReady(t *testing.T) {
	// A bad configuration, or what else is amiss, while the program is replaced.
	begin := time.Now()
	if _, began, _ := superviseLives(t, "ready bad-configuration fails bad-configuration runs", 5); began != 5 {
		t.Errorf("it gave up after %d times", began)
	}
	if took := time.Since(begin); took < restartDelay+2*restartDelay+4*restartDelay {
		t.Errorf("it started kbdd again and again within %v", took)
	}
}

func TestSupervisorStartsAKbddAgainThatPanics(t *testing.T) {
	if _, began, _ := superviseLives(t, "panics runs", 2); began != 2 {
		t.Error("it gave up")
	}
}

func TestSupervisorTellsOfWhatItDoesNotKeep(t *testing.T) {
	_, _, log := superviseLives(t, "stores runs", 2)
	if n := strings.Count(log, "is not kept"); n != 1 || !strings.Contains(log, fmt.Sprint("name=kbd", superviseKeeps)) {
		t.Errorf("of 257 descriptors it tells of %d:\n%s", n, log)
	}
}

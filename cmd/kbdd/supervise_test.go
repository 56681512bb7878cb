package main

import (
	"bytes"
	"cmp"
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
	case "vanishes":
		daemon.SdNotify(false, daemon.SdNotifyReady)
		os.Remove(os.Getenv("KBDD_TEST_PROGRAM"))
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
	out := &syncBuffer{}
	status, began = superviseLivesTo(t, out, script, until)
	return status, began, out.String()
}

// superviseLivesTo is superviseLives with a log that can be read meanwhile.
func superviseLivesTo(t *testing.T, out *syncBuffer, script string, until int) (status, began int) {
	t.Helper()
	count := filepath.Join(t.TempDir(), "lives")
	t.Setenv("KBDD_TEST_CHILD", "lives "+script)
	t.Setenv("KBDD_TEST_LIVES", count)
	program := cmp.Or(os.Getenv("KBDD_TEST_PROGRAM"), os.Args[0])
	s, err := newSupervisor([]string{program}, slog.New(slog.NewTextHandler(io.MultiWriter(out, t.Output()), nil)))
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
			return status, len(text)
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
	return <-ended, until
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

func TestSupervisorStartsAKbddAgainWhoseProgramWasGone(t *testing.T) {
	program := filepath.Join(t.TempDir(), "kbdd")
	t.Setenv("KBDD_TEST_PROGRAM", program)
	link := func() {
		if err := os.Symlink(os.Args[0], program); err != nil {
			t.Error(err)
		}
	}
	link()
	log, gone := &syncBuffer{}, make(chan struct{})
	go func() {
		defer close(gone)
		for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(time.Millisecond) {
			if strings.Contains(log.String(), "cannot start kbdd") {
				link()
				return
			}
		}
	}()
	if _, began := superviseLivesTo(t, log, "vanishes runs", 2); began != 2 {
		t.Errorf("it gave up after %d times", began)
	}
	<-gone
}

// TestSupervisorHearsKbddOutAfterAFailure has nothing sent and nothing received for a while, as for want of memory.
func TestSupervisorHearsKbddOutAfterAFailure(t *testing.T) {
	s, err := newSupervisor(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.notify.Close()
	s.notify.SetDeadline(time.Unix(1, 0))
	time.AfterFunc(restartDelay/2, func() { s.notify.SetDeadline(time.Time{}) })
	notices, heard := make(chan notice), make(chan struct{})
	go s.listen(notices)
	go func() {
		s.hearOut(notices)
		close(heard)
	}()
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Error("it hears nothing any more")
	}
}

func TestSupervisorTellsOfWhatItDoesNotKeep(t *testing.T) {
	_, _, log := superviseLives(t, "stores runs", 2)
	if n := strings.Count(log, "is not kept"); n != 1 || !strings.Contains(log, fmt.Sprint("name=kbd", superviseKeeps)) {
		t.Errorf("of 257 descriptors it tells of %d:\n%s", n, log)
	}
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDog notes what a watchdog hears, by the second since the test began.
type fakeDog struct {
	mu    sync.Mutex
	begin time.Time
	heard []string
}

func (d *fakeDog) alive() { d.note("alive") }
func (d *fakeDog) rest()  { d.note("rest") }

func (d *fakeDog) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.heard); n == 0 || d.heard[n-1] != time.Since(d.begin).String()+" "+what {
		d.heard = append(d.heard, time.Since(d.begin).String()+" "+what)
	}
}

// work is a kbdd that may hang.
type work struct {
	mu    sync.Mutex
	inUse bool
	err   error
	hang  chan struct{}
}

func (w *work) check() (bool, error) {
	w.mu.Lock()
	inUse, err, hang := w.inUse, w.err, w.hang
	w.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return inUse, err
}

func (w *work) set(inUse bool, err error, hang chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inUse, w.err, w.hang = inUse, err, hang
}

// watched runs a guard that tells its dog every second, and compares what it heard in play. Who hangs then goes on after that.
func watched(t *testing.T, want []string, play func(*guard, *work)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dog, w := &fakeDog{begin: time.Now()}, &work{}
		g := newGuard(dog, time.Second, w.check, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go g.run(ctx)
		synctest.Wait()
		time.Sleep(time.Second / 2)
		play(g, w)
		synctest.Wait()
		dog.mu.Lock()
		defer dog.mu.Unlock()
		cancel()
		if w.hang != nil {
			close(w.hang)
		}
		if !slices.Equal(dog.heard, want) {
			t.Errorf("the watchdog heard %q, want %q", dog.heard, want)
		}
	})
}

func TestWatchdogHearsOfKbddWhileItIsInUse(t *testing.T) {
	want := []string{"0s rest", "500ms alive", "1.5s alive", "2.5s rest", "1m1.6s alive", "1m2.6s rest"}
	watched(t, want, func(g *guard, w *work) {
		w.set(true, nil, nil)
		g.begun.put()
		time.Sleep(1100 * time.Millisecond)
		w.set(false, nil, nil)
		time.Sleep(time.Minute) // in which nobody wakes
		w.set(true, nil, nil)
		g.begun.put()
		synctest.Wait()
		time.Sleep(1 * time.Millisecond)
		w.set(false, nil, nil)
		time.Sleep(1500 * time.Millisecond)
	})
}

func TestWatchdogHearsNothingOfKbddThatHangs(t *testing.T) {
	watched(t, []string{"0s rest", "500ms alive", "1.5s alive"}, func(g *guard, w *work) {
		w.set(true, nil, nil)
		g.begun.put()
		time.Sleep(1100 * time.Millisecond)
		w.set(true, nil, make(chan struct{}))
		time.Sleep(time.Minute)
	})
}

func TestWatchdogHearsNothingWhileKeysAreStuck(t *testing.T) {
	want := []string{"0s rest", "500ms alive", "1.5s alive", "4.5s alive", "5.5s rest"}
	watched(t, want, func(g *guard, w *work) {
		w.set(true, nil, nil)
		g.begun.put()
		time.Sleep(1100 * time.Millisecond)
		w.set(true, errors.New("the keys are stuck"), nil)
		time.Sleep(2 * time.Second)
		w.set(true, nil, nil)
		time.Sleep(time.Second)
		w.set(false, nil, nil)
		time.Sleep(2 * time.Second)
	})
}

func TestWatchdogWatchesAKbddThatHangsSinceASuspend(t *testing.T) {
	for what, play := range map[string]func(g *guard){
		"resumed": func(g *guard) {
			time.Sleep(time.Second)
			g.sleep(false)
			g.sleep(false) // which is no sign of life
		},
		"not said to have resumed": func(*guard) {},
	} {
		want := []string{"0s rest", "500ms alive", "1.1s rest", "2.1s alive"}
		if what != "resumed" {
			want[3] = "1m1.1s alive"
		}
		watched(t, want, func(g *guard, w *work) {
			w.set(true, nil, nil)
			g.begun.put()
			synctest.Wait()
			w.set(true, nil, make(chan struct{}))
			time.Sleep(600 * time.Millisecond)
			g.sleep(true)
			play(g)
			time.Sleep(2 * time.Minute)
		})
	}
}

func TestWatchdogRestsWhileTheMachineSuspends(t *testing.T) {
	want := []string{
		"0s rest", "500ms alive", "1.1s rest", "1.5s rest", "2.5s rest", "2.6s alive", "3.5s alive", "4.5s rest",
	}
	watched(t, want, func(g *guard, w *work) {
		w.set(true, nil, nil)
		g.begun.put()
		time.Sleep(600 * time.Millisecond)
		g.sleep(true)
		time.Sleep(1500 * time.Millisecond)
		g.sleep(false)
		time.Sleep(1000 * time.Millisecond)
		w.set(false, nil, nil)
		time.Sleep(1500 * time.Millisecond)
	})
}

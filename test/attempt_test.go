package test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// An attempt is a test of which many are made within a test: a failure ends the attempt, and not the test.
type attempt struct {
	testing.TB

	mu       sync.Mutex
	failures []string // guarded by mu
	cleanups []func() // guarded by mu
}

// try makes an attempt and tells what went wrong.
func try(t testing.TB, f func(a *attempt)) (failures []string) {
	a := &attempt{TB: t}
	apart(func() { f(a) })
	for {
		a.mu.Lock()
		last := len(a.cleanups) - 1
		if last < 0 {
			defer a.mu.Unlock()
			return a.failures
		}
		cleanup := a.cleanups[last]
		a.cleanups = a.cleanups[:last]
		a.mu.Unlock()
		apart(cleanup)
	}
}

// apart runs f in a goroutine of its own, which FailNow may end.
func apart(f func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	<-ended
}

func (a *attempt) fail(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures = append(a.failures, text)
}

func (a *attempt) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

func (a *attempt) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.failures) > 0
}

func (a *attempt) Fail()    { a.fail("failed") }
func (a *attempt) FailNow() { a.Fail(); runtime.Goexit() }

func (a *attempt) Error(args ...any)                 { a.fail(fmt.Sprint(args...)) }
func (a *attempt) Errorf(format string, args ...any) { a.fail(fmt.Sprintf(format, args...)) }
func (a *attempt) Fatal(args ...any)                 { a.Error(args...); runtime.Goexit() }
func (a *attempt) Fatalf(format string, args ...any) { a.Errorf(format, args...); runtime.Goexit() }

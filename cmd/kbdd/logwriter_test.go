package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// stuck is a writer that waits until it is let go.
type stuck struct {
	letGo chan struct{}

	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.letGo
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func TestLogNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{letGo: make(chan struct{})}
		l := newLogWriter(w)
		for i := range 2 * logLines {
			fmt.Fprintf(l, "line %d\n", i)
		}
		close(w.letGo)
		l.close()
		got := w.buf.String()
		if !strings.HasPrefix(got, "line 0\n") || !strings.Contains(got, " lines of the log are lost\n") {
			t.Errorf("the log is\n%s", got)
		}
		if n := strings.Count(got, "line "); n < logLines {
			t.Errorf("%d lines were kept", n)
		}
	})
}

func TestLogThatNobodyTakesDoesNotKeepKbddFromEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{letGo: make(chan struct{})}
		l := newLogWriter(w)
		fmt.Fprintln(l, "line")
		l.close()
		fmt.Fprintln(l, "too late")
		close(w.letGo)
	})
}

package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A logWriter writes log lines without making anyone wait: a terminal that is stopped, or a log that is full, must not
// keep a keyboard from the console. Lines that do not fit are dropped, and their number is told.
type logWriter struct {
	lines   chan []byte
	dropped atomic.Int64
	done    chan struct{}

	mu     sync.Mutex
	closed bool // guarded by mu; so is sending on lines
}

// logLines is how many lines wait for a writer that does not come.
const logLines = 256

func newLogWriter(w io.Writer) *logWriter {
	l := &logWriter{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for line := range l.lines {
			w.Write(line)
			if n := l.dropped.Swap(0); n > 0 {
				fmt.Fprintf(w, "kbdd: %d lines of the log are lost\n", n)
			}
		}
	}()
	return l
}

// Write queues a line. After close it is dropped.
func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	select {
	case l.lines <- append([]byte(nil), p...):
	default:
		l.dropped.Add(1)
	}
	return len(p), nil
}

// close waits until all is written, for a second at most.
func (l *logWriter) close() {
	l.mu.Lock()
	l.closed = true
	close(l.lines)
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(time.Second):
	}
}

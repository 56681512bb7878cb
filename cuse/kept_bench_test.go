package cuse

import (
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkWakeAnswersReadOfAKeptFile is BenchmarkWakeAnswersRead with a Record.
func BenchmarkWakeAnswersReadOfAKeptFile(b *testing.B) {
	one := wakeAndReadKept(b)
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}

// wakeAndReadKept is wakeAndRead of a file that is kept, and is as large as a keyboard.
func wakeAndReadKept(t testing.TB) func() {
	k := newKeptRig(t)
	k.openFile()
	k.dev.witness = nil // the request comes again and again
	w := k.files[0]
	request := k.request(opRead, readOf(1, 64))
	buf := make([]byte, 64)
	return func() {
		if err := k.dev.dispatch(request); err != nil {
			t.Fatal(err)
		}
		w.data = append(w.data[:0], "x"...)
		w.Wake()
		if n, err := unix.Read(k.peer, buf); err != nil || n != outHeaderSize+1 {
			t.Fatal(n, err)
		}
	}
}

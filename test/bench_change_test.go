package test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// changeTimes is how often each is tried.
const changeTimes = 20

// BenchmarkChange takes the time that a keyboard takes to change hands, with no key held: from the node of one that is plugged in
// until it is muted, from a switch of terminals until it is given back, and of open(2) and close(2). Each is the longest of
// some tries.
func BenchmarkChange(tb *testing.B) {
	b := newBench(tb, 1)
	startKbdd(b)
	keyboard := &b.keyboards[0].Keyboard
	longest := map[string]time.Duration{}
	took := func(what string, begin time.Time) { longest[what] = max(longest[what], time.Since(begin)) }
	for range changeTimes {
		begin := time.Now()
		fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
		if err != nil {
			b.Fatal(err)
		}
		took("open-ms", begin)

		plugged := machine.NewUinput(b, machine.UinputConfig{Name: "plugged in"})
		node := plugged.Node()
		stat, err := os.Stat(node)
		if err != nil {
			b.Fatal(err)
		}
		machine.WaitUntil(b, "the new keyboard is muted", func() bool { return muted(b, node) })
		took("join-ms", stat.ModTime())
		plugged.Destroy()

		begin = time.Now()
		machine.SwitchVT(b, 2)
		waitGivenBack(b, keyboard)
		took("switch-ms", begin)
		machine.SwitchVT(b, 1)
		machine.WaitUntil(b, "the keyboard is muted again", func() bool { return muted(b, keyboard.Node()) })

		begin = time.Now()
		unix.Close(fd)
		took("close-ms", begin)
	}
	for what, d := range longest {
		b.ReportMetric(float64(d.Microseconds())/1000, what)
	}
}

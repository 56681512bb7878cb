package test

import (
	"os"
	"testing"
	"time"

	"kbdd/test/machine"
)

// changeTimes is how often each is tried.
const changeTimes = 20

// BenchmarkChange takes the time that a keyboard takes to change hands, with no key held: from the node of one that is plugged in
// until it is muted, from a switch of terminals until it is given back, from the R of Alt-SysRq-R likewise, with a holder that does
// not read, and of open(2) and close(2). Each is the longest of some tries.
func BenchmarkChange(tb *testing.B) {
	b := newBench(tb, 1)
	startKbdd(b)
	keyboard := &b.keyboards[0].Keyboard
	longest := map[string]time.Duration{}
	took := func(what string, begin time.Time) { longest[what] = max(longest[what], time.Since(begin)) }
	for range changeTimes {
		begin := time.Now()
		d := openFresh(b, os.O_RDONLY)
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
		d.close()
		took("close-ms", begin)

		hung := openFresh(b, os.O_RDONLY)
		keyboard.Press(machine.KeyLeftAlt)
		keyboard.Press(machine.KeySysRq)
		begin = time.Now()
		keyboard.Tap(machine.KeyR)
		keyboard.Release(machine.KeySysRq)
		keyboard.Release(machine.KeyLeftAlt)
		waitGivenBack(b, keyboard)
		took("sysrq-r-ms", begin)
		hung.close()
	}
	for what, d := range longest {
		b.ReportMetric(float64(d.Microseconds())/1000, what)
	}
}

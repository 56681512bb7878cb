package test

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
	"kbdd/test/machine"
)

// A killPanic is a panic in one of kbdd's goroutines.
type killPanic struct {
	goroutine string
	root      string // the function that the goroutine is in, as its trace must show
	function  string // the function that panics when it is called next, see breakFunction; "": trigger sees to that
	begin     func(s *killStage)
	silent    bool // there is no reader but those that trigger starts
	// trigger has the function called, unless typing does.
	trigger func(k *killing)
}

// killPanics are all the goroutines that kbdd starts, but for those of the libraries, and for a timer that does nothing but Wake,
// which the others do too. One more, in which the control socket answers a request, may panic: see killAnswer.
var killPanics = []killPanic{
	{"main", "main.serve", "main.reload", nil, false, func(k *killing) { k.kbdd.cmd.Process.Signal(unix.SIGHUP) }},
	{"log", "main.newLogWriter.func1", "os.(*File).Write", nil, false, func(k *killing) { k.kbdd.cmd.Process.Signal(unix.SIGHUP) }},
	{"keyboard's thread", "kbdd/kbd/input.(*Keyboard).run", "kbdd/kbd/input.(*stream).take", nil, false, nil},
	{"keyboard's thread under the lock", "kbdd/kbd/input.(*Keyboard).run", "kbdd/kbd.(*port).keyLocked", nil, false, nil},
	{"keyboard is taken", "kbdd/kbd/input.(*Keyboard).change", "kbdd/kbd/input.settle", nil, true, openInVain},
	{"keyboard is given back", "kbdd/kbd/input.(*Keyboard).giveBack", "kbdd/kbd/input.(*evdevNode).Pressed", nil, false, endReader},
	{"keyboards have changed hands", "kbdd/kbd.(*Service).changedLocked", "", nil, true, hangThenTakeAway},
	{"keyboards come and go", "kbdd/kbd/input.(*Watcher).Run", "kbdd/kbd/input.(*Watcher).addLocked", nil, false, announceKeyboard},
	{"terminals", "kbdd/kbd/vt.(*Console).Watch", "kbdd/kbd.(*Service).switched", nil, true, openInVain},
	{"requests", "kbdd/cuse.(*Device).Serve", "kbdd/cuse.(*Device).dispatch", nil, false, nil},
	{"open(2)", "kbdd/cuse.(*Device).start", "kbdd/kbd.(*Device).open", nil, false, openInVain},
	{"ioctl(2)", "kbdd/cuse.(*Device).start", "kbdd/kbd.(*File).Ioctl", nil, false, ioctlInVain},
	{"close(2)", "kbdd/cuse.(*Device).startRelease", "kbdd/kbd.(*Service).viewLocked", nil, false, endReader},
	{"typematic", "kbdd/kbd.(*File).tick", "kbdd/kbd/atkbd.(*Keyboard).Tick", nil, false, nil},
	{"stall-timeout", "kbdd/kbd.(*File).checkStall", "", limitStalls, true, hangThenBreak},
	{"after stall-timeout", "kbdd/kbd.(*File).checkStall.gowrap2", "kbdd/kbd.(*File).checkStall.gowrap2", limitStalls, true, hang},
	{"suspend", "main.followSleep", "main.(*stopper).stop", withLogind, false, func(k *killing) { k.logind.prepareForSleep(true) }},
	{"control socket", "net/http.(*Server).Serve", "kbdd/kbd/control.(*Server).count", nil, false, func(k *killing) { askStatus(k) }},
}

func killPanicCases() (cases []killCase) {
	for _, p := range killPanics {
		cases = append(cases, killCase{name: "kbdd panics: " + p.goroutine, begin: p.begin, try: p.try, short: 1})
	}
	return append(cases, killCase{name: "kbdd panics: answer to kbdctl", until: "kbdd goes on; until the reader reads", try: killAnswer, short: 1})
}

// try has kbdd panic.
func (p *killPanic) try(k *killing) time.Duration {
	k.kbdd = startKbdd(k, k.config...)
	k.Cleanup(func() { k.kbdd = nil })
	if k.logind != nil {
		k.logind.t = k
		k.logind.inhibited(k.kbdd).Close()
	}
	if !p.silent {
		k.read(startReader(k))
	}
	took := k.strike(func() {
		if p.function != "" {
			k.breakFunction(k.kbdd.cmd.Process.Pid, p.function)
		}
		if p.trigger != nil {
			p.trigger(k)
		}
		k.kbdd.wait(k, "a panic")
	}, k.afterPanic)
	if k.reader != nil {
		k.bury()
	}
	k.wantConsole()
	k.wantPanic(p.root)
	k.kbdd = nil
	return took
}

// afterPanic tells if the console types after kbdd has ended. Before the panic it may type as well, for a while.
func (k *killing) afterPanic() bool {
	ended := len(k.kbdd.done) > 0
	types := k.consoleTypes()
	if !ended && k.reader == nil {
		k.typed = ""
	}
	return ended && types && k.typed != ""
}

// wantPanic checks where kbdd has panicked.
func (k *killing) wantPanic(root string) {
	k.Helper()
	_, trace, panicked := strings.Cut(k.kbdd.log.String(), "\npanic: ")
	_, trace, _ = strings.Cut(trace, "\ngoroutine ") // the first is the one that panicked
	trace, _, _ = strings.Cut(trace, "\n\n")
	if !panicked || !strings.Contains(trace, root) {
		k.Errorf("kbdd has not panicked in %s:\n%s", root, k.kbdd.log)
	}
}

// breakFunction has a function of the running kbdd panic when it is called next. There is nothing in kbdd for that: its first
// instruction is made one that writes to address 0, which is a panic to Go, in the goroutine that comes there first. A function that
// defers would not do: where its deferred calls are noted is not made ready yet, and the panic would go wrong over that.
func (k *killing) breakFunction(pid int, name string) {
	k.Helper()
	symbols, err := kbddSymbols()
	if err != nil {
		k.Fatal(err)
	}
	address, ok := symbols[name]
	if !ok {
		k.Fatalf("kbdd has no function %s", name)
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		k.Fatal(err)
	}
	defer memory.Close()
	const movEAXTo0 = "\x89\x04\x25\x00\x00\x00\x00"
	if _, err := memory.WriteAt([]byte(movEAXTo0), int64(address)); err != nil {
		k.Fatal(err)
	}
}

// kbddSymbols are the addresses of kbdd's functions.
var kbddSymbols = sync.OnceValues(func() (map[string]uint64, error) {
	path, err := exec.LookPath("kbdd")
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("%s is a %v for %v", path, f.Type, f.Machine)
	}
	symbols, err := f.Symbols()
	addresses := map[string]uint64{}
	for _, s := range symbols {
		addresses[s.Name] = s.Value
	}
	return addresses, err
})

// openInVain opens the device, and sees that the open fails.
func openInVain(k *killing) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err == nil {
		unix.Close(fd)
	}
}

// ioctlInVain opens the device for commands and asks it something.
func ioctlInVain(k *killing) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		k.Fatal(err)
	}
	defer unix.Close(fd)
	var mode int32
	if err := ioctl(fd, KDGKBMODE, &mode); err == nil {
		k.Error("KDGKBMODE is answered after all")
	}
}

// endReader kills the reader.
func endReader(k *killing) { k.reader.cmd.Process.Kill() }

// announceKeyboard has the kernel tell of a keyboard that is there.
func announceKeyboard(k *killing) {
	if err := os.WriteFile("/sys/class/input/event0/uevent", []byte("add"), 0); err != nil {
		k.Fatal(err)
	}
}

// hang opens the device and does not read.
func hang(k *killing) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return // it was after a panic
	}
	k.Cleanup(func() { unix.Close(fd) })
}

// hangThenBreak opens the device and does not read, and has the look at that panic. What panics is called by the open too.
func hangThenBreak(k *killing) {
	hang(k)
	k.breakFunction(k.kbdd.cmd.Process.Pid, "kbdd/kbd.(*File).countLocked")
}

// hangThenTakeAway opens the device and does not read, and takes the keyboard away as kbdctl release does. It panics
// where that is waited for, which is in a goroutine of its own while nobody opens or closes.
func hangThenTakeAway(k *killing) {
	hang(k)
	k.breakFunction(k.kbdd.cmd.Process.Pid, "kbdd/kbd.await")
	ctx, cancel := context.WithTimeout(context.Background(), machine.Limit)
	defer cancel()
	_ = control.NewClient(control.Socket).Release(ctx, "kbd0") // kbdd may panic before it answers
}

// askStatus asks kbdd what kbdctl asks.
func askStatus(k *killing) error {
	ctx, cancel := context.WithTimeout(context.Background(), machine.Limit)
	defer cancel()
	_, err := control.NewClient(control.Socket).Status(ctx)
	return err
}

// killAnswer has kbdd panic where net/http recovers: it must live, with its reader.
func killAnswer(k *killing) time.Duration {
	k.kbdd = startKbdd(k)
	k.Cleanup(func() { k.kbdd = nil })
	k.read(startReader(k))
	k.lives = true
	struck := 0
	answered := make(chan error, 1)
	took := k.strike(func() {
		k.breakFunction(k.kbdd.cmd.Process.Pid, "kbdd/kbd/control.(*Server).getStatus")
		answered <- askStatus(k)
	}, func() bool {
		if len(answered) == 0 {
			return false
		}
		if struck == 0 {
			struck = k.typist.next
		}
		k.hear()
		return k.last(k.stream.text) >= struck
	})
	if <-answered == nil {
		k.Error("kbdd answers after all")
	}
	k.untilHeard()
	k.wantReader()
	k.killReader()
	k.kbdd.end(unix.SIGTERM)
	if !strings.Contains(k.kbdd.log.String(), "http: panic serving") {
		k.Errorf("kbdd has not panicked in its answer:\n%s", k.kbdd.log)
	}
	k.kbdd = nil
	return took
}

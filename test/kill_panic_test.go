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
	reader    killReader
	// trigger has the function called, unless typing does.
	trigger func(k *killing, kbdd running)
	by      parents // what kbdd is run by where this is tried
}

// killReader is the reader that there is when kbdd panics.
type killReader int

const (
	reads    killReader = iota // it lives on if there is a next kbdd
	ends                       // it is killed
	noReader                   // none, or what the trigger starts
)

// parents are what kbdd is run by.
type parents int

const (
	nobody     parents = 1 << iota
	supervisor         // "kbdd -supervise"
	systemd            // kbdd.service
)

// killPanics are all the goroutines that kbdd starts, but for those of the libraries, and for a timer that does nothing but Wake,
// which the others do too. One more, in which the control socket answers a request, may panic: see killAnswer.
//
// A suspend before which kbdd panics is not tried with systemd, which suspends then: the kernel gives up after 20 s, since
// the reader waits for the next kbdd, which is frozen.
var killPanics = []killPanic{
	{"main", "main.serveNodes", "main.reload", nil, reads, hangUpKbdd, nobody | supervisor | systemd},
	{"log", "main.newLogWriter.func1", "os.(*File).Write", nil, reads, hangUpKbdd, nobody | systemd},
	{"watchdog", "main.(*guard).run", "main.(*guard).isInUse", nil, reads, nil, supervisor | systemd},
	{"keyboard's thread", "kbdd/kbd/input.(*Keyboard).run", "kbdd/kbd/input.(*stream).take", nil, reads, nil, nobody | supervisor | systemd},
	{"keyboard's thread under the lock", "kbdd/kbd/input.(*Keyboard).run", "kbdd/kbd.(*port).keyLocked", nil, reads, nil, nobody | systemd},
	{"keyboard is taken", "kbdd/kbd/input.(*Keyboard).change", "kbdd/kbd/input.settle", nil, noReader, openAndClose, nobody | systemd},
	{"keyboard is given back", "kbdd/kbd/input.(*Keyboard).giveBack", "kbdd/kbd/input.(*gate).lockWithin", nil, ends, endReader, nobody | systemd},
	{"keyboards have changed hands", "kbdd/kbd.(*Service).changedLocked", "", nil, noReader, hangThenTakeAway, nobody | systemd},
	{"keyboards come and go", "kbdd/kbd/input.(*Watcher).Run", "kbdd/kbd/input.(*Watcher).addLocked", nil, reads, announceKeyboard, nobody | systemd},
	{"terminals", "kbdd/kbd/vt.(*Console).Watch", "kbdd/kbd.(*Service).switched", nil, noReader, hang, nobody | systemd},
	{"requests", "kbdd/cuse.(*Device).Serve", "kbdd/cuse.(*Device).dispatch", nil, reads, nil, nobody | supervisor | systemd},
	{"open(2)", "kbdd/cuse.(*Device).start", "kbdd/kbd.(*Device).open", nil, reads, openAndClose, nobody | systemd},
	{"ioctl(2)", "kbdd/cuse.(*Device).start", "kbdd/kbd.(*File).Ioctl", nil, reads, askMode, nobody | systemd},
	{"close(2)", "kbdd/cuse.(*Device).startRelease", "kbdd/kbd.(*Service).viewLocked", nil, ends, endReader, nobody | systemd},
	{"typematic", "kbdd/kbd.(*File).tick", "kbdd/kbd/atkbd.(*Keyboard).Tick", nil, reads, nil, nobody | systemd},
	{"stall-timeout", "kbdd/kbd.(*File).checkStall", "", limitStalls, noReader, hangThenBreak, nobody | systemd},
	{"after stall-timeout", "kbdd/kbd.(*File).checkStall.gowrap2", "kbdd/kbd.(*File).checkStall.gowrap2", limitStalls, noReader, hang, nobody | systemd},
	{"suspend", "main.(*sleeper).run", "main.(*stopper).stop", withLogind, reads, prepareForSleep, nobody},
	{"resume", "main.(*sleeper).run", "main.(*logind).inhibit", withLogind, reads, suspendAndResume, nobody | systemd},
	{"record has settled", "kbdd/cuse.(*Record).settled-fm", "", nil, noReader, breakYoung, supervisor | systemd},
	{"control socket", "net/http.(*Server).Serve", "kbdd/kbd/control.(*Server).count", nil, reads, func(k *killing, _ running) { askStatus(k) }, nobody | systemd},
}

// killPanicCases are those of a kbdd that is run by that.
func killPanicCases(by parents) (cases []killCase) {
	for _, p := range killPanics {
		if p.by&by == 0 {
			continue
		}
		c := killCase{name: "kbdd panics: " + p.goroutine, begin: p.begin, try: p.try}
		if by != nobody {
			c.try = p.tryKept
		}
		if by != nobody && p.reader == reads {
			c.until = untilRead
		}
		if by == supervisor {
			c.name, c.short = "supervised "+c.name, -1 // each of them takes long
		}
		cases = append(cases, c)
	}
	return cases
}

var killAnswerCase = killCase{name: "kbdd panics: answer to kbdctl", until: "kbdd goes on; until the reader reads", try: killAnswer}

// try has a kbdd panic that is nobody's.
func (p *killPanic) try(k *killing) time.Duration {
	if k.logind != nil {
		k.logind.t = k
		k.logind.setPreparing(false) // as a try before may have left it
	}
	kbdd := startKbdd(k, k.config...)
	if k.logind != nil {
		k.logind.inhibited(kbdd).Close()
	}
	p.startReader(k)
	took := k.strike(func() {
		p.panic(k, kbdd)
		kbdd.wait(k, "a panic")
	}, k.typesAfter(func() bool { return len(kbdd.done) > 0 }))
	k.endHung()
	if k.reader != nil {
		k.bury()
	}
	k.wantConsole()
	k.wantPanic(kbdd, p.root)
	return took
}

// tryKept has a kbdd panic that another one follows. Where there is a reader that lives on, it goes on.
func (p *killPanic) tryKept(k *killing) time.Duration {
	kbdd := k.startKept()
	k.twice = p.goroutine == "resume" // the suspend has the terminal switched
	p.startReader(k)
	var took time.Duration
	if p.reader == reads {
		took = k.outlive(kbdd, func() { p.panic(k, kbdd) })
		k.killReader()
	} else {
		took = k.outliveUnread(kbdd, func() { p.panic(k, kbdd) })
	}
	k.wantPanic(kbdd, p.root)
	kbdd.finish(k)
	return took
}

// startReader starts the reader, if there is to be one.
func (p *killPanic) startReader(k *killing) {
	if p.reader != noReader {
		k.read(startReader(k))
	}
}

// panic has kbdd panic soon.
func (p *killPanic) panic(k *killing, kbdd running) {
	if p.function != "" {
		k.breakFunction(kbdd.pid(), p.function)
	}
	if p.trigger != nil {
		p.trigger(k, kbdd)
	}
}

// typesAfter tells if the console types after kbdd has ended. Before that it may type as well, for a while, if there is no reader.
func (k *killing) typesAfter(ended func() bool) func() bool {
	return func() bool {
		ended := ended()
		types := k.consoleTypes()
		if !ended && k.reader == nil {
			k.typed = ""
		}
		return ended && types && k.typed != ""
	}
}

// wantPanic checks where kbdd has panicked.
func (k *killing) wantPanic(kbdd running, root string) {
	k.Helper()
	_, trace, panicked := strings.Cut("\n"+kbdd.said(), "\npanic: ")
	if !panicked { // a goroutine that was past the first instruction goes on in the middle of the new one, and writes to elsewhere
		_, trace, panicked = strings.Cut("\n"+kbdd.said(), "\nfatal error: fault\n")
	}
	_, trace, _ = strings.Cut(trace, "\ngoroutine ") // the first is the one that panicked
	trace, _, _ = strings.Cut(trace, "\n\n")
	if !panicked || !strings.Contains(trace, root) {
		k.Errorf("kbdd has not panicked in %s:\n%s", root, kbdd.said())
	}
}

// breakFunction has a function of the running kbdd panic when it is called next. There is nothing in kbdd for that: its first
// instruction is made one that writes to address 0, which is a panic to Go, in the goroutine that comes there first. A function that
// defers would not do: where its deferred calls are noted is not made ready yet, and the panic would go wrong over that.
//
// kbdd is stopped meanwhile. QEMU 7.2 may keep what it translates for one CPU while another one writes the code: of 2,000 functions
// that were called all the time, 164 went on as they were, and none where their process was stopped.
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
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		k.Fatal(err)
	}
	defer unix.Kill(pid, unix.SIGCONT)
	machine.WaitUntil(k, "kbdd is stopped", func() bool { return isStopped(pid) })
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

// hangUpKbdd has kbdd read its configuration, and say so.
func hangUpKbdd(k *killing, kbdd running) {
	if err := unix.Kill(kbdd.pid(), unix.SIGHUP); err != nil {
		k.Error(err)
	}
}

// openAndClose opens the device. Where there is no next kbdd that may fail: not, if another goroutine panics late.
func openAndClose(k *killing, kbdd running) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err == nil {
		unix.Close(fd)
	}
	if _, kept := kbdd.(kept); kept && err != nil {
		k.Errorf("open is answered with %v", err)
	}
}

// askMode opens the device for commands and asks it something.
func askMode(k *killing, kbdd running) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		k.Fatal(err)
	}
	defer unix.Close(fd)
	var mode int32
	_, err = uninterrupted(func() (int, error) { return 0, ioctl(fd, KDGKBMODE, &mode) })
	if _, kept := kbdd.(kept); kept != (err == nil) { // the next kbdd answers, where there is one
		k.Errorf("KDGKBMODE is answered with %v", err)
	}
}

// endReader kills the reader.
func endReader(k *killing, _ running) { k.reader.cmd.Process.Kill() }

// announceKeyboard has the kernel tell of a keyboard that is there.
func announceKeyboard(k *killing, _ running) {
	if err := os.WriteFile("/sys/class/input/event0/uevent", []byte("add"), 0); err != nil {
		k.Error(err)
	}
}

// hang opens the device and does not read.
func hang(k *killing, _ running) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(kbd0, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return // it was after a panic
	}
	k.hung = append(k.hung, fd)
}

// endHung ends all that hang.
func (k *killing) endHung() {
	for _, fd := range k.hung {
		unix.Close(fd)
	}
	k.hung = nil
}

// hangThenBreak opens the device and does not read, and has the look at that panic. What panics is called by the open too.
func hangThenBreak(k *killing, kbdd running) {
	hang(k, kbdd)
	k.breakFunction(kbdd.pid(), "kbdd/kbd.(*File).countLocked")
}

// hangThenTakeAway opens the device and does not read, and takes the keyboard away as kbdctl release does. It panics
// where that is waited for, which is in a goroutine of its own while nobody opens or closes.
func hangThenTakeAway(k *killing, kbdd running) {
	hang(k, kbdd)
	k.breakFunction(kbdd.pid(), "kbdd/kbd.await")
	ctx, cancel := context.WithTimeout(context.Background(), machine.Limit)
	defer cancel()
	_ = control.NewClient(control.Socket).Release(ctx, "kbd0") // kbdd may panic before it answers
}

// breakYoung has a kbdd panic that has run for less than a second: the next one.
func breakYoung(k *killing, parent running) {
	kbdd := parent.(kept)
	for range 5 { // where the machine is slow, that second may be over
		old := kbdd.pid()
		unix.Kill(old, unix.SIGKILL)
		k.awaitEnd(old)
		kbdd.awaitReady()
		young := kbdd.pid()
		k.breakFunction(young, "kbdd/cuse.(*Record).settled-fm")
		for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if hasEnded(young) {
				return
			}
		}
	}
	k.Error("kbdd does not panic")
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
	kbdd := k.lastingKbdd()
	defer k.renewKbdd()
	k.read(startReader(k))
	k.lives = true
	struck := 0
	answered := make(chan error, 1)
	took := k.strike(func() {
		k.breakFunction(kbdd.pid(), "kbdd/kbd/control.(*Server).getStatus")
		answered <- askStatus(k)
	}, func() bool {
		if len(answered) == 0 {
			return false
		}
		if struck == 0 {
			struck = k.typist.next
		}
		k.hear()
		return k.heard() >= struck
	})
	if <-answered == nil {
		k.Error("kbdd answers after all")
	}
	k.untilHeard()
	k.wantReader()
	k.killReader()
	awaitSaid(k, kbdd, "http: panic serving")
	return took
}

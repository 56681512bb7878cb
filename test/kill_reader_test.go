package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// The faults of readers, and of what is around kbdd. One kbdd lives through all tries of a case.
var killReaderCases = []killCase{
	{name: "reader: SIGKILL", try: killReaderSIGKILL},
	{name: "reader: SIGSTOP, then Alt-SysRq-R", until: "from there until the console types", try: killReaderSIGSTOP},
	{name: "reader: out of memory", begin: limitMemory, try: killReaderOOM},
	{name: "reader: never reads", until: "stall-timeout is 200 ms of it", begin: limitStalls, try: killReaderHangs},
	{name: "reader: terminal hung up", try: killReaderHangup},
	{name: "keyboard unplugged", until: "until the reader has all breaks", try: killKeyboard},
	{name: "machine suspended", until: "from the resume until the reader reads", begin: withLogind, try: killSuspend, short: -1},
	{name: "terminal switched", until: "until the other one types", try: killSwitch},
}

func killReaderSIGKILL(k *killing) time.Duration {
	k.lastingKbdd()
	r := k.read(startReader(k))
	took := k.strike(func() {
		r.cmd.Process.Kill()
		k.bury()
	}, k.consoleTypes)
	k.wantConsole()
	return took
}

func killReaderSIGSTOP(k *killing) time.Duration {
	k.lastingKbdd()
	r := k.read(startReader(k))
	k.strike(func() { r.cmd.Process.Signal(unix.SIGSTOP) }, func() bool { return isStopped(r.cmd.Process.Pid) })
	k.now()
	k.sysRqR()
	took := k.typeUntil(k.consoleTypes)
	r.cmd.Process.Signal(unix.SIGCONT)
	k.bury() // it has read ENODEV
	k.wantConsole()
	return took
}

// sysRqR types Alt-SysRq-R as a person does, who is slower than the typist: keys of his that the machine is too slow for would be
// lost, and nobody could tell.
func (k *killing) sysRqR() {
	keys := []machine.Key{machine.KeyLeftAlt, machine.KeySysRq, machine.KeyR}
	strokes := []func(machine.Key){k.typist.keyboard.Press, k.typist.keyboard.Release}
	for _, stroke := range strokes {
		for _, key := range keys {
			time.Sleep(20 * time.Millisecond)
			stroke(key)
		}
		slices.Reverse(keys)
	}
}

// isStopped tells if SIGSTOP has had its effect: on each thread, which stop one after the other.
func isStopped(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	threads, err := os.ReadDir(dir)
	for _, thread := range threads {
		stat, err := os.ReadFile(filepath.Join(dir, thread.Name(), "stat"))
		_, state, _ := strings.Cut(string(stat), ") ")
		if err != nil || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// A memoryCgroup is one whose processes can be made to run out of memory.
type memoryCgroup struct {
	dir string
	fd  *os.File
}

// enterCgroup has a process start in the stage's cgroup, if there is one.
func (s *killStage) enterCgroup() func(*exec.Cmd) {
	if s.cgroup == nil {
		return nil
	}
	return s.cgroup.enter
}

// limitMemory makes the stage's cgroup.
func limitMemory(s *killStage) {
	const root = "/sys/fs/cgroup"
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil && err != unix.EBUSY {
		s.t.Fatalf("mount %s: %v", root, err)
	}
	c := &memoryCgroup{dir: filepath.Join(root, "kill")}
	err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+memory"), 0)
	if err == nil {
		err = os.Mkdir(c.dir, 0o755)
	}
	if err == nil {
		c.fd, err = os.Open(c.dir)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.cgroup = c
	s.t.Cleanup(func() {
		c.fd.Close()
		machine.WaitUntil(s.t, "the cgroup is empty", func() bool { return os.Remove(c.dir) == nil })
	})
}

// enter has a process start in the cgroup.
func (c *memoryCgroup) enter(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(c.fd.Fd())}
}

// exhaust takes all memory away, so that the kernel must kill, and gives it back.
func (c *memoryCgroup) exhaust(k *killing) {
	limit := filepath.Join(c.dir, "memory.max")
	before := c.kills(k)
	if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
		k.Fatal(err)
	}
	machine.WaitUntil(k, "the kernel has killed for want of memory", func() bool { return c.kills(k) > before })
	if err := os.WriteFile(limit, []byte("max"), 0); err != nil {
		k.Fatal(err)
	}
}

// kills is how often the kernel has killed a process of the cgroup.
func (c *memoryCgroup) kills(k *killing) int {
	events, err := os.ReadFile(filepath.Join(c.dir, "memory.events"))
	if err != nil {
		k.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(events), "oom_kill ")
	n, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil {
		k.Fatalf("memory.events: %q", events)
	}
	return n
}

func killReaderOOM(k *killing) time.Duration {
	k.lastingKbdd()
	k.read(startReaderWith(k, k.cgroup.enter, "read"))
	took := k.strike(func() {
		k.cgroup.exhaust(k)
		k.bury()
	}, k.consoleTypes)
	k.wantConsole()
	return took
}

// limitStalls has kbdd take the keyboard from a reader that does not read.
func limitStalls(s *killStage) {
	s.config = []string{"-config", configure(s.t, "", `stall-timeout = "200ms"`)}
}

func killReaderHangs(k *killing) time.Duration {
	k.lastingKbdd()
	r := k.read(startReaderIn(k, "pause"))
	k.paced = false
	took := k.strike(func() {}, k.consoleTypes)
	k.wantConsole()
	r.cmd.Process.Kill()
	k.bury()
	return took
}

// killReaderHangup hangs up the terminal of a session that has the device open.
func killReaderHangup(k *killing) time.Duration {
	k.lastingKbdd()
	k.tty = 3
	machine.SwitchVT(k, k.tty)
	k.Cleanup(func() { machine.SwitchVT(k, 1) })
	tty := k.console.ttys[k.tty]
	stdin := openTTY(k, k.tty)
	k.read(startReaderWith(k, func(cmd *exec.Cmd) {
		cmd.Stdin = stdin
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, "read"))
	stdin.Close()
	hungUp := false
	took := k.strike(func() {}, func() bool {
		if !hungUp {
			hungUp = true
			k.now()
			k.hangUp(tty)
		}
		return k.consoleTypes()
	})
	k.bury()
	k.wantConsole()
	return took
}

func openTTY(t testing.TB, n int) *os.File {
	t.Helper()
	f, err := os.OpenFile(fmt.Sprint("/dev/tty", n), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// hangUp hangs a terminal up and opens it anew, as getty(8) does.
func (k *killing) hangUp(tty *soakTTY) {
	const tiocVHangup = 0x5437
	if err := unix.IoctlSetInt(tty.fd, tiocVHangup, 0); err != nil {
		k.Fatal(err)
	}
	f := openTTY(k, tty.n)
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		k.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.Dup3(int(fd), tty.fd, unix.O_CLOEXEC) })
	if err == nil {
		_, err = makeRaw(tty.fd, unix.TCSETS)
	}
	if err != nil {
		k.Fatal(err)
	}
}

// killKeyboard unplugs the keyboard that is typed on, and plugs it in again.
func killKeyboard(k *killing) time.Duration {
	config := machine.UinputConfig{Name: "keyboard on a loose plug", Phys: "loose plug"}
	stays := k.typist.keyboard
	k.Cleanup(func() { k.typist.keyboard = stays })
	keyboard := machine.NewUinput(k, config)
	k.typist.keyboard = &keyboard.Keyboard
	k.lastingKbdd()
	k.read(startReader(k))
	k.join()

	k.typeSome()
	// What evdev has not given yet when the keyboard goes is gone with it (drivers/input/evdev.c, evdev_read).
	machine.WaitUntil(k, "the reader has read what was typed", k.hasReadAll)
	begin := time.Now()
	keyboard.Destroy()
	k.typist.group = nil
	k.untilHeard()
	took := time.Since(begin)
	k.wantReader()
	k.wantSilence(k.tty)

	keyboard = machine.NewUinput(k, config)
	k.typist.keyboard = &keyboard.Keyboard
	k.join()
	k.killReader()
	keyboard.Destroy()
	return took
}

// join types until the reader hears it. Until then it is the console that does, which has had nothing before.
func (k *killing) join() {
	k.Helper()
	k.wantSilence(k.tty)
	first := k.typist.next
	k.resumed = len(k.stream.text)
	for deadline := time.Now().Add(machine.Limit); len(k.stream.text) == k.resumed; k.hear() {
		if time.Now().After(deadline) {
			k.typist.finish()
			k.Fatal("the reader does not hear the keyboard")
		}
		k.consoleTypes()
		k.pace()
		k.typist.stroke()
	}
	k.typist.finish()
	k.untilHeard()
	k.consoleTypes()
	text := k.stream.text[k.resumed:]
	from := k.typist.next - len(text)
	neither := from - first - len(k.typed)
	if !isAmong(k.typed, first, from) || numbers(text, from) != nil || neither > handedOver {
		k.Errorf("of %d characters tty%d has %q, and then the reader %q", k.typist.next-first, k.tty, k.typed, text)
	}
	k.typed, k.stream.text, k.resumed, k.begun = "", "", 0, k.typist.next
}

// isAmong tells if a text is of the characters from first to before end, in order, and none twice; some may be missing.
func isAmong(text string, first, end int) bool {
	for n := first; n < end && text != ""; n++ {
		if strings.EqualFold(text[:1], killChar(n)) {
			text = text[1:]
		}
	}
	return text == ""
}

// wantSilence checks that nothing was typed on a terminal that was not looked at.
func (k *killing) wantSilence(tty int) {
	k.Helper()
	text, err := k.console.ttys[tty].read()
	if text != "" || err != nil {
		k.Errorf("tty%d has %q, %v, which is not for it", tty, text, err)
	}
}

// untilHeard waits until the reader has the last character that was typed, and all breaks.
func (k *killing) untilHeard() {
	k.Helper()
	machine.WaitUntil(k, "the reader has read all", func() bool {
		return k.hasReadAll() && len(k.stream.down) == 0
	})
}

// hasReadAll tells if the reader has the last character that was typed, or has none where none was typed yet but a Shift.
func (k *killing) hasReadAll() bool {
	k.Helper()
	k.hear()
	return max(k.heard(), k.begun-1) == k.typist.next-1
}

// withLogind has a logind: what stands in for it, where there is no real one.
func withLogind(s *killStage) {
	if s.unit != nil {
		suspendTo(s.t, "freezer")
		return
	}
	s.logind = startLogind(s.t)
}

// prepareForSleep has logind say that the machine is about to suspend.
func prepareForSleep(k *killing, _ running) { k.logind.prepareForSleep(true) }

// suspendAndResume has logind say that the machine is about to suspend, and then that it has resumed. The real one suspends it.
func suspendAndResume(k *killing, kbdd running) {
	if k.unit != nil {
		k.unit.suspend(k)
		return
	}
	k.logind.prepareForSleep(true)
	awaitSaid(k, kbdd, "about to suspend")
	k.logind.prepareForSleep(false)
}

func killSuspend(k *killing) time.Duration {
	k.lastingKbdd()
	k.read(startReader(k))
	machine.WaitUntil(k, "the reader waits", func() bool { return waiting(k) == 1 })
	var resumed atomic.Bool
	k.lives = true
	asleep := 0 // the number of the first character that was typed after the resume
	took := k.strike(func() {
		if k.unit != nil {
			k.unit.suspend(k)
		} else {
			k.suspend()
		}
		k.now()
		resumed.Store(true)
		if k.unit == nil {
			k.logind.prepareForSleep(false)
			k.inhibitor = k.logind.inhibited(k.kbdd)
		}
	}, func() bool {
		if !resumed.Load() {
			return false
		}
		k.hear()
		if asleep == 0 {
			asleep, k.resumed, k.from = k.typist.next, len(k.stream.text), k.typist.next
		}
		return k.heard() >= asleep
	})
	k.typeUntilHeard()
	k.wantGap(-1)
	k.killReader()
	return took
}

// typeUntilHeard types until the reader has the last character, and all breaks: it may lose the keyboard once more.
func (k *killing) typeUntilHeard() {
	k.Helper()
	const enough = 200 * time.Millisecond // where it is not, more is typed
	for deadline := time.Now().Add(machine.Limit); ; k.typist.finish() {
		for wait := time.Now().Add(enough); time.Now().Before(wait); time.Sleep(time.Millisecond) {
			if k.hear(); len(k.stream.down) == 0 && k.heard() == k.typist.next-1 {
				return
			}
		}
		if time.Now().After(deadline) {
			k.Fatal("the reader does not hear the keyboard")
		}
		k.typist.stroke()
	}
}

// wantGap checks what the reader has read that lost the keyboard for a while, as for a suspend, for which the kernel switches to a
// terminal of its own: all up to the fault at least, and all from some moment on; and that the console has nothing but what is
// between, in one piece up to the hand-over to the reader. From the character free on, if it is not -1, nobody had the keyboard
// but the console: it has all of these, up to the hand-over.
func (k *killing) wantGap(free int) {
	k.Helper()
	k.consoleTypes()
	until := 0
	for until < len(k.stream.text) && numbers(k.stream.text[:until+1], k.begun) == nil {
		until++
	}
	// The first character after the gap may be the same as the one that is missing first.
	if err := k.checkGap(until, free); err != nil && (until == 0 || k.checkGap(until-1, free) != nil) {
		k.Errorf("tty%d has %q, and the reader %q from character %d on; %d were typed, from %d on to the console: %v",
			k.tty, k.typed, k.stream.text, k.begun, k.typist.next, free, err)
	}
	k.typed = ""
}

// checkGap is wantGap, with the gap after so many characters of what the reader has read.
func (k *killing) checkGap(until, free int) error {
	text := k.stream.text
	lost, from := k.begun+until, k.typist.next-len(text[until:])
	if err := numbers(text[until:], from); err != nil {
		if k.twice && k.isTwice(until, free) {
			return nil
		}
		return fmt.Errorf("what the reader has read last was not typed last: %w", err)
	}
	if lost < k.struck-inFlight {
		return fmt.Errorf("the reader has lost character %d, and the fault came after %d", lost, k.struck)
	}
	if !fills(k.typed, lost, from, free) {
		return errors.New("the console has not what the reader has not")
	}
	return nil
}

// isTwice tells if there are two gaps in what the reader has read: one after so many characters, with no fault before that, and one
// further on, which is as in wantGap.
func (k *killing) isTwice(until, free int) bool {
	text := k.stream.text
	lost := k.begun + until
	if lost < k.struck-inFlight {
		return false
	}
	for again := until + 1; again < len(text); again++ {
		from := k.typist.next - len(text[again:])
		if numbers(text[again:], from) != nil {
			continue
		}
		for back := lost; back+again-until <= from; back++ {
			if numbers(text[until:again], back) != nil {
				continue
			}
			for n := range len(k.typed) + 1 {
				if fills(k.typed[:n], lost, back, -1) && fills(k.typed[n:], back+again-until, from, free) {
					return true
				}
			}
		}
	}
	return false
}

// fills tells if a text is what the console has to have of a gap from the character lost to before from: see wantGap.
func fills(text string, lost, from, free int) bool {
	for first := lost; first+len(text) <= from; first++ {
		heard := isAmong(text, first, from) && from-first-len(text) <= handedOver
		if free < 0 && (heard || numbers(text, first) == nil) || free >= 0 && heard && first <= max(free, lost) {
			return true
		}
	}
	return false
}

// suspend suspends the machine as far as to the freezing of all programs.
func (k *killing) suspend() {
	k.logind.t = k
	k.logind.prepareForSleep(true)
	k.inhibitor.SetReadDeadline(time.Now().Add(machine.Limit))
	if _, err := k.inhibitor.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		k.Errorf("kbdd does not let go of the inhibitor: %v", err)
	}
	k.inhibitor.Close()
	if err := freeze(k, "freezer"); err != nil {
		k.Errorf("the machine does not suspend: %v", err)
	}
}

func killSwitch(k *killing) time.Duration {
	k.lastingKbdd()
	k.Cleanup(func() { machine.SwitchVT(k, 1) })
	k.read(startReader(k))
	k.tty = 2
	took := k.strike(func() { machine.SwitchVT(k, k.tty) }, k.consoleTypes)
	machine.WaitUntil(k, "the reader has all breaks", func() bool {
		k.hear()
		return len(k.stream.down) == 0
	})
	k.wantConsole()
	k.wantSilence(1)

	k.tty = 1
	machine.SwitchVT(k, k.tty)
	k.join()
	k.wantSilence(2)
	k.killReader()
	return took
}

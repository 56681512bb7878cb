package test

import (
	"cmp"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kbdd/test/kills"
	"kbdd/test/machine"
)

// The kill matrix: whatever dies, hangs or goes away while keys are typed, the keyboard types where it should soon after, and nothing
// is left over. It prints a table. KBDD_KILLS says how often each case is tried, KBDD_KILL_SEED by which chances.
//
// In each try a typist types numbered characters all along, the fault comes between two of his key strokes, and then
//   - the console types: all characters from some moment on, in order, none twice, and none that the reader has had as well;
//   - no key is stuck: the console takes no modifier to be down, no keyboard has a key down, a character typed with Shift and one
//     without are what they should be; and a reader that lives on has a break for each make;
//   - nothing is left over: no process, living or dead, no descriptor, no request that is not answered, no device.

// Where nobody says how often each case is tried, it is so often.
const killsShort = 1

// A killCase is a fault.
type killCase struct {
	name string
	// until is what the time to recover ends with, if it is not that the console types.
	until string
	// begin makes what lasts for all tries.
	begin func(s *killStage)
	try   func(k *killing) time.Duration
	short int // how often it is tried where nobody says; 0: as others; -1: not at all
}

// A killStage is where the tries of a case are made.
type killStage struct {
	t         testing.TB
	console   *soakConsole
	typist    *killTypist
	logind    *logind       // or nil
	inhibitor *os.File      // of kbdd, while there is a logind
	config    []string      // kbdd's arguments
	kbdd      running       // one that lasts for all tries, or nil
	unit      *unit         // what kbdd is, or nil
	inUse     []string      // the programs that run without kbdd
	usual     int           // the descriptors of that kbdd while nobody uses it
	cgroup    *memoryCgroup // or nil
	keyboards int           // how many input devices there are without kbdd

	kernelThreads map[string]bool     // by their files in /proc
	ownCgroup     []byte              // /proc/self/cgroup
	nodes         map[string]*os.File // input devices, by path
}

// A killing is one try.
type killing struct {
	*attempt
	*killStage
	tty     int                       // the terminal that has the screen
	typed   string                    // what was typed there
	hung    []int                     // files that are open and not read
	reader  *reader                   // or nil
	stream  killStream                // what it has read
	begun   int                       // the number of the first character that it could read
	resumed int                       // how much it had read when it last got the keyboard
	from    int                       // the number of the first character that it may have heard since
	paced   bool                      // the typist goes no faster than it reads
	lives   bool                      // it lives on
	twice   bool                      // it may lose the keyboard, have it back, and lose it again
	orphan  atomic.Bool               // no kbdd runs: nobody is to be waited for
	struck  int                       // the number of the next character when the fault was about to come
	since   atomic.Pointer[time.Time] // from when on the time to recover counts
}

// handedOver is how many characters neither the console has nor the reader, where kbdd takes the keyboard: of keys that go down just
// then it cannot tell if the console has heard them, and has nobody hear them. It may take more than one try, and the console hears
// what comes in between.
const handedOver = 5

// inFlight is how many characters the typist may be ahead of the reader. The kernel has room for 64 events that kbdd has not seen.
const inFlight = 10

func TestKillMatrix(t *testing.T) {
	machine.Require(t)
	times := parameter(t, "KBDD_KILLS", 0, strconv.Atoi)
	seed := parameter(t, "KBDD_KILL_SEED", int(time.Now().UnixNano()), strconv.Atoi)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "typist's keyboard"})
	var all []kills.Tries
	kbdd := newUnit(t)
	for i, c := range killCases(kbdd != nil) {
		t.Run(c.name, func(t *testing.T) {
			s := &killStage{t: t, console: newSoakConsole(t), nodes: map[string]*os.File{}, unit: kbdd}
			s.ownCgroup, _ = os.ReadFile("/proc/self/cgroup")
			s.typist = &killTypist{rand: rand.New(rand.NewPCG(uint64(seed), uint64(i))), keyboard: &keyboard.Keyboard}
			times := times
			if times == 0 {
				times = max(0, cmp.Or(c.short, killsShort))
			}
			begin := time.Now()
			took := s.play(t, c, times)
			tries := kills.Tries{Case: c.title(), Systemd: kbdd != nil, Tried: times, Took: took}
			all = append(all, tries)
			t.Logf("%v a try\n%v", (time.Since(begin) / time.Duration(max(times, 1))).Round(time.Millisecond), tries)
		})
	}
	t.Logf("time to recover: from the fault until the console types, or as said\n%s", kills.Table(all))
	if t.Failed() {
		t.Logf("again with KBDD_KILL_SEED=%d", seed)
	}
}

// killCases are all cases, for a kbdd that is a unit of systemd or for one that is not.
func killCases(isUnit bool) []killCase {
	if isUnit {
		return slices.Concat(killReaderCases, killKeptCases(systemd), killPanicCases(systemd), []killCase{killAnswerCase})
	}
	return slices.Concat(killReaderCases, killKbddCases, killKeptCases(supervisor), killPanicCases(supervisor),
		[]killCase{killSupervisorCase}, killPanicCases(nobody), []killCase{killAnswerCase})
}

func (c *killCase) title() string {
	if c.until == "" {
		return c.name
	}
	return c.name + " (" + c.until + ")"
}

// play makes the tries and returns how long each of those took that recovered.
func (s *killStage) play(t *testing.T, c killCase, times int) (took []time.Duration) {
	if c.begin != nil {
		c.begin(s)
	}
	s.inUse, s.keyboards = s.programs(), s.inputDevices()
	for n := range times {
		var d time.Duration
		failures := try(t, func(a *attempt) {
			k := &killing{attempt: a, killStage: s, tty: 1}
			if s.unit != nil {
				s.unit.t = k
			}
			d = c.try(k)
			k.wantNothingLeft()
		})
		if len(failures) == 0 {
			took = append(took, d)
			continue
		}
		t.Errorf("try %d: %s", n+1, strings.Join(failures, "\n"))
		if s.kbdd != nil {
			t.Logf("kbdd said:\n%s", s.kbdd.said())
			if s.unit != nil {
				t.Logf("systemd said:\n%s", s.unit.journal())
			}
			s.kbdd.kill()
			s.kbdd = nil
		}
		s.typist.finish()
		machine.SwitchVT(t, 2) // which takes from the console what is stuck
		machine.SwitchVT(t, 1)
	}
	return took
}

// lastingKbdd is a kbdd that all tries use, as long as it lives.
func (k *killing) lastingKbdd() running {
	k.Helper()
	switch {
	case k.kbdd != nil:
		return k.kbdd
	case k.unit != nil:
		k.unit.start(k)
		k.kbdd = k.unit
	default:
		k.kbdd = startKbdd(k.t, k.config...)
		if k.logind != nil {
			k.inhibitor = k.logind.inhibited(k.kbdd)
		} else {
			awaitSaid(k, k.kbdd, "logind") // it has looked for that
		}
	}
	k.usual = len(descriptors(k.kbdd.pid()))
	return k.kbdd
}

// renewKbdd ends a kbdd that is of no use for the next try.
func (k *killing) renewKbdd() {
	if k.kbdd != nil {
		k.kbdd.kill()
		k.kbdd = nil
	}
}

// read begins the reading: r has the keyboard.
func (k *killing) read(r *reader) *reader {
	k.reader, k.begun, k.resumed, k.paced = r, k.typist.next, 0, true
	return r
}

// strike types, has the fault come at any moment, and types on until it is over. It returns how long that took.
func (k *killing) strike(fault func(), over func() bool) time.Duration {
	k.Helper()
	k.typeSome()
	k.struck = k.typist.next
	k.now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fault()
	}()
	took := k.typeUntil(over)
	<-done
	return took
}

// typeUntil types until it is over, and then until no key is down. It returns how long it took since the last call of now.
func (k *killing) typeUntil(over func() bool) time.Duration {
	k.Helper()
	defer k.typist.finish()
	for deadline := time.Now().Add(machine.Limit); !over(); {
		if k.Failed() || time.Now().After(deadline) {
			k.Fatalf("not recovered after %v and %d characters; tty%d has %q, up to %d, the reader %q, up to %d; orphan %v",
				machine.Limit, k.typist.next, k.tty, k.typed, k.last(k.typed), k.stream.text, k.heard(), k.orphan.Load())
		}
		if k.lives {
			k.pace()
		}
		k.typist.stroke()
	}
	return time.Since(*k.since.Load())
}

// typeSome types up to any moment between two strokes.
func (k *killing) typeSome() {
	for range 1 + k.typist.rand.IntN(20) {
		k.pace()
		k.typist.stroke()
	}
}

// pace waits for a reader that is behind, as it is where the machine is too slow for the typist, but not for ever: it may have lost
// the keyboard. Without that the kernel would drop keys before kbdd has seen them.
func (k *killing) pace() {
	if k.orphan.Load() {
		time.Sleep(10 * time.Millisecond) // there is all the time, and the next kbdd wants the CPU
	}
	begin := time.Now()
	for k.paced && !k.orphan.Load() {
		if k.reader != nil {
			k.hear()
		}
		behind := k.typist.next - 1 - max(k.heard(), k.last(k.typed), k.begun-1, k.from-1)
		waited := time.Since(begin)
		if behind < inFlight-2 || behind < inFlight && waited > 50*time.Millisecond || waited > 500*time.Millisecond {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// last is the number of the last character of a text, which was typed not long ago, or -1.
func (k *killing) last(text string) int {
	text = text[max(0, len(text)-3):] // which is enough to tell
	for n := k.typist.next - 1; n >= 0 && n >= k.typist.next-len(killChars) && text != ""; n-- {
		if numbers(text, n+1-len(text)) == nil {
			return n
		}
	}
	return -1
}

// heard is the number of the last character that the reader has read since it got the keyboard, or -1.
func (k *killing) heard() int { return k.last(k.stream.text[k.resumed:]) }

// now has the time to recover count from now on.
func (k *killing) now() {
	now := time.Now()
	k.since.Store(&now)
}

// consoleTypes tells if something was typed on the terminal.
func (k *killing) consoleTypes() bool {
	text, err := k.console.ttys[k.tty].read()
	if err != nil {
		k.Errorf("read tty%d: %v", k.tty, err)
	}
	k.typed += text
	return k.typed != ""
}

// hear takes what the reader has printed so far.
func (k *killing) hear() {
	k.Helper()
	for {
		select {
		case line, open := <-k.reader.lines:
			if !open {
				return
			}
			k.take(line)
		default:
			return
		}
	}
}

// take takes a line of the reader.
func (k *killing) take(line string) {
	k.Helper()
	if strings.HasPrefix(line, "read:") { // its last one
		return
	}
	if err := k.stream.add(line); err != nil {
		k.Error(err)
	}
}

// bury takes what the reader has printed to its end, which must come, and buries it.
func (k *killing) bury() {
	k.Helper()
	limit := time.After(machine.Limit)
	for {
		select {
		case line, open := <-k.reader.lines:
			if !open {
				k.reader.cmd.Wait()
				return
			}
			k.take(line)
		case <-limit:
			k.Fatal("the reader does not end")
		}
	}
}

// killReader ends the try of a reader that lives on: it is killed, and the console types.
func (k *killing) killReader() {
	k.Helper()
	k.lives = false
	k.begun, k.resumed, k.stream.text = k.typist.next, 0, "" // what was typed meanwhile was looked at
	k.strike(func() {
		k.reader.cmd.Process.Kill()
		k.bury()
	}, k.consoleTypes)
	k.wantConsole()
}

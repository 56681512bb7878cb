package test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// TestSoak does random things with three keyboards, with readers and with terminals, and checks after each of them that
//
//   - what was typed has reached the reader or the terminal that should hear it, and nobody else;
//   - every reader had a break for each make, and no break without one;
//   - the console was given the characters that were typed there and no others, and its Shift, Ctrl and Alt are those
//     that are held;
//   - a keyboard is grabbed if somebody reads it and not otherwise, and kbdd has no other keyboard open;
//   - Ctrl-Alt-Fn, Ctrl-Alt-Del and SysRq-R work, whoever has the keyboard.
//
// What should be comes from the model, in soak_model_test.go; the steps are in soak_steps_test.go and soak_race_test.go, the
// real keyboards, readers and terminals in files of their own.
//
// KBDD_SOAK_SEED and KBDD_SOAK_STEPS choose another hour at the keyboards, or play one again; with KBDD_SOAK_TIME it ends
// when the time is up. What is done depends on the seed alone, not on how fast the machine is.
func TestSoak(t *testing.T) {
	machine.Require(t)
	seed, steps, limit := soakNumber(t, "KBDD_SOAK_SEED", 1), soakNumber(t, "KBDD_SOAK_STEPS", 300), time.Duration(math.MaxInt64)
	if text := os.Getenv("KBDD_SOAK_TIME"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatalf("KBDD_SOAK_TIME: %v", err)
		}
		steps = soakNumber(t, "KBDD_SOAK_STEPS", math.MaxInt)
	}
	s := newSoak(t, seed)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("make soak SEED=%d STEPS=%d plays it again. The last steps:\n%s\n%s", seed, s.steps, s.lastSteps(), s.world())
		}
	})
	s.rest()
	for start := time.Now(); s.steps < steps && time.Since(start) < limit; {
		s.steps++
		s.step()
		switch {
		case s.steps%restSteps == 0:
			s.rest()
		case s.steps%sampleSteps == 0:
			s.sample()
		}
	}
	if s.steps%restSteps != 0 {
		s.rest()
	}
}

// soakNumber is what a variable of the environment says, or else number.
func soakNumber(t testing.TB, variable string, number int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	return number
}

// A soak is the world of the test, with what the model knows of it.
type soak struct {
	t         testing.TB
	rand      *rand.Rand
	kbdd      *daemon
	keyboards []*soakKeyboard
	readers   []*soakReader
	console   *soakConsole
	down      map[int]map[machine.Key]int // by device: on how many keyboards a key is down
	numbers   map[string]int              // of the devices of single keyboards, by their places
	steps     int                         // done
	history   []string
	leak      leak
}

func newSoak(t testing.TB, seed int) *soak {
	t.Helper()
	s := &soak{
		t: t, rand: rand.New(rand.NewPCG(uint64(seed), 0)), console: newSoakConsole(t),
		down: map[int]map[machine.Key]int{}, numbers: map[string]int{},
	}
	t.Cleanup(func() { // after a failure there is something left
		for _, r := range s.readers {
			_ = r.end()
		}
		for _, k := range s.keyboards {
			if k.plugged() {
				unix.Close(k.watch)
			}
		}
	})
	s.kbdd = startKbdd(t)
	s.keyboards = soakKeyboards(t)
	s.plug(s.keyboards[0])
	s.leak.begin = time.Now()
	return s
}

// stepLimit is how long a step may take. All waiting in it has limits of its own; beyond this something hangs that should
// not be able to.
const stepLimit = 2 * time.Minute

// step does something that can be done now, and checks all promises.
func (s *soak) step() {
	s.t.Helper()
	hang := time.AfterFunc(stepLimit, func() {
		s.kbdd.cmd.Process.Signal(unix.SIGQUIT) // it tells where its goroutines are
		time.Sleep(time.Second)
		panic(fmt.Sprintf("this step hangs:\n%s\nkbdd said:\n%s", s.lastSteps(), s.kbdd.log))
	})
	defer hang.Stop()
	sum := 0
	for _, kind := range soakSteps {
		sum += kind.weight
	}
	for done := false; !done; {
		n := s.rand.IntN(sum)
		for _, kind := range soakSteps {
			if n -= kind.weight; n < 0 {
				done = kind.do(s)
				break
			}
		}
	}
	s.check()
}

// note remembers what is being done.
func (s *soak) note(format string, args ...any) {
	s.history = append(s.history, fmt.Sprintf("%5d  ", len(s.history)+1)+fmt.Sprintf(format, args...))
}

func (s *soak) lastSteps() string {
	return strings.Join(s.history[max(0, len(s.history)-40):], "\n")
}

// check compares the world with the model.
func (s *soak) check() {
	s.t.Helper()
	for _, r := range s.readers {
		if err := r.check(); err != nil {
			s.t.Fatalf("%s %v", r, err)
		}
	}
	for _, tty := range s.console.ttys {
		if err := tty.check(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.letRepeat()
	if got, want := s.console.shiftState(), s.console.state(); got != want {
		s.t.Fatalf("the console takes the modifiers %#x to be held, want %#x", got, want)
	}
	var open []string
	for _, k := range s.keyboards {
		if !k.plugged() {
			continue
		}
		if got := k.muted(); got != (k.target != theConsole) {
			s.t.Fatalf("%s is muted: %v; it should be heard by %s", k.name, got, deviceName(k.target))
		}
		if k.target != theConsole {
			open = append(open, k.Node())
		}
	}
	machine.WaitUntil(s.t, fmt.Sprintf("kbdd has no other nodes open than %v", open), func() bool { return s.nodesOpen(open) })
}

// world is where the model has everybody to be.
func (s *soak) world() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tty%d has the screen, with the modifiers %#x\n", s.console.active, s.console.state())
	for _, k := range s.keyboards {
		if k.plugged() {
			fmt.Fprintf(&b, "%s is kbd%d, heard by %s; held are %v, of them heard %v\n", k.name, k.number, deviceName(k.target),
				slices.Sorted(maps.Keys(k.held)), slices.Sorted(maps.Keys(k.heard)))
		}
	}
	for _, r := range s.readers {
		fmt.Fprintf(&b, "%s has mode %d and listens: %v\n", r, r.mode, s.listens(r))
	}
	return b.String()
}

// endAll brings the world back to where it began: no readers, all keyboards plugged in, no key down.
func (s *soak) endAll() {
	s.t.Helper()
	s.note("end all")
	for len(s.readers) > 0 {
		s.end(s.readers[0])
		s.check()
	}
	for _, k := range s.keyboards {
		if !k.plugged() {
			s.plug(k)
		}
		s.releaseAll(k)
	}
	s.check()
	if state := s.console.state(); state != 0 {
		s.t.Fatalf("no key is down, but the modifiers %#x", state)
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kbdd/scancode"
)

// A tester is what show knows of the keyboard: which keys are down, what was pressed, how fast. It has no clock and no
// terminal.
type tester struct {
	device string
	ascii  bool

	down, seen map[scancode.Key]bool
	mostDown   int
	presses    int
	overruns   int
	leds       int // of KDGETLED; -1: unknown

	recent   []time.Time // the last presses
	mostRate float64

	held         scancode.Key // the key that repeats, or would
	heldAt       time.Time    // when it was pressed, or repeated last
	repeats      bool         // it has repeated
	delay, cycle time.Duration

	echoed   time.Duration // how long the last echo took; 0: none yet
	mostEcho time.Duration

	log []string // the last strokes, the newest first
}

func newTester(device string) *tester {
	return &tester{device: device, leds: -1, down: make(map[scancode.Key]bool), seen: make(map[scancode.Key]bool)}
}

// What is kept of the past.
const (
	recentPresses = 20
	recentSpan    = 5 * time.Second
	recentStrokes = 100
)

// take takes a stroke.
func (t *tester) take(s stroke) {
	switch s.Kind {
	case scancode.Press:
		t.press(s)
	case scancode.Repeat:
		t.repeat(s)
	case scancode.Release:
		delete(t.down, s.Key)
	case scancode.Overrun:
		t.overruns++
	case scancode.Answer:
		return
	}
	line := fmt.Sprintf("%s  %-12s", s.at.Format("15:04:05.000"), fmt.Sprintf("% x", s.bytes))
	if s.Key != 0 {
		line += fmt.Sprintf(" %-16v", s.Key)
	}
	t.log = slices.Insert(t.log, 0, line+" "+eventNames[s.Kind])
	t.log = t.log[:min(len(t.log), recentStrokes)]
}

func (t *tester) press(s stroke) {
	t.presses++
	t.seen[s.Key] = true
	if !hasNoRelease[s.Key] {
		t.down[s.Key] = true
	}
	t.mostDown = max(t.mostDown, len(t.down))
	t.held, t.heldAt, t.repeats = s.Key, s.at, false

	t.recent = append(t.recent, s.at)
	for len(t.recent) > recentPresses || s.at.Sub(t.recent[0]) > recentSpan {
		t.recent = t.recent[1:]
	}
	if len(t.recent) == recentPresses {
		t.mostRate = max(t.mostRate, t.rate())
	}
}

// hasNoRelease are the keys that are pressed, and never heard to be released.
var hasNoRelease = map[scancode.Key]bool{scancode.KeyPause: true, scancode.KeyHangeul: true, scancode.KeyHanja: true}

func (t *tester) repeat(s stroke) {
	if s.Key == t.held {
		if t.repeats {
			t.cycle = s.at.Sub(t.heldAt)
		} else {
			t.delay = s.at.Sub(t.heldAt)
		}
		t.repeats, t.heldAt = true, s.at
	}
}

// rate is how many keys are pressed in a second.
func (t *tester) rate() float64 {
	n := len(t.recent)
	if n < 2 {
		return 0
	}
	span := t.recent[n-1].Sub(t.recent[0])
	return float64(n-1) / max(span, time.Millisecond).Seconds()
}

// echo takes the time that an echo took.
func (t *tester) echo(d time.Duration) {
	t.echoed = d
	t.mostEcho = max(t.mostEcho, d)
}

// frame is the screen, of so many columns and rows at most.
func (t *tester) frame(columns, rows int) []string {
	lines := []string{fmt.Sprintf("%s: press keys; Ctrl-C on this keyboard ends the test", t.device)}
	if unit := unitFor(columns); unit > 0 && rows >= boardRows*2+1+4 {
		lines = append(lines, drawBoard(unit, t.ascii, t.attrOf)...)
	} else {
		lines = append(lines, fmt.Sprintf("(to draw the keyboard takes %d columns and %d rows)", boardWidth(3), boardRows*2+5))
	}
	lines = append(lines, t.facts()...)
	lines = append(lines, "")
	lines = append(lines, t.log...)
	lines = lines[:min(len(lines), max(rows, 1))]
	for i, line := range lines {
		if !strings.Contains(line, "\x1b") {
			runes := []rune(line)
			lines[i] = string(runes[:min(len(runes), columns)])
		}
	}
	return lines
}

func (t *tester) attrOf(k keycap) attr {
	switch {
	case t.down[k.key]:
		return lit
	case t.seen[k.key]:
		return tried
	}
	return normal
}

// facts are the lines below the picture.
func (t *tester) facts() []string {
	var lines []string
	fact := func(name, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-8s", name)+fmt.Sprintf(format, args...))
	}
	if t.leds >= 0 {
		fact("LEDs", "%s Num  %s Caps  %s Scroll", box(t.leds&2), box(t.leds&4), box(t.leds&1))
	}
	seen := 0
	for _, k := range board {
		if t.seen[k.key] {
			seen++
		}
	}
	others := ""
	if n := len(t.seen) - seen; n > 0 {
		others = fmt.Sprintf(" and %d more", n)
	}
	fact("Keys", "%d of %d seen%s; %d presses; %d down, at most %d", seen, len(board), others, t.presses, len(t.down), t.mostDown)
	rate := fmt.Sprintf("%.1f keys/s", t.rate())
	if t.mostRate > 0 {
		rate += fmt.Sprintf(", at most %.1f", t.mostRate)
	}
	if t.cycle > 0 {
		rate += fmt.Sprintf("; a held key repeats after %d ms, every %d ms", t.delay.Milliseconds(), t.cycle.Milliseconds())
	}
	fact("Rate", "%s", rate)
	if t.echoed > 0 {
		fact("Latency", "%v to kbdd and back, at most %v", t.echoed.Round(time.Microsecond), t.mostEcho.Round(time.Microsecond))
	}
	if t.overruns > 0 {
		fact("Lost", "keys were lost %d times: this terminal is too slow", t.overruns)
	}
	return lines
}

func box(on int) string {
	if on != 0 {
		return "[*]"
	}
	return "[ ]"
}

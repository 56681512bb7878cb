package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/scancode"
)

// typed is a tester at which strokes came, one a millisecond.
func typed(ascii bool, strokes ...stroke) *tester {
	t := newTester("/dev/kbd0")
	t.ascii = ascii
	for i, s := range strokes {
		if s.at.IsZero() {
			s.at = at.Add(time.Duration(i) * time.Millisecond)
		}
		t.take(s)
	}
	return t
}

func did(kind scancode.Kind, key scancode.Key) stroke {
	return stroke{Event: scancode.Event{Kind: kind, Key: key}, bytes: []byte{byte(key)}}
}

func tap(key scancode.Key) []stroke {
	return []stroke{did(scancode.Press, key), did(scancode.Release, key)}
}

// visible makes marks of what a terminal makes of attributes: (lit) and <tried>.
func visible(lines []string) string {
	text := strings.Join(lines, "\n")
	for seq, mark := range map[string]string{sgr[lit]: "(", sgr[tried]: "<"} {
		text = strings.ReplaceAll(text, sgr[normal]+seq, mark)
	}
	return strings.ReplaceAll(text, sgr[normal], "|")
}

func TestShowFits80Columns(t *testing.T) {
	tester := typed(false, append(tap(scancode.KeyQ), did(scancode.Press, scancode.KeyF12))...)
	tester.leds = 2
	tester.echo(85 * time.Microsecond)
	const want = `/dev/kbd0: press keys; Ctrl-C on this keyboard ends the test
┌──┐  ┌──┬──┬──┬──┐┌──┬──┬──┬──┐ ┌──┬──┬──┬──┐ ┌──┬──┬──┐
│Es│  │F1│F2│F3│F4││F5│F6│F7│F8│ │F9│10│11│(12|│ │Pr│Sc│Pa│
├──┼──┼──┼──┼──┼──┼┴─┬┴─┬┴─┬┴─┬┴─┼──┼──┼──┴──┤ ├──┼──┼──┤ ┌──┬──┬──┬──┐
│` + "`" + ` │1 │2 │3 │4 │5 │6 │7 │8 │9 │0 │- │= │Back │ │In│Ho│PU│ │Nu│/ │* │- │
├──┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬────┤ ├──┼──┼──┤ ├──┼──┼──┼──┤
│Tab│<Q |│W │E │R │T │Y │U │I │O │P │[ │] │ \  │ │De│En│PD│ │7 │8 │9 │  │
├───┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴────┤ └──┴──┴──┘ ├──┼──┼──┤+ │
│Caps│A │S │D │F │G │H │J │K │L │; │' │Enter │            │4 │5 │6 │  │
├──┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴┬─┴──────┤    ┌──┐    ├──┼──┼──┼──┤
│Sh│< │Z │X │C │V │B │N │M │, │. │/ │ Shift  │    │Up│    │1 │2 │3 │  │
├──┼──┴┬─┴─┬┴──┴──┴──┴──┴──┴──┼──┼──┴┬───┬───┤ ┌──┼──┼──┐ ├──┴──┼──┤En│
│Ct│Met│Alt│      Space       │Al│Met│Mnu│Ctl│ │Lf│Dn│Rt│ │  0  │. │  │
└──┴───┴───┴──────────────────┴──┴───┴───┴───┘ └──┴──┴──┘ └─────┴──┴──┘
LEDs    [*] Num  [ ] Caps  [ ] Scroll
Keys    2 of 105 seen; 2 presses; 1 down, at most 1
Rate    500.0 keys/s
Latency 85µs to kbdd and back, at most 85µs

03:04:05.002  58           KEY_F12          press
03:04:05.001  10           KEY_Q            release
03:04:05.000  10           KEY_Q            press`
	if got := visible(tester.frame(80, 24)); got != want {
		t.Errorf("drawn as\n%s", got)
	}
}

func TestShowFitsEveryTerminal(t *testing.T) {
	var strokes []stroke
	for key := scancode.Key(1); key < 248; key++ {
		strokes = append(strokes, did(scancode.Press, key))
	}
	tester := typed(true, strokes...)
	for columns := 1; columns < 200; columns += 3 {
		for rows := 1; rows < 60; rows += 4 {
			lines := tester.frame(columns, rows)
			if len(lines) > rows {
				t.Fatalf("%dx%d: %d lines", columns, rows, len(lines))
			}
			for _, line := range lines {
				for _, seq := range sgr {
					line = strings.ReplaceAll(line, seq, "")
				}
				if len(line) > columns {
					t.Fatalf("%dx%d: %q", columns, rows, line)
				}
			}
		}
	}
}

func TestShowWritesWholeLabelsWhereThereIsRoom(t *testing.T) {
	text := visible(typed(false).frame(132, 43))
	for _, label := range []string{"F12", "Backspace", "PgDn", "Ctrl", "AltGr"} {
		if !strings.Contains(text, label) {
			t.Errorf("no %s in\n%s", label, text)
		}
	}
}

func TestShowHasEachKeyOnce(t *testing.T) {
	seen := make(map[scancode.Key]bool)
	for _, k := range board {
		if seen[k.key] || k.key == 0 {
			t.Errorf("%v twice", k.key)
		}
		seen[k.key] = true
	}
	for key := scancode.KeyEsc; key <= scancode.KeyKPDot; key++ {
		if !seen[key] {
			t.Errorf("no %v", key)
		}
	}
}

func TestShowMeasuresTheRepeat(t *testing.T) {
	ms := func(n int, s stroke) stroke { s.at = at.Add(time.Duration(n) * time.Millisecond); return s }
	x := scancode.KeyX
	tester := typed(false, ms(0, did(scancode.Press, x)), ms(500, did(scancode.Repeat, x)), ms(592, did(scancode.Repeat, x)))
	if facts := strings.Join(tester.facts(), "\n"); !strings.Contains(facts, "a held key repeats after 500 ms, every 92 ms") {
		t.Error(facts)
	}
}

func TestShowCountsKeysThatAreDownTogether(t *testing.T) {
	tester := typed(false, did(scancode.Press, scancode.KeyA), did(scancode.Press, scancode.KeyB), did(scancode.Press, scancode.KeyPause),
		did(scancode.Release, scancode.KeyA), did(scancode.Press, scancode.KeyMute), did(scancode.Overrun, 0))
	facts := strings.Join(tester.facts(), "\n")
	for _, want := range []string{"3 of 105 seen and 1 more; 4 presses; 2 down, at most 2", "keys were lost 1 times"} {
		if !strings.Contains(facts, want) {
			t.Errorf("no %q in\n%s", want, facts)
		}
	}
}

// openPTY is a terminal, and what is shown on it.
func openPTY(t *testing.T) (terminal *os.File, shown *os.File) {
	t.Helper()
	shown, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { shown.Close() })
	var n int
	raw, _ := shown.SyscallConn()
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, shown
}

func TestShowLeavesTheTerminalAsItWas(t *testing.T) {
	for name, end := range map[string]func(device *os.File, cancel func()){
		"Ctrl-C":   func(device *os.File, _ func()) { device.WriteString(typedA + ctrlC) },
		"a signal": func(_ *os.File, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			terminal, shown := openPTY(t)
			path := filepath.Join(t.TempDir(), "kbd0")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := openDevice(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			before := settings(t, terminal)
			var text strings.Builder
			var reading sync.WaitGroup
			drawn := make(chan struct{})
			reading.Go(func() {
				var once sync.Once
				buf := make([]byte, 4096)
				for !strings.HasSuffix(text.String(), "\x1b[?1049l") {
					n, err := shown.Read(buf)
					if err != nil {
						return
					}
					text.Write(buf[:n])
					if strings.Contains(text.String(), "Space") {
						once.Do(func() { close(drawn) })
					}
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- show(ctx, d, terminal) }()
			<-drawn
			end(d.file, cancel)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			reading.Wait()
			if !strings.HasPrefix(text.String(), "\x1b[?1049h\x1b[?25l") || !strings.HasSuffix(text.String(), "\x1b[?25h\x1b[?1049l") {
				t.Errorf("shown: %q", text.String())
			}
			if settings(t, terminal) != before {
				t.Error("the terminal's settings have changed")
			}
		})
	}
}

func settings(t *testing.T, terminal *os.File) (s unix.Termios) {
	t.Helper()
	raw, _ := terminal.SyscallConn()
	raw.Control(func(fd uintptr) {
		got, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		s = *got
	})
	return s
}

func TestShowIsForTerminals(t *testing.T) {
	if status, _, errs := kbdctl("show"); status != exitUsage || !strings.Contains(errs, "monitor is for pipes") {
		t.Errorf("status %d, %s", status, errs)
	}
}

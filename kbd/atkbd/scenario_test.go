package atkbd

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kbdd/scancode"
)

// TestScenarios plays the files testdata/*.txt. A line says what is done, and after => what can be read then:
//
//	down A, up A     a key, by the kernel's name for it
//	host ED 02       bytes written to the keyboard
//	tick 500ms       time goes by, with a Tick whenever one is due
//	release all      as at an unplug
//	overrun          keys were lost before they came here
//	leds 02          the LEDs must be these
//	=> 1e 9e         what can be read, all of it; nothing if left out
//
// A line without => is not read after: its bytes come with those of a later one.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := scenario{k: New(0)}
			for i, line := range strings.Split(string(text), "\n") {
				line, _, _ = strings.Cut(line, "#")
				if strings.TrimSpace(line) == "" {
					continue
				}
				if err := s.play(line); err != nil {
					t.Fatalf("%s:%d: %s: %v", file, i+1, line, err)
				}
			}
		})
	}
}

type scenario struct {
	k   *Keyboard
	now time.Duration
}

func (s *scenario) play(line string) error {
	do, want, read := strings.Cut(line, "=>")
	for _, step := range strings.Split(do, ",") {
		if err := s.step(strings.Fields(step)); err != nil {
			return err
		}
	}
	if !read {
		return nil
	}
	if got := hex.EncodeToString(readAll(s.k)); got != strings.ToLower(strings.ReplaceAll(want, " ", "")) {
		return fmt.Errorf("got % x", mustHex(got))
	}
	return nil
}

func (s *scenario) step(words []string) error {
	if len(words) == 0 {
		return nil
	}
	arg := strings.Join(words[1:], "")
	switch words[0] {
	case "down", "up":
		key, ok := keysByName["KEY_"+arg]
		if !ok {
			return fmt.Errorf("no key %s", arg)
		}
		s.k.Key(s.now, key, words[0] == "down")
	case "host":
		s.k.Write(mustHex(arg))
	case "tick":
		d, err := time.ParseDuration(arg)
		if err != nil {
			return err
		}
		s.pass(d)
	case "release":
		s.k.ReleaseAll()
	case "overrun":
		s.k.Overrun()
	case "leds":
		if got := mustHex(arg)[0]; s.k.LEDs() != LEDs(got) {
			return fmt.Errorf("LEDs are %02x", s.k.LEDs())
		}
	default:
		return fmt.Errorf("no such step: %s", words[0])
	}
	return nil
}

// pass lets time go by as the keyboard's owner does: with one timer, armed to Next.
func (s *scenario) pass(d time.Duration) {
	end := s.now + d
	for {
		at, ok := s.k.Next()
		if !ok || at > end {
			break
		}
		s.now = at
		s.k.Tick(at)
	}
	s.now = end
}

var keysByName = func() map[string]scancode.Key {
	m := map[string]scancode.Key{}
	for key := range keys() {
		m[key.String()] = key
	}
	return m
}()

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// readAll reads until there is nothing left, which reads that make room for more take into account.
func readAll(k *Keyboard) (all []byte) {
	var buf [64]byte
	for k.Len() > 0 {
		all = append(all, buf[:k.Read(buf[:])]...)
	}
	return all
}

package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRecordingsOfEvemuAreRead(t *testing.T) {
	rec, err := readRecordingFile("testdata/shift-a.evemu")
	if err != nil {
		t.Fatal(err)
	}
	if rec.name != "AT Translated Set 2 keyboard" || rec.id != [4]uint16{0x11, 1, 1, 0xab41} {
		t.Errorf("it is %q, %x", rec.name, rec.id)
	}
	for code, want := range map[uint16]bool{1: true, 0: false, 30: true, 0x54: false, 0xff: false, 0xd9: true, 0x2ff: false} {
		if rec.has(evKey, code) != want {
			t.Errorf("it has key %#x: %v", code, !want)
		}
	}
	if len(rec.events) != 12 || rec.events[4] != (timedEvent{131414 * time.Microsecond, evKey, 30, 1}) {
		t.Errorf("its events are %v", rec.events)
	}
}

func TestRecordingsAreWrittenAsTheyAreRead(t *testing.T) {
	rec, err := readRecordingFile("testdata/shift-a.evemu")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	rec.writeHeader(&b)
	for _, ev := range rec.events {
		ev.writeTo(&b)
	}
	again, err := readRecording(&b)
	if err != nil || !reflect.DeepEqual(again, rec) {
		t.Errorf("%v: wrote %+v, read %+v", err, rec, again)
	}
}

func TestBrokenRecordingsAreRefusedByLine(t *testing.T) {
	const key = "B: 01 fe\n"
	for text, want := range map[string]string{
		"":                                   `it is of no keyboard: there is no line "B: 01"`,
		"N: mouse\nB: 02 03\n":               `it is of no keyboard`,
		key + "hello\n":                      `line 2: "hello": want a letter and a colon`,
		key + "I: 11 zz\n":                   `line 2: "I: 11 zz": `,
		"B: 01 f\n":                          `line 1: "B: 01 f": `,
		"B: 20 ff\n":                         `no such event type`,
		"B:\n":                               `no such event type`,
		strings.Repeat(key, 97):              `line 97: "B: 01 fe": more codes than there are`,
		key + "E: 0.1\n":                     `line 2: "E: 0.1": `,
		key + "E: -1.000000 1 1 1\n":         `no such time`,
		key + "E: 0.000000 20 1 1\n":         `no such event`,
		key + "E: 0.000000 1 300 1\n":        `no such event`,
		key + "E: 2.0 1 1 1\nE: 1.0 1 1 0\n": `line 3: "E: 1.0 1 1 0": it is earlier`,
		key + strings.Repeat("#", 5000):      `line 2: bufio.Scanner: token too long`,
	} {
		if _, err := readRecording(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzReadRecording(f *testing.F) {
	text, err := os.ReadFile("testdata/shift-a.evemu")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := readRecording(bytes.NewReader(text))
		if err != nil {
			return
		}
		var last time.Duration
		for _, ev := range rec.events {
			if ev.at < last || rec.plays(ev) && ev.kind == evKey && ev.code >= keyCodes {
				t.Fatalf("event %+v behind %v", ev, last)
			}
			last = ev.at
		}
	})
}

// input is an event as evdev gives it.
func input(at time.Duration, kind, code uint16, value int32) []byte {
	b := timedEvent{0, kind, code, value}.input()
	sec, usec := uint64(at/time.Second), uint64(at%time.Second/time.Microsecond)
	if longSize == 8 {
		binary.NativeEndian.PutUint64(b, sec)
		binary.NativeEndian.PutUint64(b[8:], usec)
	} else {
		binary.NativeEndian.PutUint32(b, uint32(sec))
		binary.NativeEndian.PutUint32(b[4:], uint32(usec))
	}
	return b[:eventSize]
}

func TestRecordsWholeKeyPressesOnly(t *testing.T) {
	const day = 20_000 * 24 * time.Hour
	var b strings.Builder
	r := recorder{out: &b, down: make(map[uint16]bool)}
	for _, ev := range [][]byte{
		input(day, evKey, 28, 2), // Enter, which began the command, is down still
		input(day+1*time.Second, evKey, 28, 0),
		input(day+2*time.Second, evKey, 30, 1),
		input(day+2*time.Second, evSyn, 0, 0),
		input(day+2500*time.Millisecond, evKey, 30, 2),
		input(day+3*time.Second, evKey, 30, 0),
		input(day+1*time.Second, evKey, 29, 1), // the clock was set
		input(day+4*time.Second, evKey, 46, 1),
	} {
		if err := r.take(ev); err != nil {
			t.Fatal(err)
		}
	}
	r.end()
	const want = `E: 0.000000 0001 001e 0001
E: 0.000000 0000 0000 0000
E: 0.500000 0001 001e 0002
E: 1.000000 0001 001e 0000
E: 1.000000 0001 001d 0001
E: 2.000000 0001 002e 0001
E: 2.000000 0001 001d 0000
E: 2.000000 0000 0000 0000
E: 2.000000 0001 002e 0000
E: 2.000000 0000 0000 0000
`
	if b.String() != want {
		t.Errorf("recorded\n%s", b.String())
	}
}

func TestKeyboardsAreDescribedFromSysfs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"name": "Some Keyboard", "id/bustype": "0003", "id/vendor": "046d", "id/product": "c31c", "id/version": "0110",
		"capabilities/ev": "120013", "capabilities/key": "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe",
		"capabilities/msc": "10", "capabilities/led": "7",
	} {
		os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755)
		os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644)
	}
	rec, err := describe(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	rec.writeHeader(&b)
	const want = `# EVEMU 1.3
# recorded by kbdctl
N: Some Keyboard
I: 0003 046d c31c 0110
B: 00 13 00 12 00 00 00 00 00
B: 01 fe ff ff ff ff ff ff ff
B: 01 ff ff ef ff df ff be fe
B: 01 ff 57 40 c1 7a 20 9f ff
B: 01 07 00 00 00 00 00 01 00
B: 04 10 00 00 00 00 00 00 00
B: 11 07 00 00 00 00 00 00 00
`
	if b.String() != want {
		t.Errorf("described as\n%s", b.String())
	}
}

func TestPlayRefusesBeforeItPlugsIn(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"play"}, exitUsage, "accepts 1 arg"},
		{[]string{"play", "--speed", "0", "x"}, exitUsage, "above 0"},
		{[]string{"play", "--speed", "-1", "x"}, exitUsage, "above 0"},
		{[]string{"play", "/nowhere/x"}, exitFailure, "no such file"},
		{[]string{"play", "/dev/null"}, exitFailure, "/dev/null: it is of no keyboard"},
	} {
		if status, _, errs := kbdctl(c.args...); status != c.status || !strings.Contains(errs, c.want) {
			t.Errorf("%q: status %d, %s", c.args, status, errs)
		}
	}
}

package main

import (
	"strings"
	"testing"
	"time"

	"kbdd/kbd/control"
)

var (
	at     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a      = control.Keyboard{ID: "A", Name: "Keyboard A", Node: "/dev/input/event0", Device: "kbd1", Plugged: true, HeardBy: control.Console}
	b      = control.Keyboard{ID: "B", Name: "Keyboard B", Node: "/dev/input/event1", Device: "kbd2", Plugged: true, HeardBy: control.Console}
	doom   = control.Holder{PID: 812, Command: "doom", UID: 0, Since: at.Add(-3 * time.Minute), Mode: "set 1", Terminal: 1, Listens: true}
	nobody = []control.Holder(nil)
)

// heard is the keyboard while it is muted, and a device's readers have it.
func heard(k control.Keyboard, by string) control.Keyboard {
	k.HeardBy, k.Muted = by, true
	return k
}

// shared is the keyboard while a device's readers have it, and the console as well.
func shared(k control.Keyboard, by string) control.Keyboard {
	k.HeardBy, k.Shared = by, true
	return k
}

// silent is the holder while it does not listen.
func silent(h control.Holder, why control.WhyNot, terminal int, mode string) control.Holder {
	h.Listens, h.WhyNot, h.Terminal, h.Mode = false, why, terminal, mode
	return h
}

// status is one with the holders of kbd0 and kbd2.
func statusOf(kbd0, kbd2 []control.Holder, keyboards ...control.Keyboard) control.Status {
	return control.Status{
		Version: 1, Terminal: 1, Keyboards: keyboards,
		Devices: []control.Device{{Name: "kbd0", Holders: kbd0}, {Name: "kbd1"}, {Name: "kbd2", Holders: kbd2}},
	}
}

func TestStatusSaysWhyTheConsoleIsMutedOrNot(t *testing.T) {
	scan := control.Holder{PID: 5, Command: "scan", Listens: true}
	lost := control.Holder{PID: 6, Listens: true}
	for _, c := range []struct {
		st   control.Status
		want string
	}{
		{statusOf(nobody, nobody), "No keyboard is plugged in."},
		{statusOf(nobody, nobody, a), "The console has the keyboard: nobody has a device open."},
		{statusOf(nobody, nobody, a, b), "The console has all 2 keyboards: nobody has a device open."},
		{
			statusOf([]control.Holder{doom}, nobody, heard(a, "kbd0")),
			"The console is muted: doom (pid 812) reads /dev/kbd0.",
		},
		{
			statusOf([]control.Holder{doom, lost}, []control.Holder{scan}, heard(a, "kbd0"), heard(b, "kbd2")),
			"The console is muted: doom (pid 812) and ? (pid 6) read /dev/kbd0, scan (pid 5) reads /dev/kbd2.",
		},
		{
			statusOf([]control.Holder{doom, lost, scan, scan, scan}, nobody, heard(a, "kbd0")),
			"The console is muted: doom (pid 812), ? (pid 6), scan (pid 5) and 2 more read /dev/kbd0.",
		},
		{
			statusOf(nobody, []control.Holder{scan}, a, heard(b, "kbd2")),
			"The console is muted for 1 of 2 keyboards: scan (pid 5) reads /dev/kbd2.",
		},
		{
			statusOf([]control.Holder{silent(doom, control.Behind, 2, "set 1")}, nobody, a),
			"The console has the keyboard: doom (pid 812) has /dev/kbd0 open, but from tty2, while tty1 is on the screen.",
		},
		{
			statusOf([]control.Holder{silent(doom, control.Cooked, 1, "K_UNICODE")}, []control.Holder{silent(scan, control.WriteOnly, 1, "set 1")}, a),
			"The console has the keyboard: doom (pid 812) has /dev/kbd0 open, but leaves it to the console by K_UNICODE; " +
				"scan (pid 5) has /dev/kbd2 open, but only to write.",
		},
		{
			statusOf([]control.Holder{silent(doom, control.Released, 1, "set 1")}, nobody, a),
			"The console has the keyboard: doom (pid 812) has /dev/kbd0 open, but it was taken from it.",
		},
		{
			statusOf([]control.Holder{doom}, nobody, func() control.Keyboard { k := heard(a, "kbd0"); k.Muted = false; return k }()),
			"The console is not muted yet: doom (pid 812) reads /dev/kbd0.",
		},
		{
			statusOf([]control.Holder{doom}, nobody, shared(a, "kbd0"), shared(b, "kbd0")),
			"The console is not muted, as the configuration has it: doom (pid 812) reads /dev/kbd0.",
		},
		{
			statusOf([]control.Holder{doom}, []control.Holder{scan}, heard(a, "kbd0"), shared(b, "kbd2")),
			"The console is muted for 1 of 2 keyboards: doom (pid 812) reads /dev/kbd0, scan (pid 5) reads /dev/kbd2.",
		},
		{
			statusOf(nobody, nobody, func() control.Keyboard { k := a; k.Muted = true; return k }()),
			"The console gets the keyboard back as soon as no key is down.",
		},
	} {
		if got := console(c.st); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestStatusListsHolders(t *testing.T) {
	grabbed := heard(b, "kbd0")
	grabbed.Muted, grabbed.Problem = false, "another program has grabbed it"
	var out strings.Builder
	writeStatus(&out, statusOf([]control.Holder{doom}, []control.Holder{silent(doom, control.WriteOnly, 0, "set 2")}, heard(a, "kbd0"), grabbed), at)
	const want = `The console is muted for 1 of 2 keyboards: doom (pid 812) reads /dev/kbd0.
kbd0	doom	812	root	yes	3 min	tty1	set 1	0	0
kbd2	doom	812	root	no: write-only	3 min	-	set 2	0	0
Keyboard B (/dev/input/event1) cannot be muted: another program has grabbed it
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestListNamesKeyboards(t *testing.T) {
	gone := b
	gone.Plugged, gone.HeardBy = false, ""
	evil := a
	evil.Name = "Key\x1b[2J\tboard"
	var out strings.Builder
	writeList(&out, listed(statusOf([]control.Holder{doom}, nobody, evil, gone)))
	const want = "/dev/kbd0\t1\t-\t-\tall keyboards\n" +
		"/dev/kbd1\t0\tconsole\t/dev/input/event0\tKey?[2J?board\n" +
		"/dev/kbd2\t0\t-\t-\tKeyboard B (unplugged)\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 61 * time.Minute: "1 h", 47 * time.Hour: "47 h", 100 * time.Hour: "4 d",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestTextsAreFoldedBetweenWords(t *testing.T) {
	for _, c := range []struct {
		text            string
		columns, indent int
		want            string
	}{
		{"one two three", 80, 4, "one two three"},
		{"one two three", 7, 0, "one two\nthree"},
		{"one two three", 9, 2, "one two\n  three"},
		{"bottomless pit", 5, 2, "bottomless\n  pit"},
		{"keeps  two   blanks", 80, 0, "keeps  two   blanks"},
	} {
		if got := fold(c.text, c.columns, c.indent); got != c.want {
			t.Errorf("%q in %d columns is %q", c.text, c.columns, got)
		}
	}
}

package main

import (
	"fmt"
	"strings"
)

// A page is a table in the making. Its first error stays.
type page struct {
	strings.Builder
	err error
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// get is a figure that must be there.
func (p *page) get(from figures, name, unit string) float64 {
	value, ok := from[name][unit]
	if !ok && p.err == nil {
		p.err = fmt.Errorf("%s in %s was not measured", name, unit)
	}
	return value
}

// number shows three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// table is the figures for people, in Markdown.
func (r *results) table() (string, error) {
	var p page
	p.line("Measured in %s, with Linux %s.", r.Host, r.Kernel)
	p.line("")
	r.latency(&p)
	p.line("")
	r.loads(&p)
	p.line("")
	r.rest(&p)
	return p.String(), p.err
}

var paths = []struct{ name, words string }{
	{"evdev", "evdev itself, read(2)"},
	{"remapper", "evdev, behind a remapper in C"},
	{"vt", "a VT in K_MEDIUMRAW, read(2)"},
	{"server/read", "a CUSE server in C, read(2)"},
	{"server/poll", "the same, poll(2) and read(2)"},
	{"server/epoll", "the same, epoll_wait(2) and read(2)"},
	{"kbdd/read", "**/dev/kbd0**, read(2)"},
	{"kbdd/poll", "**/dev/kbd0**, poll(2) and read(2)"},
	{"kbdd/epoll", "**/dev/kbd0**, epoll_wait(2) and read(2)"},
	{"kept/read", "**/dev/kbd0** as installed, read(2)"},
}

func (r *results) latency(p *page) {
	p.line("From the event's write on uinput to the return of the reader's read(2), in thousands of instructions, on one CPU: these")
	head, rule, columns := "| the reader is at | p50 | p99 | p99.9 |", "|---|--:|--:|--:|", []figures{r.Instructions}
	if r.Real == nil {
		p.line("do not depend on the host.")
	} else {
		p.line("do not depend on the host. On the right in µs on two CPUs, which do, and which the emulation makes long.")
		head, rule, columns = head+" p50 µs | p99 µs | p99.9 µs |", rule+"--:|--:|--:|", append(columns, r.Real)
	}
	p.line("")
	p.line("%s", head)
	p.line("%s", rule)
	for _, path := range paths {
		row := "| " + path.words
		for _, from := range columns {
			for _, unit := range []string{"p50-us", "p99-us", "p99.9-us"} {
				row += " | " + number(p.get(from, "Latency/"+path.name, unit))
			}
		}
		p.line("%s |", row)
	}
}

func (r *results) loads(p *page) {
	p.line("Keys a second with no loss, a press and a release each, at 1000 instructions to the µs on one CPU, readers and all; and")
	p.line("kbdd's part of it, in thousands of instructions.")
	head, rule := "| keyboards | readers | keys/s | a key costs | a key and reader |", "|--:|--:|--:|--:|--:|"
	if r.Real != nil {
		p.line("On the right the same in real time.")
		head, rule = head+" keys/s |", rule+"--:|"
	}
	p.line("")
	p.line("%s", head)
	p.line("%s", rule)
	for _, load := range loads {
		name := fmt.Sprintf("Load/keyboards=%d/readers=%d%s", load.keyboards, load.readers, load.suffix)
		row := fmt.Sprintf("| %d | %d%s | %s | %s | %s |", load.keyboards, load.readers, load.words,
			number(p.get(r.Instructions, name, "keys/s")),
			number(p.get(r.Instructions, name, "cpu-us/key")), number(p.get(r.Instructions, name, "cpu-us/key/reader")))
		if r.Real != nil {
			row += " " + number(p.get(r.Real, name, "keys/s")) + " |"
		}
		p.line("%s", row)
	}
}

var loads = []struct {
	keyboards, readers int
	suffix, words      string
}{
	{1, 1, "", ""},
	{1, 8, "", ""},
	{1, 64, "", ""},
	{8, 1, "", ""},
	{8, 8, "", ""},
	{8, 64, "", ""},
	{1, 1, "/deployed", ", as installed"},
	{1, 64, "/deployed", ", as installed"},
}

var idles = []struct{ name, words string }{
	{"nobody", "nobody listens"},
	{"nobody/deployed", "nobody listens, as installed"},
	{"reader", "a reader waits"},
	{"reader/deployed", "a reader waits, as installed"},
	{"readers=64", "64 readers wait"},
	{"readers=64/deployed", "64 readers wait, as installed"},
}

var changes = []struct{ unit, words string }{
	{"open-ms", "open(2), with no key held"},
	{"close-ms", "the last close(2)"},
	{"join-ms", "one is plugged in, until it is muted"},
	{"switch-ms", "the terminal is switched, until it is given back"},
	{"sysrq-r-ms", "Alt-SysRq-R is typed, until it is given back by one who does not read"},
}

func (r *results) rest(p *page) {
	p.line("| in a minute with no key | wake-ups | system calls | resident MiB |")
	p.line("|---|--:|--:|--:|")
	for _, idle := range idles {
		row := "| " + idle.words
		for _, unit := range []string{"wakeups/min", "syscalls/min", "resident-MiB"} {
			row += " | " + number(p.get(r.Instructions, "Idle/"+idle.name, unit))
		}
		p.line("%s |", row)
	}
	p.line("")
	p.line("| how long a keyboard takes to change hands, at 1000 instructions to the µs | ms at most |")
	p.line("|---|--:|")
	for _, change := range changes {
		p.line("| %s | %s |", change.words, number(p.get(r.Instructions, "Change", change.unit)))
	}
	p.line("")
	start := fmt.Sprintf("The program is a file of %s MiB, and ready %s million instructions after its start",
		number(p.get(r.Instructions, "Start", "binary-MiB")), number(p.get(r.Instructions, "Start", "ready-ms")))
	if r.Real != nil {
		start += fmt.Sprintf(", in %s ms of real time", number(p.get(r.Real, "Start", "ready-ms")))
	}
	p.line("%s.", start)
}

package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

// A recording is a keyboard and what was done on it, in the text format of evemu (libevdev's evemu-record):
//
//	N: name
//	I: bus vendor product version         in hex
//	P: properties, as bytes in hex        (also on several lines)
//	B: event type, bytes of its codes     (also on several lines)
//	E: seconds.microseconds type code value
//
// Lines that begin with # say nothing; those of other kinds (A: axes, L: LEDs, S: switches) are passed over.
type recording struct {
	name   string
	id     [4]uint16
	bits   map[uint16][]byte // by event type: the codes, in bits from the lowest
	events []timedEvent
}

// A timedEvent is an event and when it came after the first one of the recording.
type timedEvent struct {
	at         time.Duration
	kind, code uint16
	value      int32
}

// The types of linux/input-event-codes.h that matter here.
const (
	evSyn = 0x00
	evKey = 0x01
	evMsc = 0x04
	evLED = 0x11
	evRep = 0x14

	eventTypes = 0x20
	keyCodes   = 0x300
)

// What a recording may hold, so that a file that is none does not eat the memory.
const (
	maxRecordingLine = 1 << 12
	maxEvents        = 1 << 22
)

// readRecording reads a recording. Its errors name the line.
func readRecording(r io.Reader) (*recording, error) {
	rec := &recording{bits: make(map[uint16][]byte)}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxRecordingLine)
	n := 0
	for lines.Scan() {
		n++
		line, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), "\t#") // evemu explains its events
		if line == "" || line[0] == '#' {
			continue
		}
		if err := rec.take(line); err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(rec.bits[evKey]) == 0 {
		return nil, fmt.Errorf("it is of no keyboard: there is no line \"B: 01\"")
	}
	// The first one need not be at 0: a recording may have begun long before, or count from the boot. evemu-play has it so.
	if len(rec.events) > 0 {
		first := rec.events[0].at
		for i := range rec.events {
			rec.events[i].at -= first
		}
	}
	return rec, nil
}

func (rec *recording) take(line string) error {
	kind, rest, ok := strings.Cut(line, ":")
	if !ok || len(kind) != 1 {
		return fmt.Errorf("want a letter and a colon")
	}
	rest = strings.TrimSpace(rest)
	switch kind {
	case "N":
		rec.name = rest
	case "I":
		id := &rec.id
		_, err := fmt.Sscanf(rest, "%x %x %x %x", &id[0], &id[1], &id[2], &id[3])
		return err
	case "B":
		return rec.takeBits(rest)
	case "E":
		return rec.takeEvent(rest)
	}
	return nil
}

func (rec *recording) takeBits(text string) error {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	switch {
	case err != nil:
		return err
	case len(b) == 0 || b[0] >= eventTypes:
		return fmt.Errorf("there is no such event type")
	}
	kind := uint16(b[0])
	if rec.bits[kind] = append(rec.bits[kind], b[1:]...); len(rec.bits[kind]) > keyCodes/8 {
		return fmt.Errorf("more codes than there are")
	}
	return nil
}

func (rec *recording) takeEvent(text string) error {
	var sec, usec int64
	var ev timedEvent
	if _, err := fmt.Sscanf(text, "%d.%06d %x %x %d", &sec, &usec, &ev.kind, &ev.code, &ev.value); err != nil {
		return err
	}
	ev.at = time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond
	switch {
	case sec < 0 || sec > 1<<32 || usec < 0 || usec >= 1e6:
		return fmt.Errorf("no such time")
	case ev.kind >= eventTypes || ev.kind == evKey && ev.code >= keyCodes:
		return fmt.Errorf("there is no such event")
	case len(rec.events) > 0 && ev.at < rec.events[len(rec.events)-1].at:
		return fmt.Errorf("it is earlier than the event before it")
	case len(rec.events) >= maxEvents:
		return fmt.Errorf("more than %d events", maxEvents)
	}
	rec.events = append(rec.events, ev)
	return nil
}

// writeHeader writes all but the events.
func (rec *recording) writeHeader(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# EVEMU 1.3\n# recorded by kbdctl\nN: %s\n", plain(rec.name))
	fmt.Fprintf(b, "I: %04x %04x %04x %04x\n", rec.id[0], rec.id[1], rec.id[2], rec.id[3])
	for kind := range uint16(eventTypes) {
		const perLine = 8
		for bytes := rec.bits[kind]; len(bytes) > 0; bytes = bytes[min(perLine, len(bytes)):] {
			fmt.Fprintf(b, "B: %02x % x\n", kind, bytes[:min(perLine, len(bytes))])
		}
	}
	return b.Flush()
}

func (ev timedEvent) writeTo(w io.Writer) error {
	us := ev.at.Microseconds()
	_, err := fmt.Fprintf(w, "E: %d.%06d %04x %04x %04d\n", us/1e6, us%1e6, ev.kind, ev.code, ev.value)
	return err
}

// has tells if the keyboard has a code of an event type.
func (rec *recording) has(kind, code uint16) bool {
	b := rec.bits[kind]
	return int(code/8) < len(b) && b[code/8]>>(code%8)&1 != 0
}

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
)

func recordCommand(kbdd func() *control.Client) *cobra.Command {
	return &cobra.Command{
		Use:   "record FILE [NODE]",
		Short: "Record what is typed on a keyboard",
		Long: `Record what is typed on a keyboard, in evemu's format. NODE is one of /dev/input/event*; without it, that of the
one keyboard that is plugged in. All that is typed is in FILE then, passwords too. Ctrl-C ends the recording.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			node, err := nodeToRecord(cmd.Context(), kbdd(), args[1:], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return record(cmd, node, args[0])
		},
	}
}

// nodeToRecord is the node that is named, or else the only one.
func nodeToRecord(ctx context.Context, kbdd *control.Client, named []string, progress io.Writer) (string, error) {
	st, err := kbdd.Status(ctx)
	if err != nil && len(named) == 0 {
		return "", fmt.Errorf("%w Without it, name the keyboard's node, one of /dev/input/event*", err)
	}
	plugged := slices.DeleteFunc(st.Keyboards, func(k control.Keyboard) bool { return !k.Plugged })
	if len(named) == 0 {
		switch len(plugged) {
		case 0:
			return "", errors.New("no keyboard is plugged in")
		case 1:
			named = []string{plugged[0].Node}
		default:
			return "", errors.New("there are several keyboards: name one by its node, \"kbdctl list\" tells them")
		}
	}
	for _, k := range plugged {
		if k.Node == named[0] && k.Muted {
			fmt.Fprintln(progress, "kbdctl: the keyboard is muted: what is typed is recorded once the console has it back")
		}
	}
	return named[0], nil
}

// record writes to a file what a node gives until the command ends. The file is touched only once there is something to record.
func record(cmd *cobra.Command, node, file string) (err error) {
	f, err := os.Open(node)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: run as root, or as a member of the group of %s", err, node)
	case err != nil:
		return err
	}
	defer f.Close()
	rec, err := describe("/sys/class/input/" + filepath.Base(node) + "/device")
	if err != nil {
		return fmt.Errorf("%s: is it an input device? %w", node, err)
	}
	out, err := createRecording(file, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	fmt.Fprintf(cmd.ErrOrStderr(), "kbdctl: recording %s (%s): type Ctrl-C to end\n", node, plain(rec.name))
	defer context.AfterFunc(cmd.Context(), func() { f.SetReadDeadline(time.Now()) })()
	return rec.record(f, out)
}

// createRecording makes a file that only its owner may read, also if it was there and others might; "-" is stdout.
func createRecording(path string, stdout io.Writer) (io.WriteCloser, error) {
	if path == "-" {
		return struct {
			io.Writer
			io.Closer
		}{stdout, io.NopCloser(nil)}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() {
		if err = f.Chmod(0o600); err == nil {
			err = f.Truncate(0)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// record writes the recording of what events gives, until that has no more, or its deadline is over.
func (rec *recording) record(events io.Reader, to io.Writer) error {
	out := bufio.NewWriter(to)
	if err := errors.Join(rec.writeHeader(out), out.Flush()); err != nil {
		return err
	}
	r := recorder{out: out, down: make(map[uint16]bool)}
	buf := make([]byte, 64*eventSize)
	for {
		n, errRead := events.Read(buf)
		for b := buf[:n]; len(b) >= eventSize; b = b[eventSize:] {
			if err := r.take(b); err != nil {
				return err
			}
		}
		if errRead != nil {
			if err := errors.Join(r.end(), out.Flush()); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(errRead, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(errRead, unix.ENODEV):
			return fmt.Errorf("%w: the keyboard was unplugged", errRead)
		case errRead != nil:
			return errRead
		}
		if err := out.Flush(); err != nil { // who reads a pipe has it now
			return err
		}
	}
}

// eventSize is that of struct input_event: two longs of time, type, code, value.
const (
	longSize  = strconv.IntSize / 8
	eventSize = 2*longSize + 8
)

// A recorder writes whole key presses: none of which the beginning is missing, and none without an end.
type recorder struct {
	out   io.Writer
	first time.Duration // when the first event came
	last  time.Duration // when the last one came, after it
	begun bool
	down  map[uint16]bool
}

func (r *recorder) take(b []byte) error {
	at := time.Duration(long(b))*time.Second + time.Duration(long(b[longSize:]))*time.Microsecond
	b = b[2*longSize:]
	ev := timedEvent{
		kind:  binary.NativeEndian.Uint16(b),
		code:  binary.NativeEndian.Uint16(b[2:]),
		value: int32(binary.NativeEndian.Uint32(b[4:])),
	}
	if ev.kind == evKey {
		switch {
		case ev.value == 1:
			r.down[ev.code] = true
		case !r.down[ev.code]:
			return nil
		case ev.value == 0:
			delete(r.down, ev.code)
		}
	}
	if !r.begun {
		r.begun, r.first = true, at
	}
	r.last = max(r.last, at-r.first) // the clock may be set meanwhile
	ev.at = r.last
	return ev.writeTo(r.out)
}

func long(b []byte) int64 {
	if longSize == 8 {
		return int64(binary.NativeEndian.Uint64(b))
	}
	return int64(binary.NativeEndian.Uint32(b))
}

// end releases what is down.
func (r *recorder) end() error {
	for _, code := range slices.Sorted(maps.Keys(r.down)) {
		for _, ev := range []timedEvent{{r.last, evKey, code, 0}, {r.last, evSyn, 0, 0}} {
			if err := ev.writeTo(r.out); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe is what the kernel tells of an input device in sysfs.
func describe(dir string) (*recording, error) {
	read := func(name string) (string, error) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(text)), err
	}
	rec := &recording{bits: make(map[uint16][]byte)}
	var err error
	if rec.name, err = read("name"); err != nil {
		return nil, err
	}
	for i, name := range []string{"bustype", "vendor", "product", "version"} {
		text, err := read("id/" + name)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Sscanf(text, "%x", &rec.id[i]); err != nil {
			return nil, err
		}
	}
	for kind, name := range map[uint16]string{evSyn: "ev", evKey: "key", evMsc: "msc", evLED: "led"} {
		text, err := read("capabilities/" + name)
		if err == nil {
			rec.bits[kind], err = bitmap(text)
		}
		if err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// bitmap is one of sysfs: longs in hex, the highest first, and none that is 0 before it.
func bitmap(text string) ([]byte, error) {
	var b []byte
	words := strings.Fields(text)
	for _, word := range slices.Backward(words) {
		v, err := strconv.ParseUint(word, 16, strconv.IntSize)
		if err != nil {
			return nil, err
		}
		b = append(b, binary.LittleEndian.AppendUint64(nil, v)[:longSize]...)
	}
	return b, nil
}

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
			out, err := createRecording(args[0], cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, out.Close()) }()
			return record(cmd.Context(), node, out, cmd.ErrOrStderr())
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

// createRecording makes a file that only its owner may read; "-" is stdout.
func createRecording(path string, stdout io.Writer) (io.WriteCloser, error) {
	if path == "-" {
		return struct {
			io.Writer
			io.Closer
		}{stdout, io.NopCloser(nil)}, nil
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// record writes what the node gives until ctx ends.
func record(ctx context.Context, node string, to, progress io.Writer) error {
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
	out := bufio.NewWriter(to)
	defer out.Flush()
	if err := rec.writeHeader(out); err != nil {
		return err
	}
	fmt.Fprintf(progress, "kbdctl: recording %s (%s): type Ctrl-C to end\n", node, plain(rec.name))
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Now()) })()
	r := recorder{out: out, down: make(map[uint16]bool)}
	buf := make([]byte, 64*eventSize)
	for {
		n, err := f.Read(buf)
		for b := buf[:n]; len(b) >= eventSize; b = b[eventSize:] {
			if err := r.take(b); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return r.end()
		case errors.Is(err, unix.ENODEV):
			return errors.Join(r.end(), fmt.Errorf("%w: the keyboard was unplugged", err))
		case err != nil:
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

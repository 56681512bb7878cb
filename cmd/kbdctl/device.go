package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kbdd/scancode"
)

const defaultDevice = "/dev/kbd0"

// deviceOf is the device that a command line names: by its path, or as kbd1.
func deviceOf(args []string) string {
	switch {
	case len(args) == 0:
		return defaultDevice
	case !strings.Contains(args[0], "/"):
		return "/dev/" + args[0]
	}
	return args[0]
}

func completeDevice(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	devices, _ := filepath.Glob("/dev/kbd[0-9]*")
	return devices, cobra.ShellCompDirectiveNoFileComp
}

// A device is an open /dev/kbdN, and where in its stream of scancodes we are. While it is open the console does not hear
// the keyboard, so Ctrl-C is looked for here.
type device struct {
	file    *os.File
	raw     io.Writer // gets all scancodes as they come; nil: nobody
	decoder scancode.Decoder
	pending []byte       // of the code that is not complete
	set     scancode.Set // that has been asked for
	acks    int          // how many answers are to come until it is in force
	ctrl    int          // how many Ctrl keys are down
}

// A stroke is what is done to a key, or another thing that the keyboard sends.
type stroke struct {
	scancode.Event
	at    time.Time
	bytes []byte // valid until the next one
}

// openDevice opens a device, and selects a set if it is not 0.
func openDevice(path string, flags int, set scancode.Set) (*device, error) {
	f, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: is kbdd running?", err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: run as root, or as a member of the group of %s", err, path)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: another program has it for itself, \"kbdctl status\" tells which", err)
	case err != nil:
		return nil, err
	}
	d := &device{file: f}
	if set != 0 {
		if _, err := f.Write([]byte{selectSet, byte(set)}); err != nil {
			f.Close()
			return nil, err
		}
		d.set, d.acks = set, 2
	}
	return d, nil
}

// Host commands and their answers.
const (
	setLEDs     = 0xed
	echo        = 0xee
	selectSet   = 0xf0
	acknowledge = 0xfa
)

// strokes gives what the keyboard sends until ctx ends or Ctrl-C is typed, or with an error.
func (d *device) strokes(ctx context.Context) iter.Seq2[stroke, error] {
	return func(yield func(stroke, error) bool) {
		// A read that waits ends with ctx.
		defer context.AfterFunc(ctx, func() { d.file.SetReadDeadline(time.Now()) })()
		buf := make([]byte, 256)
		for {
			n, err := d.file.Read(buf)
			now := time.Now()
			for _, b := range buf[:n] {
				s, ok, err := d.take(now, b)
				if (ok || err != nil) && !yield(s, err) || err != nil || ok && d.isCtrlC(s) {
					return
				}
			}
			if err != nil {
				if err = d.explain(err); err != nil {
					yield(stroke{}, err)
				}
				return
			}
		}
	}
}

// explain says what an error of read(2) means; nil for the end of ctx.
func (d *device) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: no more to read: is it a keyboard?", d.file.Name())
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED):
		return fmt.Errorf("%w: kbdd took the device away", err)
	}
	return err
}

// take takes the next byte, and tells if it completed a stroke.
func (d *device) take(now time.Time, b byte) (s stroke, ok bool, err error) {
	if d.acks > 0 && b == acknowledge {
		if d.acks--; d.acks == 0 {
			d.decoder.Reset(d.set)
		}
		return s, false, nil
	}
	if d.raw != nil {
		if _, err := d.raw.Write([]byte{b}); err != nil {
			return s, false, err
		}
	}
	if len(d.pending) > 2*scancode.MaxLen {
		d.pending = d.pending[:0] // fake shifts without end
	}
	d.pending = append(d.pending, b)
	ev, ok := d.decoder.Decode(b)
	if !ok {
		return s, false, nil
	}
	s = stroke{ev, now, d.pending}
	d.pending = d.pending[:0:cap(d.pending)]
	return s, true, nil
}

// isCtrlC follows the Ctrl keys, and tells if C was pressed with one of them.
func (d *device) isCtrlC(s stroke) bool {
	switch {
	case s.Key == scancode.KeyLeftCtrl || s.Key == scancode.KeyRightCtrl:
		switch s.Kind {
		case scancode.Press:
			d.ctrl++
		case scancode.Release:
			d.ctrl = max(0, d.ctrl-1)
		}
	case s.Key == scancode.KeyC && s.Kind == scancode.Press:
		return d.ctrl > 0
	}
	return false
}

func (d *device) close() { d.file.Close() }

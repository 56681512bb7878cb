package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kbdd/scancode"
)

func monitorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "monitor [DEVICE]",
		Short: "Print what a keyboard sends, a key a line",
		Long: `Print what a keyboard sends, a key a line: the time, the bytes, the key, and what was done to it.
DEVICE is /dev/kbd0 unless given. While monitor runs the console does not hear the keyboard. To end it type Ctrl-C on
that very keyboard, or send it a signal.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeDevice,
	}
	raw := cmd.Flags().Bool("raw", false, "write the bytes as they come, to a file or a pipe")
	asJSON := cmd.Flags().Bool("json", false, "print a JSON object a line")
	set := cmd.Flags().Int("set", 1, "the scancode set `n`: 1, 2 or 3")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out := cmd.OutOrStdout()
		switch {
		case *set < 1 || *set > 3:
			return usageError(fmt.Sprintf("there is no scancode set %d", *set))
		case *raw && *asJSON:
			return usageError("it is either --raw or --json")
		case *raw && isTerminal(out):
			return usageError("raw bytes would upset this terminal: send them to a file or a pipe")
		}
		flags, selected := os.O_RDONLY, scancode.Set(0)
		if cmd.Flags().Changed("set") {
			flags, selected = os.O_RDWR, scancode.Set(*set)
		}
		d, err := openDevice(deviceOf(args), flags, selected)
		if err != nil {
			return err
		}
		defer d.close()
		write := writeStroke
		switch {
		case *raw:
			d.raw = out
			write = func(io.Writer, stroke) error { return nil }
		case *asJSON:
			write = writeStrokeJSON
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "kbdctl: monitoring %s: type Ctrl-C there to end\n", d.file.Name())
		return monitor(cmd.Context(), d, func(s stroke) error { return write(out, s) })
	}
	return cmd
}

// monitor writes what the device gives until ctx ends or Ctrl-C is typed.
func monitor(ctx context.Context, d *device, write func(stroke) error) error {
	for s, err := range d.strokes(ctx) {
		if err != nil {
			return err
		}
		if err := write(s); err != nil {
			return err
		}
	}
	return nil
}

func writeStroke(out io.Writer, s stroke) error {
	what := eventNames[s.Kind]
	if s.Key != 0 {
		what = fmt.Sprintf("%-16v %s", s.Key, what)
	}
	_, err := fmt.Fprintf(out, "%s  %-18s %s\n", s.at.Format("15:04:05.000"), fmt.Sprintf("% x", s.bytes), what)
	return err
}

// eventNames are what can be done to a key, and what else a keyboard sends.
var eventNames = map[scancode.Kind]string{
	scancode.Press: "press", scancode.Repeat: "repeat", scancode.Release: "release",
	scancode.Overrun: "overrun: keys were lost", scancode.Answer: "answer", scancode.Unknown: "unknown",
}

func writeStrokeJSON(out io.Writer, s stroke) error {
	event, _, _ := strings.Cut(eventNames[s.Kind], ":")
	o := struct {
		Time  time.Time `json:"time"`
		Bytes string    `json:"bytes"`
		Event string    `json:"event"`
		Key   string    `json:"key,omitempty"`
		Code  uint16    `json:"code,omitempty"`
	}{Time: s.at, Bytes: fmt.Sprintf("% x", s.bytes), Event: event, Code: uint16(s.Key)}
	if s.Key != 0 {
		o.Key = s.Key.String()
	}
	return writeJSON(out, o)
}

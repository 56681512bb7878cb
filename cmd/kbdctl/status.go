package main

import (
	"fmt"
	"io"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kbdd/kbd/control"
)

func statusCommand(kbdd func() *control.Client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell who has which device open, and why the console is muted or not",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print what kbdd answers, as JSON")
	follow := cmd.Flags().BoolP("watch", "w", false, "go on, and tell anew at each change")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := cmd.OutOrStdout()
		write := func(st control.Status) error { return writeStatus(out, st, time.Now()) }
		if *asJSON {
			write = func(st control.Status) error { return writeJSON(out, st) }
		}
		if !*follow {
			st, err := kbdd().Status(cmd.Context())
			if err != nil {
				return err
			}
			return write(st)
		}
		for st, err := range kbdd().Watch(cmd.Context()) {
			switch {
			case cmd.Context().Err() != nil:
				return nil // a signal is how this ends
			case err != nil:
				return err
			}
			if err := write(st); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// writeStatus tells why the console is muted or not, then of each holder, then of what is wrong.
func writeStatus(out io.Writer, st control.Status, now time.Time) error {
	if err := writeText(out, console(st), 0); err != nil {
		return err
	}
	var rows [][]string
	for _, d := range st.Devices {
		for _, h := range d.Holders {
			rows = append(rows, []string{
				d.Name, program(h), strconv.Itoa(int(h.PID)), userName(h.UID), listens(h), ago(now.Sub(h.Since)),
				terminalName(h.Terminal), h.Mode, strconv.Itoa(h.Unread), strconv.FormatUint(h.Dropped+h.Overruns, 10),
			})
		}
	}
	if len(rows) > 0 {
		header := []string{"DEV", "PROGRAM", "PID", "USER", "LISTENS", "FOR", "TTY", "MODE", "UNREAD", "LOST"}
		if err := writeTable(out, header, rows); err != nil {
			return err
		}
	}
	for _, k := range st.Keyboards {
		if k.Problem != "" {
			text := fmt.Sprintf("%s (%s) cannot be muted: %s", plain(k.Name), k.Node, plain(k.Problem))
			if err := writeText(out, text, 2); err != nil {
				return err
			}
		}
	}
	return nil
}

// console says in a sentence why the console is muted or not.
func console(st control.Status) string {
	var plugged, heard, shared, muted int
	var devices []string // whose readers hear a keyboard
	for _, k := range st.Keyboards {
		if !k.Plugged {
			continue
		}
		plugged++
		if k.Muted {
			muted++
		}
		if k.Shared {
			shared++
		}
		if k.HeardBy != control.Console {
			heard++
			if !slices.Contains(devices, k.HeardBy) {
				devices = append(devices, k.HeardBy)
			}
		}
	}
	switch {
	case plugged == 0:
		return "No keyboard is plugged in."
	case heard == 0 && muted > 0:
		return "The console gets the keyboard back as soon as no key is down."
	case heard == 0:
		return "The console has " + keyboards(plugged) + ": " + whyNobodyHears(st) + "."
	case heard == shared:
		return "The console is not muted, as the configuration has it: " + whoReads(st, devices) + "."
	case muted == 0:
		return "The console is not muted yet: " + whoReads(st, devices) + "."
	case muted == plugged:
		return "The console is muted: " + whoReads(st, devices) + "."
	}
	return fmt.Sprintf("The console is muted for %d of %d keyboards: %s.", muted, plugged, whoReads(st, devices))
}

func keyboards(n int) string {
	if n == 1 {
		return "the keyboard"
	}
	return fmt.Sprintf("all %d keyboards", n)
}

// whoReads names those who listen on the devices.
func whoReads(st control.Status, devices []string) string {
	var clauses []string
	for _, d := range st.Devices {
		if !slices.Contains(devices, d.Name) {
			continue
		}
		var who []string
		for _, h := range d.Holders {
			if h.Listens {
				who = append(who, named(h))
			}
		}
		verb := "reads"
		if len(who) > 1 {
			verb = "read"
		}
		clauses = append(clauses, fmt.Sprintf("%s %s /dev/%s", enumerate(who), verb, d.Name))
	}
	return strings.Join(clauses, ", ")
}

// whyNobodyHears says what is so with those who have a device open, of whom nobody listens.
func whyNobodyHears(st control.Status) string {
	var clauses []string
	for _, d := range st.Devices {
		for _, h := range d.Holders {
			clauses = append(clauses, fmt.Sprintf("%s has /dev/%s open, but %s", named(h), d.Name, whyNot(st, h)))
		}
	}
	const most = 2
	switch n := len(clauses); {
	case n == 0:
		return "nobody has a device open"
	case n > most:
		clauses = append(clauses[:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(clauses, "; ")
}

// whyNot says why a holder does not listen.
func whyNot(st control.Status, h control.Holder) string {
	switch h.WhyNot {
	case control.WriteOnly:
		return "only to write"
	case control.Released:
		return "it was taken from it"
	case control.Cooked:
		return "leaves it to the console by " + h.Mode
	case control.Behind:
		if st.Terminal == 0 {
			return fmt.Sprintf("from tty%d, which is not on the screen", h.Terminal)
		}
		return fmt.Sprintf("from tty%d, while tty%d is on the screen", h.Terminal, st.Terminal)
	}
	return "does not listen"
}

// listens says the same in a word or two.
func listens(h control.Holder) string {
	switch {
	case h.Listens && h.Mode == "K_OFF":
		return "drops all"
	case h.Listens:
		return "yes"
	case h.WhyNot == control.Behind:
		return "not in front"
	}
	return "no: " + string(h.WhyNot)
}

// enumerate is "a", "a and b", "a, b and c"; of many, the first and their number.
func enumerate(names []string) string {
	const most = 3
	switch n := len(names); {
	case n == 0:
		return "somebody"
	case n == 1:
		return names[0]
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

func named(h control.Holder) string { return fmt.Sprintf("%s (pid %d)", program(h), h.PID) }

func program(h control.Holder) string {
	if h.Command == "" {
		return "?" // the one who opened is gone, and has left the file to another
	}
	return plain(h.Command)
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return u.Username
	}
	return strconv.Itoa(int(uid))
}

func terminalName(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint("tty", n)
}

// ago is a duration as people say it.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

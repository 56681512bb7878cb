package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// sizeOf is the size of a terminal that a person looks at, of 80x24 if it does not tell. Other outputs have none.
func sizeOf(out io.Writer) (columns, rows int, terminal bool) {
	f, ok := out.(*os.File)
	if !ok {
		return 0, 0, false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	_ = raw.Control(func(fd uintptr) {
		if _, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
			return
		}
		columns, rows, terminal = 80, 24, true
		if ws, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil && ws.Col > 0 && ws.Row > 0 {
			columns, rows = int(ws.Col), int(ws.Row)
		}
	})
	return columns, rows, terminal
}

func isTerminal(out io.Writer) bool {
	_, _, terminal := sizeOf(out)
	return terminal
}

// writeTable writes rows of cells: for people in columns under a header, cut off at the edge; else with a tab between two
// cells, and nothing more.
func writeTable(out io.Writer, header []string, rows [][]string) error {
	columns, _, terminal := sizeOf(out)
	var b strings.Builder
	if terminal {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{header}, rows...) {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		w.Flush()
	} else {
		for _, row := range rows {
			fmt.Fprintln(&b, strings.Join(row, "\t"))
		}
	}
	for line := range strings.Lines(b.String()) {
		if runes := []rune(line); terminal && len(runes) > columns {
			line = string(runes[:columns]) + "\n"
		}
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
	}
	return nil
}

// writeText writes a text, for people in lines that fit; all but the first are indented.
func writeText(out io.Writer, text string, indent int) error {
	if columns, _, terminal := sizeOf(out); terminal {
		text = fold(text, columns, indent)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// fold breaks a text between words so that no line is longer than columns, if that can be.
func fold(text string, columns, indent int) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case width+1+n > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			width = indent
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += n
	}
	return b.String()
}

// writeJSON writes v on a line of its own.
func writeJSON(out io.Writer, v any) error { return json.NewEncoder(out).Encode(v) }

// plain is a text from elsewhere with nothing in it that a terminal would obey, or that looks like another cell.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

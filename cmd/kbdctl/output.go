package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
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

// writeTable writes rows of cells: for people in columns under a header; else with a tab between two cells, and nothing more.
func writeTable(out io.Writer, header []string, rows [][]string) error {
	columns, _, terminal := sizeOf(out)
	var lines []string
	if terminal {
		lines = tabulate(append([][]string{header}, rows...), columns)
	} else {
		for _, row := range rows {
			lines = append(lines, strings.Join(row, "\t")+"\n")
		}
	}
	_, err := io.WriteString(out, strings.Join(lines, ""))
	return err
}

// tabulate lays rows out in columns, the first one with the headers. Where they do not fit, the widest cells are cut, so that
// no column is lost, as long as there is room for the headers.
func tabulate(rows [][]string, columns int) (lines []string) {
	const gap = "  "
	widths := make([]int, len(rows[0]))
	total := len(gap) * (len(widths) - 1)
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i]
	}
	for ; total > columns; total-- {
		widest := -1
		for i, w := range widths {
			if w > len(rows[0][i]) && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString(gap)
			}
			cell = cut(cell, widths[i])
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
			}
		}
		line := []rune(b.String())
		lines = append(lines, string(line[:min(len(line), columns)])+"\n")
	}
	return lines
}

// cut is a cell in this width. It shows that something is missing, where the terminal can.
func cut(cell string, width int) string {
	runes := []rune(cell)
	switch {
	case len(runes) <= width:
		return cell
	case hasUTF8():
		return string(runes[:width-1]) + "…"
	}
	return string(runes[:width])
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

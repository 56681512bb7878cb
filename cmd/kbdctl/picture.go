package main

import "strings"

// A picture is characters with attributes, and lines that join where they meet.
type picture struct {
	width, height int
	cells         []cell
	ascii         bool // the terminal has no box-drawing characters
}

type cell struct {
	char  rune // 0: none
	lines byte // those that go from the middle of the cell
	attr  attr
}

// The lines of a cell.
const (
	north = 1 << iota
	east
	south
	west
)

// boxes are the characters for the lines of a cell.
var boxes = [16]rune{
	0: ' ', north | south: '│', east | west: '─', east | south: '┌', south | west: '┐', north | east: '└', north | west: '┘',
	north | east | south: '├', north | south | west: '┤', east | south | west: '┬', north | east | west: '┴',
	north | east | south | west: '┼',
}

// attr is how a key is shown.
type attr byte

const (
	normal attr = iota
	tried       // it has been pressed
	lit         // it is down
)

// The attributes as terminals have them (ECMA-48, SGR); the one for normal ends the others.
var sgr = [...]string{normal: "\x1b[m", tried: "\x1b[32m", lit: "\x1b[1;7m"}

func newPicture(width, height int) *picture {
	return &picture{width: width, height: height, cells: make([]cell, width*height)}
}

func (p *picture) at(x, y int) *cell { return &p.cells[y*p.width+x] }

// box draws the edges of a rectangle, whose corners are in it.
func (p *picture) box(left, top, right, bottom int) {
	for x := left; x < right; x++ {
		for _, y := range []int{top, bottom} {
			p.at(x, y).lines |= east
			p.at(x+1, y).lines |= west
		}
	}
	for y := top; y < bottom; y++ {
		for _, x := range []int{left, right} {
			p.at(x, y).lines |= south
			p.at(x, y+1).lines |= north
		}
	}
}

// fill gives the inside of a rectangle an attribute, and writes a text in the middle of it.
func (p *picture) fill(left, top, right, bottom int, text string, attr attr) {
	for y := top + 1; y < bottom; y++ {
		for x := left + 1; x < right; x++ {
			*p.at(x, y) = cell{char: ' ', attr: attr}
		}
	}
	x, y := left+1+(right-left-1-len(text))/2, (top+bottom)/2
	for i, c := range text {
		p.at(x+i, y).char = c
	}
}

// lines are the picture's, for a terminal.
func (p *picture) lines() []string {
	lines := make([]string, p.height)
	for y := range lines {
		var b strings.Builder
		last := normal
		for x := range p.width {
			c := p.at(x, y)
			if c.attr != last {
				b.WriteString(sgr[normal])
				if c.attr != normal {
					b.WriteString(sgr[c.attr])
				}
				last = c.attr
			}
			b.WriteRune(p.rune(c))
		}
		if last != normal {
			b.WriteString(sgr[normal])
		}
		lines[y] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

func (p *picture) rune(c *cell) rune {
	switch {
	case c.char != 0:
		return c.char
	case !p.ascii:
		return boxes[c.lines]
	case c.lines == 0:
		return ' '
	case c.lines == east|west:
		return '-'
	case c.lines == north|south:
		return '|'
	}
	return '+'
}

// The board's picture for a terminal of so many columns: how wide a key is, or 0 if there is no room.
func unitFor(columns int) int {
	for unit := 6; unit >= 3; unit-- {
		if boardWidth(unit) <= columns {
			return unit
		}
	}
	return 0
}

// between two blocks there is a column.
const blockGap = 2

func boardWidth(unit int) int { return blockStart(keypad, unit) + blockWidth[keypad]*unit + 1 }

func blockStart(b block, unit int) int {
	x := 0
	for before := range b {
		x += blockWidth[before]*unit + blockGap
	}
	return x
}

// drawBoard draws the keyboard, each key as attrOf says.
func drawBoard(unit int, ascii bool, attrOf func(keycap) attr) []string {
	const high = 2 // rows from edge to edge
	p := newPicture(boardWidth(unit), boardRows*high+1)
	p.ascii = ascii
	for _, k := range board {
		start := blockStart(k.block, unit)
		left, right := start+k.x*unit/4, start+(k.x+k.width)*unit/4
		top, bottom := k.row*high, (k.row+k.height)*high
		p.box(left, top, right, bottom)
		p.fill(left, top, right, bottom, k.label(right-left-1), attrOf(k))
	}
	return p.lines()
}

// label is the longest that fits.
func (k *keycap) label(width int) string {
	for _, label := range k.labels {
		if len(label) <= width {
			return label
		}
	}
	return ""
}

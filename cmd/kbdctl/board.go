package main

import (
	"strconv"

	"kbdd/scancode"
)

// The keyboard that show draws: 105 keys, in three blocks. Places and sizes are in quarters of a key, rows in keys.

// A keycap is a key of the drawing.
type keycap struct {
	key           scancode.Key
	block         block
	x, row        int
	width, height int
	labels        []string // from the longest to the shortest
}

type block int

const (
	mainBlock block = iota
	navigation
	keypad
)

// Of the blocks, in keys.
var blockWidth = [...]int{mainBlock: 15, navigation: 3, keypad: 4}

const boardRows = 6

var board = buildBoard()

func buildBoard() []keycap {
	var b boardBuilder
	b.row(mainBlock, 0, 0)
	b.keys(4, scancode.KeyEsc, "Esc", "Es")
	for n := range 12 {
		if n%4 == 0 {
			b.row(mainBlock, 0, 8+18*(n/4))
		}
		b.function(n + 1)
	}
	b.row(mainBlock, 1, 0)
	b.letters("`1234567890-=", scancode.KeyGrave, scancode.Key1)
	b.keys(8, scancode.KeyBackspace, "Backspace", "Back", "<--")
	b.row(mainBlock, 2, 0)
	b.keys(6, scancode.KeyTab, "Tab")
	b.letters("QWERTYUIOP[]", scancode.KeyQ, scancode.KeyW)
	b.keys(6, scancode.KeyBackslash, `\`)
	b.row(mainBlock, 3, 0)
	b.keys(7, scancode.KeyCapsLock, "Caps", "Cap")
	b.letters("ASDFGHJKL;'", scancode.KeyA, scancode.KeyS)
	b.keys(9, scancode.KeyEnter, "Enter", "Ent")
	b.row(mainBlock, 4, 0)
	b.keys(5, scancode.KeyLeftShift, "Shift", "Shi", "Sh")
	b.keys(4, scancode.Key102nd, "<")
	b.letters("ZXCVBNM,./", scancode.KeyZ, scancode.KeyX)
	b.keys(11, scancode.KeyRightShift, "Shift")
	b.bottomRow()
	b.navigation()
	b.keypad()
	return b
}

// A boardBuilder sets one key beside the other.
type boardBuilder []keycap

// row begins a row, or goes on with it at x: a keycap without a key stands for that.
func (b *boardBuilder) row(in block, row, x int) {
	*b = append(*b, keycap{block: in, row: row, x: x, height: 1})
}

// keys sets a key beside the last.
func (b *boardBuilder) keys(width int, key scancode.Key, labels ...string) {
	last := &(*b)[len(*b)-1]
	next := keycap{
		key: key, block: last.block, x: last.x + last.width, row: last.row, width: width, height: 1, labels: labels,
	}
	if last.key == 0 {
		*last = next
		return
	}
	*b = append(*b, next)
}

// letters sets a key for each letter: the first, and those from second on, which have one code after the other.
func (b *boardBuilder) letters(labels string, first, second scancode.Key) {
	for i, label := range labels {
		key := first
		if i > 0 {
			key = second + scancode.Key(i-1)
		}
		b.keys(4, key, string(label))
	}
}

// function sets Fn.
func (b *boardBuilder) function(n int) {
	key := scancode.KeyF1 + scancode.Key(n-1)
	if n > 10 {
		key = scancode.KeyF11 + scancode.Key(n-11)
	}
	number := strconv.Itoa(n)
	b.keys(4, key, "F"+number, number)
}

func (b *boardBuilder) bottomRow() {
	b.row(mainBlock, 5, 0)
	b.keys(5, scancode.KeyLeftCtrl, "Ctrl", "Ctl", "Ct")
	b.keys(5, scancode.KeyLeftMeta, "Meta", "Met", "Me")
	b.keys(5, scancode.KeyLeftAlt, "Alt", "Al")
	b.keys(25, scancode.KeySpace, "Space")
	b.keys(5, scancode.KeyRightAlt, "AltGr", "Alt", "Al")
	b.keys(5, scancode.KeyRightMeta, "Meta", "Met", "Me")
	b.keys(5, scancode.KeyCompose, "Menu", "Mnu", "Mn")
	b.keys(5, scancode.KeyRightCtrl, "Ctrl", "Ctl", "Ct")
}

func (b *boardBuilder) navigation() {
	b.row(navigation, 0, 0)
	b.keys(4, scancode.KeySysRq, "PrtSc", "PrSc", "Prt", "Pr")
	b.keys(4, scancode.KeyScrollLock, "ScrLk", "ScLk", "Scr", "Sc")
	b.keys(4, scancode.KeyPause, "Pause", "Paus", "Pau", "Pa")
	b.row(navigation, 1, 0)
	b.keys(4, scancode.KeyInsert, "Ins", "In")
	b.keys(4, scancode.KeyHome, "Home", "Hom", "Ho")
	b.keys(4, scancode.KeyPageUp, "PgUp", "PgU", "PU")
	b.row(navigation, 2, 0)
	b.keys(4, scancode.KeyDelete, "Del", "De")
	b.keys(4, scancode.KeyEnd, "End", "En")
	b.keys(4, scancode.KeyPageDown, "PgDn", "PgD", "PD")
	b.row(navigation, 4, 4)
	b.keys(4, scancode.KeyUp, "Up")
	b.row(navigation, 5, 0)
	b.keys(4, scancode.KeyLeft, "Left", "Lft", "Lf")
	b.keys(4, scancode.KeyDown, "Down", "Dn")
	b.keys(4, scancode.KeyRight, "Right", "Rgt", "Rt")
}

func (b *boardBuilder) keypad() {
	b.row(keypad, 1, 0)
	b.keys(4, scancode.KeyNumLock, "Num", "Nu")
	b.keys(4, scancode.KeyKPSlash, "/")
	b.keys(4, scancode.KeyKPAsterisk, "*")
	b.keys(4, scancode.KeyKPMinus, "-")
	b.row(keypad, 2, 0)
	b.letters("789", scancode.KeyKP7, scancode.KeyKP8)
	b.keys(4, scancode.KeyKPPlus, "+")
	b.tall()
	b.row(keypad, 3, 0)
	b.letters("456", scancode.KeyKP4, scancode.KeyKP5)
	b.row(keypad, 4, 0)
	b.letters("123", scancode.KeyKP1, scancode.KeyKP2)
	b.keys(4, scancode.KeyKPEnter, "Ent", "En")
	b.tall()
	b.row(keypad, 5, 0)
	b.keys(8, scancode.KeyKP0, "0")
	b.keys(4, scancode.KeyKPDot, ".")
}

// tall makes the last key two rows high.
func (b *boardBuilder) tall() { (*b)[len(*b)-1].height = 2 }

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A place is where a key, a table or an element of a list stands in a file of TOML.
type place struct {
	path string // as keyboards.ignore[1].name
	line int
}

// name is the path without the numbers.
func (p place) name() string { return index.ReplaceAllString(p.path, "") }

var index = regexp.MustCompile(`\[\d+\]`)

// places finds all that stands in a text, in its order. The text must be good: the library has read it, which does not tell
// the places.
func places(text string) []place {
	p := placer{text: text, line: 1, lists: make(map[string]int)}
	table := ""
	for p.skip(); p.pos < len(p.text); p.skip() {
		switch {
		case p.take("[["):
			keys := p.key()
			list := join(p.inside(keys[:len(keys)-1]), keys[len(keys)-1])
			if p.lists[list]++; p.lists[list] == 1 {
				p.note(list)
			}
			table = p.inside(keys)
			p.note(table)
			p.take("]]")
		case p.take("["):
			table = p.inside(p.key())
			p.note(table)
			p.take("]")
		default:
			p.pair(table)
		}
	}
	return p.found
}

// A placer goes through a text.
type placer struct {
	text  string
	pos   int
	line  int            // of pos
	lists map[string]int // how many tables each list has that is written as [[list]]; by its path
	found []place
}

func (p *placer) note(path string) { p.found = append(p.found, place{path, p.line}) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// inside is the path of a table that a header names: of a list it is the last one.
func (p *placer) inside(keys []string) (path string) {
	for _, key := range keys {
		path = join(path, key)
		if n := p.lists[path]; n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
	}
	return path
}

// pair passes a key and its value.
func (p *placer) pair(table string) {
	for _, key := range p.key() {
		table = join(table, key)
		p.note(table)
	}
	p.take("=")
	p.skip()
	p.value(table)
}

func (p *placer) value(path string) {
	switch {
	case p.take("["):
		for i := 0; p.skip() && !p.take("]"); i++ {
			element := fmt.Sprintf("%s[%d]", path, i)
			p.note(element)
			p.value(element)
		}
	case p.take("{"):
		for p.skip() && !p.take("}") {
			p.pair(path)
		}
	case p.at("\""), p.at("'"):
		p.quoted()
	default:
		end := strings.IndexAny(p.text[p.pos:], ",]}#\n")
		if end < 0 {
			end = len(p.text) - p.pos
		}
		p.pos += max(end, 1)
	}
}

// key passes a key, and is its parts.
func (p *placer) key() (parts []string) {
	for {
		p.skip()
		if p.at("\"") || p.at("'") {
			part := p.quoted()
			if strings.ContainsAny(part, ".[]") || part == "" {
				part = strconv.Quote(part) // which is no other's path
			}
			parts = append(parts, part)
		} else {
			end := strings.IndexAny(p.text[p.pos:], " \t\r\n.=]")
			end = max(end, min(1, len(p.text)-p.pos))
			parts = append(parts, p.text[p.pos:p.pos+end])
			p.pos += end
		}
		p.skip()
		if !p.take(".") {
			return parts
		}
	}
}

// quoted passes a string, and is what stands in it, if it is a key.
func (p *placer) quoted() string {
	quote := p.text[p.pos : p.pos+1]
	ends := quote
	if triple := strings.Repeat(quote, 3); p.at(triple) {
		ends = triple
	}
	begin := p.pos
	p.pos += len(ends)
	for p.pos < len(p.text) && !p.at(ends) {
		if p.at("\\") && quote == "\"" {
			p.pos++
		}
		p.step()
	}
	p.pos = min(p.pos+len(ends), len(p.text))
	for len(ends) == 3 && p.take(quote) { // a quote that is the text's last
	}
	whole := p.text[begin:p.pos]
	if text, err := strconv.Unquote(whole); err == nil && quote == "\"" {
		return text
	}
	return strings.Trim(whole, quote)
}

// skip passes what stands between two things. It is false at the end.
func (p *placer) skip() bool {
	for p.pos < len(p.text) && strings.ContainsAny(p.text[p.pos:p.pos+1], " \t\r\n,#") {
		if p.at("#") {
			for p.pos < len(p.text) && !p.at("\n") {
				p.pos++
			}
			continue
		}
		p.step()
	}
	return p.pos < len(p.text)
}

func (p *placer) step() {
	if p.at("\n") {
		p.line++
	}
	p.pos = min(p.pos+1, len(p.text))
}

func (p *placer) at(text string) bool { return strings.HasPrefix(p.text[p.pos:], text) }

func (p *placer) take(text string) bool {
	ok := p.at(text)
	if ok {
		p.pos += len(text)
	}
	return ok
}

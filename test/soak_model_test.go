package test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kbdd/test/machine"
)

// The model. Of kbdd it says this:
//
// A keyboard is heard by its own device if a file there listens, else by kbd0 if one listens there, else by the
// console. When it changes hands, what is held is released for who has heard it so far, and is heard of by nobody from
// then on, until it is pressed anew. (A keyboard that repeats by itself does so after the release that the console was
// told of, and that looks like a press. So on such a keyboard what was held is not heard for half a second more, and the
// soak does not press it again.)
//
// A file listens while it is open for reading, its terminal has the screen, and it is not in K_XLATE. In K_OFF it listens
// and is told nothing. It is told that a key is released if it was told of the press; it is told so too when it does not
// listen any more.

// theConsole is the device number of who hears a keyboard that no file listens to.
const theConsole = -1

func deviceName(device int) string {
	if device == theConsole {
		return "the console"
	}
	return fmt.Sprint("kbd", device)
}

// route gives the keyboards to whom they belong. Each of them takes its own time, so the console hears the releases of
// several keyboards in any order, and repeats between them.
func (s *soak) route() {
	s.letRepeatMeanwhile()
	for _, k := range s.keyboards {
		target := s.hearer(k)
		if !k.plugged() || target == k.target {
			continue
		}
		switch {
		case target == theConsole:
			k.doubtful = nil
		case k.target == theConsole && !k.softRepeat:
			k.doubtful = maps.Clone(k.heard)
		}
		s.forget(k)
		k.target = target
	}
}

// forget releases what is held on a keyboard for who has heard it.
func (s *soak) forget(k *soakKeyboard) {
	for _, key := range slices.Sorted(maps.Keys(k.heard)) {
		s.tell(k, key, false)
	}
	clear(k.heard)
	k.last = 0
}

func (s *soak) hearer(k *soakKeyboard) int {
	for _, device := range []int{k.number, 0} {
		if slices.ContainsFunc(s.readers, func(r *soakReader) bool { return r.device == device && s.listens(r) }) {
			return device
		}
	}
	return theConsole
}

func (s *soak) listens(r *soakReader) bool {
	return r.reads && !r.revoked && r.mode != soakXlate && r.terminal == s.console.active
}

func (s *soak) hears(r *soakReader) bool { return s.listens(r) && r.mode == soakRaw }

// pressed and released are what a finger does. A key that is pressed again is one that repeats.
func (s *soak) pressed(k *soakKeyboard, key machine.Key) {
	s.history[len(s.history)-1] += " " + codeOf(key, true)
	k.held[key], k.heard[key], k.last = true, true, key
	s.tell(k, key, true)
}

func (s *soak) released(k *soakKeyboard, key machine.Key) {
	s.history[len(s.history)-1] += " " + codeOf(key, false)
	// The kernel has the last key repeat no more when any is released, unless a repeat is under way at that moment: it does not
	// wait for the timer, and that goes on (drivers/input/input.c, input_stop_autorepeat).
	if !k.softRepeat || key == k.last {
		k.last = 0
	}
	if k.heard[key] {
		delete(k.heard, key)
		s.tell(k, key, false)
	}
	delete(k.held, key)
}

// tell tells the one who hears the keyboard. All keyboards of a device are one: a key is down while it is down on any.
func (s *soak) tell(k *soakKeyboard, key machine.Key, down bool) {
	if k.target == theConsole {
		s.console.key(key, down)
		s.letRepeat()
		return
	}
	count := s.down[k.target]
	if count == nil {
		count = map[machine.Key]int{}
		s.down[k.target] = count
	}
	before := count[key]
	if down {
		count[key]++
	} else {
		count[key]--
	}
	if before > 0 && count[key] > 0 {
		return
	}
	for _, r := range s.readers {
		if r.device == k.target && s.hears(r) {
			r.key(key, down)
		}
	}
}

// key adds to what the reader should be sent.
func (r *soakReader) key(key machine.Key, down bool) {
	switch {
	case down:
		r.down[key] = true
	case !r.down[key]:
		return
	default:
		delete(r.down, key)
	}
	r.want = append(r.want, []string{codeOf(key, down)})
}

// releaseAll adds the breaks of all that is down, in any order.
func (r *soakReader) releaseAll() {
	var breaks []string
	for key := range r.down {
		breaks = append(breaks, codeOf(key, false))
	}
	clear(r.down)
	r.want = append(r.want, breaks)
}

// got takes a code that the reader was sent.
func (r *soakReader) got(code string) error {
	r.want = slices.DeleteFunc(r.want, func(codes []string) bool { return len(codes) == 0 })
	if len(r.want) > 0 {
		if i := slices.Index(r.want[0], code); i >= 0 {
			r.want[0] = slices.Delete(r.want[0], i, i+1)
			return nil
		}
	}
	return fmt.Errorf("was sent %s, want %v", code, r.want)
}

// codeOf is a key's code in set 1, where it is the key's code in Linux for the keys that AT keyboards had first.
func codeOf(key machine.Key, down bool) string {
	prefix, code := "", byte(key)
	switch key {
	case keyRightCtrl:
		prefix, code = "e0 ", byte(machine.KeyLeftCtrl)
	case keyProbe:
		prefix, code = "e0 ", 0x5b
	}
	if !down {
		code |= 0x80
	}
	return fmt.Sprintf("%s%02x", prefix, code)
}

// switched is told that a terminal has got the screen. Terminals count modifiers anew then.
func (s *soak) switched(terminal int) {
	if s.console.active == terminal {
		return
	}
	var heard []*soakReader
	for _, r := range s.readers {
		if s.listens(r) {
			heard = append(heard, r)
		}
	}
	s.console.active = terminal
	s.console.countModifiers()
	s.letRepeat()
	for _, r := range heard {
		r.releaseAll()
	}
	s.route()
}

// letRepeat allows for what the kernel types by itself: the last key that was pressed of each keyboard, if it is held.
func (s *soak) letRepeat() { s.letRepeatUnder(s.console.state()) }

// letRepeatMeanwhile allows for it while modifiers that are held are being released, it is not known in which order.
func (s *soak) letRepeatMeanwhile() {
	var states []byte
	held := s.console.state()
	for state := range held {
		if state&^held == 0 {
			states = append(states, state)
		}
	}
	s.letRepeatUnder(append(states, held)...)
}

func (s *soak) letRepeatUnder(states ...byte) {
	var texts []string
	for _, k := range s.keyboards {
		if !k.softRepeat || k.target != theConsole || !k.heard[k.last] {
			continue
		}
		for _, state := range states {
			if text := s.console.textUnder(state, k.last); text != "" {
				texts = append(texts, regexp.QuoteMeta(text))
			}
		}
	}
	if len(texts) > 0 {
		s.console.ttys[s.console.active].want += "(?:" + strings.Join(texts, "|") + ")*"
	}
}

// What the kernel's terminals make of keys: drivers/tty/vt/keyboard.c.

// key takes a press, a repeat or a release.
func (c *soakConsole) key(key machine.Key, down bool) {
	repeat := down && c.down[key]
	if down {
		c.down[key] = true
	} else {
		delete(c.down, key)
	}
	if c.entry(c.state(), 0) == noSuchMap {
		c.countModifiers()
		return
	}
	if modifier, ok := c.modifier(key); ok {
		switch {
		case down && !repeat:
			c.modifiers[modifier]++
		case !down && c.modifiers[modifier] > 0:
			c.modifiers[modifier]--
		}
	} else if down {
		c.ttys[c.active].want += regexp.QuoteMeta(c.text(key))
	}
}

// countModifiers has those down that are down. There is one count for all keyboards.
func (c *soakConsole) countModifiers() {
	clear(c.modifiers)
	for key := range c.down {
		if modifier, ok := c.modifier(key); ok {
			c.modifiers[modifier]++
		}
	}
}

// state is the modifiers that are down, in bits.
func (c *soakConsole) state() (bits byte) {
	for modifier, count := range c.modifiers {
		if count > 0 {
			bits |= 1 << modifier
		}
	}
	return bits
}

// The kinds of what is in a key map: include/uapi/linux/keyboard.h.
const (
	latin, special, modifier, meta, letter = 0, 2, 7, 8, 11

	noSuchMap = special<<8 | 127
	enter     = special<<8 | 1
)

func (c *soakConsole) modifier(key machine.Key) (number byte, ok bool) {
	entry := c.entry(0, key)
	return byte(entry), entry>>8 == modifier
}

// text is what a key types under the modifiers that are down.
func (c *soakConsole) text(key machine.Key) string { return c.textUnder(c.state(), key) }

func (c *soakConsole) textUnder(state byte, key machine.Key) string {
	switch entry := c.entry(state, key); {
	case entry == enter:
		return "\r"
	case entry>>8 == latin || entry>>8 == letter:
		return string(rune(entry & 0xff))
	case entry>>8 == meta:
		return "\x1b" + string(rune(entry&0xff))
	}
	return ""
}

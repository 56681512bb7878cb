package scancode

// An Encoder makes the bytes that a keyboard sends for what is done to its keys. It follows which keys are held, for
// PrintScreen, Pause and the grey keys (Insert, Delete, Home, End, PageUp, PageDown, the arrows, the keypad's /) send
// other bytes under Shift, Ctrl, Alt and NumLock.
//
// The zero Encoder is a keyboard in set 1 with no key held and NumLock off.
//
//	a key event --> Append --> how it is made: the code, alone or among fake shifts --> bytes
//	                             |
//	                           sent: how, for its break to undo that and nothing else
type Encoder struct {
	set     Set
	numLock bool
	held    modifiers
	sent    [256]how  // of each key that is held: how its make was sent
	down    [4]uint64 // in bits, the keys of which sent tells something
}

// modifiers are the keys that other keys' bytes depend on.
type modifiers uint8

const (
	leftShift modifiers = 1 << iota
	rightShift
	leftCtrl
	rightCtrl
	leftAlt
	rightAlt

	shift = leftShift | rightShift
	ctrl  = leftCtrl | rightCtrl
	alt   = leftAlt | rightAlt
)

// how tells in what manner a make was sent; 0 is not at all.
type how uint8

const (
	made        how = 1 << iota // always there
	leftLifted                  // after a fake break of the left Shift
	rightLifted                 // after a fake break of the right Shift
	leftFaked                   // after a fake make of the left Shift
	asSysRq                     // PrintScreen under Alt: as SysRq, a key of its own
)

// Reset makes the encoder one of the given set, with no key held. NumLock stays as it is.
func (e *Encoder) Reset(set Set) {
	*e = Encoder{set: set, numLock: e.numLock}
}

// Set tells the set that the encoder is in.
func (e *Encoder) Set() Set { return max(e.set, Set1) }

// SetNumLock tells the encoder the state of the keyboard's NumLock LED, which the grey keys of sets 1 and 2 depend on.
// It is the LED that the host lights with its command ED, not the key: the keyboard does not know what the key means.
func (e *Encoder) SetNumLock(on bool) { e.numLock = on }

// Down tells whether a break is owed for the key: it was pressed, and not released since. It is never so of a key
// without a break.
func (e *Encoder) Down(key Key) bool {
	return int(key) < len(e.sent) && e.sent[key] != 0
}

// note notes how the key's make was sent.
func (e *Encoder) note(key Key, h how) {
	e.sent[key] = h
	if h != 0 {
		e.down[key/64] |= 1 << (key % 64)
	} else {
		e.down[key/64] &^= 1 << (key % 64)
	}
}

// Append appends to dst what the keyboard sends when the key is pressed or released: at most [MaxLen] bytes. It appends
// nothing for a key without a code ([Set.Has]), the release of a key without a break ([Set.Breaks]) and the release
// of a key that is not held. The press of a held key is a repeat, as with [Encoder.AppendRepeat].
func (e *Encoder) Append(dst []byte, key Key, pressed bool) []byte {
	if int(key) >= len(e.sent) {
		return dst
	}
	c, h := codes[e.set][key], e.sent[key]
	switch {
	case c == 0 || !pressed && h == 0:
		return dst
	case c&(modifier|special|once) == 0: // as most keys are
		if pressed {
			e.note(key, made)
		} else {
			e.note(key, 0)
		}
		return e.set.appendCode(dst, c, !pressed)
	case !pressed:
		return e.appendBreak(dst, key, c)
	case h != 0:
		return e.AppendRepeat(dst, key)
	}
	return e.appendMake(dst, key, c)
}

// AppendRepeat appends what the keyboard sends when the held key repeats (typematic): its make once more, without the
// fake shifts, which are in force still. It appends nothing for a key that is not held, so never for Pause, Hangul and
// Hanja. Which key repeats, and when, is the caller's business.
func (e *Encoder) AppendRepeat(dst []byte, key Key) []byte {
	if !e.Down(key) {
		return dst
	}
	c := codes[e.set][key]
	if e.sent[key]&asSysRq != 0 {
		c = sysRq[e.set]
	}
	return e.set.appendCode(dst, c, false)
}

func (e *Encoder) appendMake(dst []byte, key Key, c code) []byte {
	if c&modifier != 0 {
		e.held |= modifierOf(key)
	}
	if key == KeyPause && c&special != 0 {
		return e.appendPause(dst, c)
	}
	var h how
	if c&special != 0 {
		h = e.howSpecial(key)
	}
	if c&once == 0 {
		e.note(key, h|made)
	}
	if h&asSysRq != 0 {
		c = sysRq[e.set]
	}
	dst = e.appendFake(dst, KeyLeftShift, h&leftLifted != 0, true)
	dst = e.appendFake(dst, KeyRightShift, h&rightLifted != 0, true)
	dst = e.appendFake(dst, KeyLeftShift, h&leftFaked != 0, false)
	return e.set.appendCode(dst, c, false)
}

// howSpecial says what PrintScreen or a grey key sends at this moment. The fakes are for software that knows the
// 84-key keyboard only and skips E0: it must see * of the keypad shifted for PrintScreen, an arrow of the keypad with
// neither Shift nor NumLock in force for an arrow, and an unshifted / for the keypad's.
func (e *Encoder) howSpecial(key Key) (h how) {
	switch {
	case key == KeySysRq:
		if e.held&alt != 0 {
			return asSysRq
		}
		if e.held&(shift|ctrl) == 0 {
			return leftFaked
		}
	case key == KeyKPSlash || !e.numLock:
		if e.held&leftShift != 0 {
			h |= leftLifted
		}
		if e.held&rightShift != 0 {
			h |= rightLifted
		}
	case e.held&shift == 0:
		return leftFaked
	}
	return h
}

// appendBreak undoes what the make did. The documents give the breaks with the modifiers as they were at the make
// only; when they changed since, each fake is taken back where the real Shift is not yet as software takes it to be.
func (e *Encoder) appendBreak(dst []byte, key Key, c code) []byte {
	h := e.sent[key]
	e.note(key, 0)
	if c&modifier != 0 {
		e.held &^= modifierOf(key)
	}
	if h&asSysRq != 0 {
		c = sysRq[e.set]
	}
	dst = e.set.appendCode(dst, c, true)
	if h == made {
		return dst
	}
	dst = e.appendFake(dst, KeyLeftShift, h&leftLifted != 0 && e.held&leftShift != 0, false)
	dst = e.appendFake(dst, KeyRightShift, h&rightLifted != 0 && e.held&rightShift != 0, false)
	return e.appendFake(dst, KeyLeftShift, h&leftFaked != 0 && e.held&leftShift == 0, true)
}

// appendFake appends, if so, the make or break of a Shift after the prefix E0, which says that it is none.
func (e *Encoder) appendFake(dst []byte, key Key, so, isBreak bool) []byte {
	if !so {
		return dst
	}
	return e.set.appendCode(dst, codes[e.set][key]|e0, isBreak)
}

// appendPause appends make and break in one go, for Pause has nothing to send at its release. Under Ctrl it is Break:
// the code of ScrollLock with the prefix.
func (e *Encoder) appendPause(dst []byte, c code) []byte {
	if e.held&ctrl != 0 {
		dst = e.set.appendCode(dst, c, false)
		return e.set.appendCode(dst, c, true)
	}
	ctrl, numLock := codes[e.set][KeyLeftCtrl], codes[e.set][KeyNumLock]
	dst = e.set.appendCode(append(dst, prefixE1), ctrl, false)
	dst = e.set.appendCode(dst, numLock, false)
	dst = e.set.appendCode(append(dst, prefixE1), ctrl, true)
	return e.set.appendCode(dst, numLock, true)
}

// The bytes that are no code of a key but announce one.
const (
	prefixE0 = 0xe0
	prefixE1 = 0xe1
	prefixF0 = 0xf0 // a break follows, in sets 2 and 3
)

// sysRq is the code of PrintScreen under Alt. In set 2 it is, as F7's, a byte that the controller's translation has
// twice; software that translates backwards finds 7F.
var sysRq = [...]code{0: 0x54, Set1: 0x54, Set2: 0x84}

// appendCode appends one make or break, with its prefixes.
func (s Set) appendCode(dst []byte, c code, isBreak bool) []byte {
	switch {
	case s == MediumRaw:
		return AppendMediumRaw(dst, Key(c), !isBreak)
	case c&e0 != 0:
		dst = append(dst, prefixE0)
	}
	switch {
	case !isBreak:
		return append(dst, byte(c))
	case s <= Set1:
		return append(dst, byte(c)|0x80)
	}
	return append(dst, prefixF0, byte(c))
}

func modifierOf(key Key) modifiers {
	switch key {
	case KeyLeftShift:
		return leftShift
	case KeyRightShift:
		return rightShift
	case KeyLeftCtrl:
		return leftCtrl
	case KeyRightCtrl:
		return rightCtrl
	case KeyLeftAlt:
		return leftAlt
	case KeyRightAlt:
		return rightAlt
	}
	return 0
}

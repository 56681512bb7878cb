package atkbd

import "kbdd/scancode"

// The host's commands. Every byte from setLEDs up is one; those below are data.
const (
	setLEDs          = 0xed // + the LEDs
	echo             = 0xee
	selectSet        = 0xf0 // + 1, 2 or 3; or 0 to ask
	identify         = 0xf2
	setTypematic     = 0xf3 // + delay and rate
	enable           = 0xf4
	disable          = 0xf5
	restoreDefaults  = 0xf6
	allTypematic     = 0xf7
	allMakeBreak     = 0xf8
	allMake          = 0xf9
	allTypematicMB   = 0xfa
	keyTypematic     = 0xfb // + keys, by their codes in set 3, up to the next command
	keyMakeBreak     = 0xfc // likewise
	keyMake          = 0xfd // likewise
	resend           = 0xfe
	reset            = 0xff
	firstHostCommand = setLEDs
)

// The keyboard's answers.
const (
	acknowledge    = 0xfa
	refuse         = 0xfe // "resend"
	selfTestPassed = 0xaa
	id1, id2       = 0xab, 0x83
	longestAnswer  = 3
)

// A command is how far the keyboard is with what the host has it do.
//
//	       ED F0 F3 FB FC FD            data (of FB, FC, FD: the last)
//	idle ---------------------> awaits -------------------------------> idle
//	                               | any other command: carried out
//	                               +----------------------------------> idle
type command struct {
	awaits  byte // the command whose data byte is to come, or 0
	refused bool // the last byte was refused for lack of room
	last    byte // sent, but for refusals: what FE has sent again
}

// Write tells what the host has written to the keyboard: commands and their data, in pieces of any length. The answers
// can be read behind what can be read already. If too many of them wait there ([AnswerSize]), the keyboard answers FE
// once, and goes on when some have been read: the commands in between are lost.
func (k *Keyboard) Write(p []byte) {
	for _, b := range p {
		k.host(b)
		k.level()
	}
}

func (k *Keyboard) host(b byte) {
	if k.out.answerRoom() < longestAnswer+1 {
		if !k.command.refused {
			k.command.refused = true
			k.answer(refuse)
		}
		return
	}
	k.command.refused = false
	if b < firstHostCommand {
		k.data(b)
		return
	}
	if b != resend {
		k.command.awaits = 0
	}
	k.carryOut(b)
}

// carryOut does what a command byte says. F0 and all from F4 to FD empty the buffer (IBM, Commands from
// the System); unlike hardware the keyboard keeps back the codes without which a key would stay down at the reader.
func (k *Keyboard) carryOut(b byte) {
	switch b {
	case setLEDs, setTypematic:
		k.command.awaits = b
		k.answer(acknowledge)
	case echo:
		k.answer(echo)
	case selectSet, keyTypematic, keyMakeBreak, keyMake:
		k.empty()
		k.command.awaits = b
		k.answer(acknowledge)
	case identify:
		k.answer(acknowledge, id1, id2)
	case enable:
		k.empty()
		k.scanning = true
		k.behind = true // keys may have been released while it did not scan
		k.answer(acknowledge)
	case disable, restoreDefaults:
		k.empty()
		k.setDefaults()
		k.scanning = k.scanning && b != disable
		k.answer(acknowledge)
	case allTypematic, allMakeBreak, allMake, allTypematicMB:
		k.empty()
		k.types.setAll(typeOf(b))
		k.typed = true
		k.answer(acknowledge)
	case resend:
		k.answer(k.command.last)
	case reset:
		k.forgetKeys()
		k.powerOn()
		k.answer(acknowledge, selfTestPassed)
	default: // EF, F1
		k.answer(refuse)
	}
}

// data takes the byte that a command awaits.
func (k *Keyboard) data(b byte) {
	awaits := k.command.awaits
	k.command.awaits = 0
	switch awaits {
	case setLEDs:
		k.SetLEDs(LEDs(b))
	case setTypematic:
		k.repeat.set(b)
	case selectSet:
		switch set := scancode.Set(b); set {
		case 0:
			if set = k.Set(); set == scancode.MediumRaw { // which no keyboard has
				set = scancode.Set1
			}
			k.answer(acknowledge, byte(set))
			return
		case scancode.Set1, scancode.Set2, scancode.Set3:
			k.SelectSet(set) // what is sent in the old set comes before the answer
		default:
			k.answer(refuse)
			return
		}
	case keyTypematic, keyMakeBreak, keyMake:
		key, ok := set3Key(b)
		if !ok {
			k.answer(refuse)
			return
		}
		k.types[key], k.typed = typeOf(awaits), true
		k.command.awaits = awaits
	default:
		k.answer(refuse)
		return
	}
	k.answer(acknowledge)
}

func (k *Keyboard) answer(b ...byte) {
	k.out.push(k.remember(b), 0, answer)
}

// remember notes the last byte of what is sent, for the host may have it sent again. A refusal is not: FE is answered
// by what came before it.
func (k *Keyboard) remember(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] != refuse {
		k.command.last = b[len(b)-1]
	}
	return b
}

// empty empties the buffer as far as the reader is not left with a wrong idea of the keys, and ends typematic.
func (k *Keyboard) empty() {
	k.out.clear(0)
	k.stopRepeat()
}

// setDefaults restores what F5, F6 and the reset do: the set, the types of the keys, delay and rate; not the LEDs.
func (k *Keyboard) setDefaults() {
	k.SelectSet(scancode.Set1)
	k.types, k.typed = defaultTypes, false
	k.repeat.set(defaultTypematic)
}

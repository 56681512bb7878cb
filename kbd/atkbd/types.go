package atkbd

import "kbdd/scancode"

// A keyType says what a key sends in set 3 besides its make. The types are kept in the other sets, and without effect.
type keyType uint8

const (
	sendsBreak keyType = 1 << iota
	sendsRepeats
)

// keyTypes are the types of all keys.
type keyTypes [keyCount]keyType

func (t *keyTypes) setAll(to keyType) {
	for key := range t {
		t[key] = to
	}
}

// typeOf is the type that a command from F7 to FD gives.
func typeOf(command byte) keyType {
	switch command {
	case allTypematic, keyTypematic:
		return sendsRepeats
	case allMakeBreak, keyMakeBreak:
		return sendsBreak
	case allMake, keyMake:
		return 0
	}
	return sendsBreak | sendsRepeats
}

// breaks tells whether the keyboard, as it is set, tells of the key's release.
func (k *Keyboard) breaks(key scancode.Key) bool {
	if k.Set() == scancode.Set3 && k.types[key]&sendsBreak == 0 {
		return false
	}
	return k.Set().Breaks(key)
}

// repeats tells whether the key repeats. Those that have no break do not, but in set 3, where Pause alone does not.
func (k *Keyboard) repeats(key scancode.Key) bool {
	if k.Set() == scancode.Set3 {
		return k.types[key]&sendsRepeats != 0 && key != scancode.KeyPause
	}
	return k.Set().Breaks(key)
}

// defaultTypes are the types at power-on (IBM, Scan Code Set 3, Default Key State). Those keys that IBM's keyboards
// have not send all there is.
var defaultTypes = func() (t keyTypes) {
	t.setAll(sendsBreak | sendsRepeats)
	for _, key := range ibmTypematic {
		t[key] = sendsRepeats
	}
	for _, key := range ibmMakeBreak {
		t[key] = sendsBreak
	}
	for _, key := range ibmMake {
		t[key] = 0
	}
	return t
}()

var (
	ibmTypematic = []scancode.Key{
		scancode.KeyGrave, scancode.Key1, scancode.Key2, scancode.Key3, scancode.Key4, scancode.Key5, scancode.Key6,
		scancode.Key7, scancode.Key8, scancode.Key9, scancode.Key0, scancode.KeyMinus, scancode.KeyEqual,
		scancode.KeyBackspace, scancode.KeyTab, scancode.KeyQ, scancode.KeyW, scancode.KeyE, scancode.KeyR,
		scancode.KeyT, scancode.KeyY, scancode.KeyU, scancode.KeyI, scancode.KeyO, scancode.KeyP,
		scancode.KeyLeftBrace, scancode.KeyRightBrace, scancode.KeyBackslash, scancode.KeyA, scancode.KeyS,
		scancode.KeyD, scancode.KeyF, scancode.KeyG, scancode.KeyH, scancode.KeyJ, scancode.KeyK, scancode.KeyL,
		scancode.KeySemicolon, scancode.KeyApostrophe, scancode.KeyEnter, scancode.Key102nd, scancode.KeyZ,
		scancode.KeyX, scancode.KeyC, scancode.KeyV, scancode.KeyB, scancode.KeyN, scancode.KeyM,
		scancode.KeyComma, scancode.KeyDot, scancode.KeySlash, scancode.KeySpace, scancode.KeyDelete,
		scancode.KeyLeft, scancode.KeyRight, scancode.KeyUp, scancode.KeyDown, scancode.KeyKPPlus,
	}
	ibmMakeBreak = []scancode.Key{
		scancode.KeyCapsLock, scancode.KeyLeftShift, scancode.KeyRightShift, scancode.KeyLeftCtrl,
		scancode.KeyLeftAlt,
	}
	ibmMake = []scancode.Key{
		scancode.KeyEsc, scancode.KeyF1, scancode.KeyF2, scancode.KeyF3, scancode.KeyF4, scancode.KeyF5,
		scancode.KeyF6, scancode.KeyF7, scancode.KeyF8, scancode.KeyF9, scancode.KeyF10, scancode.KeyF11,
		scancode.KeyF12, scancode.KeySysRq, scancode.KeyScrollLock, scancode.KeyPause, scancode.KeyInsert,
		scancode.KeyHome, scancode.KeyPageUp, scancode.KeyEnd, scancode.KeyPageDown, scancode.KeyNumLock,
		scancode.KeyKPSlash, scancode.KeyKPAsterisk, scancode.KeyKPMinus, scancode.KeyKPEnter, scancode.KeyKP0,
		scancode.KeyKP1, scancode.KeyKP2, scancode.KeyKP3, scancode.KeyKP4, scancode.KeyKP5, scancode.KeyKP6,
		scancode.KeyKP7, scancode.KeyKP8, scancode.KeyKP9, scancode.KeyKPDot, scancode.KeyRightCtrl,
		scancode.KeyRightAlt,
	}
)

// set3Key finds the key whose set-3 code the byte is.
func set3Key(b byte) (scancode.Key, bool) {
	var dec scancode.Decoder
	dec.Reset(scancode.Set3)
	ev, ok := dec.Decode(b)
	return ev.Key, ok && ev.Kind == scancode.Press
}

package scancode

import "strconv"

// String gives the kernel's name of the key, KEY_A, or its number where it has no name.
func (k Key) String() string {
	if int(k) < len(keyNames) && keyNames[k] != "" {
		return "KEY_" + keyNames[k]
	}
	return "KEY_" + strconv.Itoa(int(k))
}

// keyNames holds the kernel's names without their KEY_.
var keyNames = [...]string{
	KeyEsc: "ESC", Key1: "1", Key2: "2", Key3: "3", Key4: "4", Key5: "5", Key6: "6", Key7: "7", Key8: "8", Key9: "9",
	Key0: "0", KeyMinus: "MINUS", KeyEqual: "EQUAL", KeyBackspace: "BACKSPACE", KeyTab: "TAB", KeyQ: "Q", KeyW: "W",
	KeyE: "E", KeyR: "R", KeyT: "T", KeyY: "Y", KeyU: "U", KeyI: "I", KeyO: "O", KeyP: "P", KeyLeftBrace: "LEFTBRACE",
	KeyRightBrace: "RIGHTBRACE", KeyEnter: "ENTER", KeyLeftCtrl: "LEFTCTRL", KeyA: "A", KeyS: "S", KeyD: "D",
	KeyF: "F", KeyG: "G", KeyH: "H", KeyJ: "J", KeyK: "K", KeyL: "L", KeySemicolon: "SEMICOLON",
	KeyApostrophe: "APOSTROPHE", KeyGrave: "GRAVE", KeyLeftShift: "LEFTSHIFT", KeyBackslash: "BACKSLASH", KeyZ: "Z",
	KeyX: "X", KeyC: "C", KeyV: "V", KeyB: "B", KeyN: "N", KeyM: "M", KeyComma: "COMMA", KeyDot: "DOT",
	KeySlash: "SLASH", KeyRightShift: "RIGHTSHIFT", KeyKPAsterisk: "KPASTERISK", KeyLeftAlt: "LEFTALT",
	KeySpace: "SPACE", KeyCapsLock: "CAPSLOCK", KeyF1: "F1", KeyF2: "F2", KeyF3: "F3", KeyF4: "F4", KeyF5: "F5",
	KeyF6: "F6", KeyF7: "F7", KeyF8: "F8", KeyF9: "F9", KeyF10: "F10", KeyNumLock: "NUMLOCK",
	KeyScrollLock: "SCROLLLOCK", KeyKP7: "KP7", KeyKP8: "KP8", KeyKP9: "KP9", KeyKPMinus: "KPMINUS", KeyKP4: "KP4",
	KeyKP5: "KP5", KeyKP6: "KP6", KeyKPPlus: "KPPLUS", KeyKP1: "KP1", KeyKP2: "KP2", KeyKP3: "KP3", KeyKP0: "KP0",
	KeyKPDot: "KPDOT", KeyZenkakuHankaku: "ZENKAKUHANKAKU", Key102nd: "102ND", KeyF11: "F11", KeyF12: "F12",
	KeyRo: "RO", KeyKatakana: "KATAKANA", KeyHiragana: "HIRAGANA", KeyHenkan: "HENKAN",
	KeyKatakanaHiragana: "KATAKANAHIRAGANA", KeyMuhenkan: "MUHENKAN", KeyKPJPComma: "KPJPCOMMA",
	KeyKPEnter: "KPENTER", KeyRightCtrl: "RIGHTCTRL", KeyKPSlash: "KPSLASH", KeySysRq: "SYSRQ",
	KeyRightAlt: "RIGHTALT", KeyLineFeed: "LINEFEED", KeyHome: "HOME", KeyUp: "UP", KeyPageUp: "PAGEUP",
	KeyLeft: "LEFT", KeyRight: "RIGHT", KeyEnd: "END", KeyDown: "DOWN", KeyPageDown: "PAGEDOWN", KeyInsert: "INSERT",
	KeyDelete: "DELETE", KeyMacro: "MACRO", KeyMute: "MUTE", KeyVolumeDown: "VOLUMEDOWN", KeyVolumeUp: "VOLUMEUP",
	KeyPower: "POWER", KeyKPEqual: "KPEQUAL", KeyKPPlusMinus: "KPPLUSMINUS", KeyPause: "PAUSE", KeyScale: "SCALE",
	KeyKPComma: "KPCOMMA", KeyHangeul: "HANGEUL", KeyHanja: "HANJA", KeyYen: "YEN", KeyLeftMeta: "LEFTMETA",
	KeyRightMeta: "RIGHTMETA", KeyCompose: "COMPOSE", KeyStop: "STOP", KeyAgain: "AGAIN", KeyProps: "PROPS",
	KeyUndo: "UNDO", KeyFront: "FRONT", KeyCopy: "COPY", KeyOpen: "OPEN", KeyPaste: "PASTE", KeyFind: "FIND",
	KeyCut: "CUT", KeyHelp: "HELP", KeyMenu: "MENU", KeyCalc: "CALC", KeySetup: "SETUP", KeySleep: "SLEEP",
	KeyWakeUp: "WAKEUP", KeyFile: "FILE", KeySendFile: "SENDFILE", KeyDeleteFile: "DELETEFILE", KeyXfer: "XFER",
	KeyProg1: "PROG1", KeyProg2: "PROG2", KeyWWW: "WWW", KeyMSDOS: "MSDOS", KeyCoffee: "COFFEE",
	KeyRotateDisplay: "ROTATE_DISPLAY", KeyCycleWindows: "CYCLEWINDOWS", KeyMail: "MAIL", KeyBookmarks: "BOOKMARKS",
	KeyComputer: "COMPUTER", KeyBack: "BACK", KeyForward: "FORWARD", KeyCloseCD: "CLOSECD", KeyEjectCD: "EJECTCD",
	KeyEjectCloseCD: "EJECTCLOSECD", KeyNextSong: "NEXTSONG", KeyPlayPause: "PLAYPAUSE",
	KeyPreviousSong: "PREVIOUSSONG", KeyStopCD: "STOPCD", KeyRecord: "RECORD", KeyRewind: "REWIND", KeyPhone: "PHONE",
	KeyISO: "ISO", KeyConfig: "CONFIG", KeyHomePage: "HOMEPAGE", KeyRefresh: "REFRESH", KeyExit: "EXIT",
	KeyMove: "MOVE", KeyEdit: "EDIT", KeyScrollUp: "SCROLLUP", KeyScrollDown: "SCROLLDOWN",
	KeyKPLeftParen: "KPLEFTPAREN", KeyKPRightParen: "KPRIGHTPAREN", KeyNew: "NEW", KeyRedo: "REDO", KeyF13: "F13",
	KeyF14: "F14", KeyF15: "F15", KeyF16: "F16", KeyF17: "F17", KeyF18: "F18", KeyF19: "F19", KeyF20: "F20",
	KeyF21: "F21", KeyF22: "F22", KeyF23: "F23", KeyF24: "F24", KeyPlayCD: "PLAYCD", KeyPauseCD: "PAUSECD",
	KeyProg3: "PROG3", KeyProg4: "PROG4", KeyAllApplications: "ALL_APPLICATIONS", KeySuspend: "SUSPEND",
	KeyClose: "CLOSE", KeyPlay: "PLAY", KeyFastForward: "FASTFORWARD", KeyBassBoost: "BASSBOOST", KeyPrint: "PRINT",
	KeyHP: "HP", KeyCamera: "CAMERA", KeySound: "SOUND", KeyQuestion: "QUESTION", KeyEmail: "EMAIL", KeyChat: "CHAT",
	KeySearch: "SEARCH", KeyConnect: "CONNECT", KeyFinance: "FINANCE", KeySport: "SPORT", KeyShop: "SHOP",
	KeyAltErase: "ALTERASE", KeyCancel: "CANCEL", KeyBrightnessDown: "BRIGHTNESSDOWN",
	KeyBrightnessUp: "BRIGHTNESSUP", KeyMedia: "MEDIA", KeySwitchVideoMode: "SWITCHVIDEOMODE",
	KeyKbdIllumToggle: "KBDILLUMTOGGLE", KeyKbdIllumDown: "KBDILLUMDOWN", KeyKbdIllumUp: "KBDILLUMUP",
	KeySend: "SEND", KeyReply: "REPLY", KeyForwardMail: "FORWARDMAIL", KeySave: "SAVE", KeyDocuments: "DOCUMENTS",
	KeyBattery: "BATTERY", KeyBluetooth: "BLUETOOTH", KeyWLAN: "WLAN", KeyUWB: "UWB", KeyUnknown: "UNKNOWN",
	KeyVideoNext: "VIDEO_NEXT", KeyVideoPrev: "VIDEO_PREV", KeyBrightnessCycle: "BRIGHTNESS_CYCLE",
	KeyBrightnessAuto: "BRIGHTNESS_AUTO", KeyDisplayOff: "DISPLAY_OFF", KeyWWAN: "WWAN", KeyRFKill: "RFKILL",
	KeyMicMute: "MICMUTE",
}

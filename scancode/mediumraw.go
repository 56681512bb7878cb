package scancode

// AppendMediumRaw appends the press or release of the key as a console in K_MEDIUMRAW gives it: one byte for the keys
// up to 127, bit 7 set for a release; three for those above, a zero with that bit, then the key code's upper and lower
// seven bits, both with bit 7 set (kbd_keycode in drivers/tty/vt/keyboard.c). Key codes end at 16383 there; of larger
// ones only the lower 14 bits are sent.
func AppendMediumRaw(dst []byte, key Key, pressed bool) []byte {
	var up byte
	if !pressed {
		up = 0x80
	}
	if key < 128 {
		return append(dst, byte(key)|up)
	}
	return append(dst, up, byte(key>>7)|0x80, byte(key)|0x80)
}

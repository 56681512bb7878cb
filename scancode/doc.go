// Package scancode turns keys into AT scancodes and back: sets 1, 2 and 3, and the coding of K_MEDIUMRAW.
//
// It knows no files and no clock, and allocates nothing. Keys are the kernel's key codes, so that an event of evdev goes
// in as it is. An [Encoder] is the keyboard's side, a [Decoder] the software's:
//
//	var enc scancode.Encoder // set 1
//	b = enc.Append(b, scancode.KeyA, true)  // 1e
//	b = enc.Append(b, scancode.KeyA, false) // 9e
//
// # What is sent
//
// What real AT keyboards send, by IBM's PS/2 Hardware Interface Technical Reference (Keyboards, 101- and 102-Key) and
// Microsoft's Keyboard Scan Code Specification; in set 1 this is what a PC's software reads behind the i8042 controller.
// Keys that those do not know have the code that the Linux console gives them in K_RAW. The special keys, in set 1:
//
//	PrintScreen                            E0 2A E0 37                E0 B7 E0 AA
//	PrintScreen under Shift or Ctrl        E0 37                      E0 B7
//	PrintScreen under Alt (SysRq)          54                         D4
//	Pause                                  E1 1D 45 E1 9D C5          nothing
//	Pause under Ctrl (Break)               E0 46 E0 C6                nothing
//	Hangul, Hanja                          F2, F1                     nothing
//	grey key                               E0 xx                      E0 xx|80
//	grey key under NumLock                 E0 2A E0 xx                E0 xx|80 E0 AA
//	grey key under the left Shift          E0 AA E0 xx                E0 xx|80 E0 2A
//	grey key under the right Shift         E0 B6 E0 xx                E0 xx|80 E0 36
//	grey key under both Shifts             E0 AA E0 B6 E0 xx          E0 xx|80 E0 2A E0 36
//	grey key under NumLock and a Shift     E0 xx                      E0 xx|80
//
// The grey keys are Insert, Delete, Home, End, PageUp, PageDown and the arrows; the keypad's / is one as if NumLock were
// always off. A key that repeats sends its code alone, without the fake shifts. Set 2 is the same through the
// controller's translation backwards, but for F7 (83) and Alt+PrintScreen (84). Set 3 has one code a key and no special keys.
//
// A break always undoes its own make: PrintScreen that was pressed under Alt is released as SysRq though Alt is up by then.
// IBM's tables have no such cases.
//
// # What it costs
//
// Nanoseconds for one key event, from the benchmarks, on a 2-core x86-64 virtual machine, the best of many runs; nothing
// is allocated:
//
//	           Encoder  Decoder
//	set 1            8       15
//	set 2            9       17
//	set 3            9       13
//	MediumRaw        7        8
package scancode

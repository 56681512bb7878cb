// Package atkbd is an AT keyboard without the hardware: keys and host bytes in, scancodes out. It has no clock and no files.
//
// What it sends and answers is what the keyboards of IBM's PS/2 Hardware Interface Technical Reference do, one byte after
// the other. Its one liberty there: it wakes up in set 1, not 2, and takes F5, F6 and FF back to that.
//
//	ED leds     FA FA          lights; bit 0 ScrollLock, 1 NumLock, 2 CapsLock
//	EE          EE             echo
//	F0 1|2|3    FA FA          selects the set
//	F0 0        FA FA set      asks for it
//	F0 other    FA FE
//	F2          FA AB 83       identity
//	F3 rate     FA FA          typematic delay and rate
//	F4          FA             scans again
//	F5          FA             defaults; stops to scan
//	F6          FA             defaults
//	F7 to FA    FA             all keys: typematic, make/break, make, all three (felt in set 3 only)
//	FB to FD k… FA FA…         the keys k, by their codes in set 3: typematic, make/break, make
//	FE          the last byte sent, again
//	FF          FA AA          as switched on this moment
//	other       FE
//
// A command where data is awaited is carried out, and the data is awaited no more; FE alone does not disturb. F0 and F4
// to FD empty the buffer of keys and end typematic, as IBM says.
//
// # No key stays down
//
// In the stream every break is behind its make, and every make gets its break, unless the key is of a type without
// breaks. Hardware promises no such thing; so here the keyboard does more than IBM says:
//
//   - When the buffer is emptied, the breaks of keys that the reader knows to be down stay in it, and the makes of those
//     that are down still.
//   - When the set changes, by F0 or with the defaults, the reader gets the breaks of all keys that he knows to be down, in
//     the old set, before the answer. A key that is held is heard of again when it is pressed anew. So it is at the reset.
//   - A key that is pressed while the keyboard does not scan is not heard of until it is pressed anew. One that was down
//     before and is released meanwhile gets its break behind the answer to F4.
//   - When the queue is full ([QueueSize]), keys are lost and one overrun code stands for them: FF in set 1, 00 in sets 2
//     and 3. Once it is half empty, the breaks follow that were lost, and then the makes of those keys that are down by
//     then.
//
// The one exception is a host that asks for it: FE has the last byte sent again, which can be that of a break.
//
// # Where hardware has more time, or less
//
// Answers take their turn behind the codes that are not read yet; hardware, whose host reads at once, sends them first.
// Keys go on while data is awaited, where hardware stops to scan for that moment: here the moment lasts as long as the
// host likes. The self-test takes no time. Repeats are not sent while the reader does not read.
package atkbd

// Package kbd is the keyboard service: devices such as kbd0, their open files, and who hears which keyboard. It knows
// neither the kernel's messages nor the screen; it holds no descriptor.
//
//	Keyboard ──► Service.key ──► Device ──► File ──► atkbd.Keyboard ──► Wake ──► read(2)
//	(press/release)              (merged)   (one open(2))  (scancodes)
//
// A keyboard is muted while a file is open that may read it, and the console's otherwise. It changes hands through
// [Keyboard], which waits for a moment when no key is down; open(2) and the last close(2) wait for it in turn.
//
// Locking: Service.mu guards everything here. It is held for as long as it takes to put a key into the queues, never
// over a call that waits, and never in Wake, which calls back into File.Read.
package kbd

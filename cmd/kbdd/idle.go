//go:build noforcedgc

package main

import (
	"sync/atomic"
	_ "unsafe" // for go:linkname
)

// An idle kbdd never wakes: while nobody types, nothing runs but, once in forcegcperiod/2, the Go runtime's monitor, to see if
// it is time for a collection that nobody has asked for (runtime/proc.go, sysmon). Here that time does not come.
//
// kbdd can do without: garbage is collected when there is as much as ever, that is, with 4 MiB at the latest while less
// than that is in use. A collection by the clock has only those finalizers run earlier on which nothing depends here.
//
// The runtime does not offer this variable, so the linker has to be told -checklinkname=0, and the file stands behind a tag.
// A runtime that has no such variable makes a link error, not a kbdd that wakes.

//go:linkname forcegcperiod runtime.forcegcperiod
var forcegcperiod int64

func init() {
	const century = 100 * 365 * 24 * 3600 * 1e9 // the longest would overflow when the time of day is added to it
	// The monitor runs already. It reads the variable as it is; a 64-bit processor writes it in one go.
	atomic.StoreInt64(&forcegcperiod, century)
}

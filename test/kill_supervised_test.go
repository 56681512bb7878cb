package test

import (
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The faults of a kbdd that is run by "kbdd -supervise": its readers go on, and while it does not run the console types.
var killSupervisedCases = []killCase{
	{name: "supervised kbdd: SIGKILL", until: untilRead, try: killSupervised(func(k *killing, kbdd *supervised) { kbdd.signal(unix.SIGKILL) })},
	{name: "supervised kbdd: SIGSTOP", until: untilRead, short: 1, try: killSupervised(func(k *killing, kbdd *supervised) { kbdd.signal(unix.SIGSTOP) })},
	{name: "supervised kbdd: panic of keyboard's thread", until: untilRead, short: 1, try: killSupervised(breakIn("kbdd/kbd/input.(*stream).take"))},
	{name: "supervised kbdd: panic of requests", until: untilRead, short: 1, try: killSupervised(breakIn("kbdd/cuse.(*Device).dispatch"))},
	{name: "supervised kbdd: /dev/cuse aborted", try: killSupervisedByAbort},
}

const untilRead = "until the next one has the reader read"

// breakIn has a function of the supervised kbdd panic.
func breakIn(function string) func(k *killing, kbdd *supervised) {
	return func(k *killing, kbdd *supervised) { k.breakFunction(kbdd.child(), function) }
}

// killSupervised is a try whose fault is the end of a supervised kbdd.
func killSupervised(fault func(k *killing, kbdd *supervised)) func(k *killing) time.Duration {
	return func(k *killing) time.Duration {
		kbdd := startSupervised(k)
		k.read(startReader(k))
		k.lives = true
		var restarted atomic.Bool
		ready := 0 // the number of the first character that was typed to the next kbdd
		took := k.strike(func() {
			fault(k, kbdd)
			kbdd.awaitReady()
			restarted.Store(true)
		}, func() bool {
			k.consoleTypes()
			if !restarted.Load() {
				return false
			}
			if ready == 0 {
				ready = k.typist.next
			}
			k.hear()
			return k.last(k.stream.text) >= ready
		})
		k.typeUntilHeard()
		k.wantGap()
		k.killReader()
		k.endSupervised(kbdd)
		return took
	}
}

// endSupervised ends kbdd and its supervisor.
func (k *killing) endSupervised(kbdd *supervised) {
	k.Helper()
	if err := kbdd.end(unix.SIGTERM); err != nil {
		k.Errorf("the supervisor ends with %v", err)
	}
	if n := strings.Count(kbdd.log.String(), "msg=ready"); n != 2 {
		k.Errorf("kbdd was started %d times, want 2", n)
	}
}

// killSupervisedByAbort ends the device as well, and with it the reader.
func killSupervisedByAbort(k *killing) time.Duration {
	kbdd := startSupervised(k)
	k.read(startReader(k))
	took := k.strike(func() {
		abortCUSE(k, nil)
		kbdd.awaitReady()
	}, k.consoleTypes)
	k.bury()
	k.wantConsole()
	k.stream = killStream{}
	k.read(startReader(k))
	k.join()
	k.killReader()
	k.endSupervised(kbdd)
	return took
}

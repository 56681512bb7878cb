package test

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The faults of kbdd itself. Each try has a kbdd of its own, which must end.
var killKbddCases = []killCase{
	{name: "kbdd: SIGKILL", try: killKbdd(func(k *killing, kbdd *daemon) { kbdd.cmd.Process.Signal(unix.SIGKILL) })},
	{name: "kbdd: out of memory", begin: limitMemory, try: killKbddOOM},
	{name: "kbdd: /dev/cuse aborted", try: killKbdd(abortCUSE)},
}

// killKbdd is a try whose fault is the end of kbdd.
func killKbdd(fault func(k *killing, kbdd *daemon)) func(k *killing) time.Duration {
	return func(k *killing) time.Duration {
		kbdd := startKbdd(k)
		k.read(startReader(k))
		return k.killKbdd(kbdd, func() { fault(k, kbdd) })
	}
}

// killKbdd has a kbdd end that has a reader.
func (k *killing) killKbdd(kbdd *daemon, fault func()) time.Duration {
	k.Helper()
	took := k.strike(func() {
		fault()
		kbdd.wait(k, "the fault")
	}, k.consoleTypes)
	k.bury() // it has read an error
	k.wantConsole()
	return took
}

func killKbddOOM(k *killing) time.Duration {
	kbdd := startKbddWith(k, k.cgroup.enter)
	k.read(startReader(k))
	return k.killKbdd(kbdd, func() { k.cgroup.exhaust(k) })
}

func abortCUSE(k *killing, _ *daemon) {
	if err := os.WriteFile("/sys/class/cuse/kbd0/abort", []byte("1"), 0); err != nil {
		k.Fatal(err)
	}
}

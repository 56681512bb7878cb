package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The limits. Where they are about time they hold for instructions, of which 1000 are 1 µs: those do not depend on the host.
const (
	maxRatio    = 1.1  // of what a key costs to what it costs at the server in C
	maxKept     = 1.25 // likewise, with what is kept for the next kbdd, which the server in C does not do
	maxResident = 16   // MiB, at any time
	maxReady    = 50   // ms
	maxJoin     = 100  // ms, from the node of a keyboard that is plugged in until it is muted
	maxWatched  = 300  // wake-ups a minute for a watchdog that wants to hear of kbdd each second, while a device is open
	maxSwitch   = 50   // ms, from a switch of terminals until the keyboard is given back
	maxSysRqR   = 50   // ms, from Alt-SysRq-R likewise
)

// check tells all that is beyond its limit, and all that is missing.
func (r *results) check() error {
	var p page
	var broken []error
	fail := func(format string, args ...any) { broken = append(broken, fmt.Errorf(format, args...)) }

	p50 := func(path string) float64 { return p.get(r.Instructions, "Latency/"+path, "p50-us") }
	for _, pair := range []struct {
		path, server string
		most         float64
	}{
		{"kbdd/read", "server/read", maxRatio},
		{"kbdd/poll", "server/poll", maxRatio},
		{"kbdd/epoll", "server/epoll", maxRatio},
		{"kept/read", "server/read", maxKept},
	} {
		kbdd, server := p50(pair.path), p50(pair.server)
		if server > 0 && kbdd > pair.most*server { // 0: it is missing
			fail("%s is %.2f of %s at p50, more than %.2f", pair.path, kbdd/server, pair.server, pair.most)
		}
	}
	if p50("kbdd/read") >= p50("vt") {
		fail("kbdd/read, %s thousand instructions at p50, is not below vt, %s", number(p50("kbdd/read")), number(p50("vt")))
	}
	for _, idle := range idles {
		p.get(r.Instructions, "Idle/"+idle.name, "resident-MiB")
	}
	for _, name := range []string{"nobody", "nobody/deployed"} {
		for _, unit := range []string{"wakeups/min", "syscalls/min"} {
			if n := p.get(r.Instructions, "Idle/"+name, unit); n > 0 {
				fail("Idle/%s has %s %s, more than none", name, number(n), unit)
			}
		}
	}
	for _, name := range []string{"reader", "readers=64"} {
		if n := p.get(r.Instructions, "Idle/"+name, "wakeups/min"); n > 0 {
			fail("Idle/%s has %s wakeups/min, more than none", name, number(n))
		}
		if n := p.get(r.Instructions, "Idle/"+name+"/deployed", "wakeups/min"); n > maxWatched {
			fail("Idle/%s/deployed has %s wakeups/min, more than %d", name, number(n), maxWatched)
		}
	}
	if ready := p.get(r.Instructions, "Start", "ready-ms"); ready > maxReady {
		fail("kbdd is ready after %s ms, more than %d", number(ready), maxReady)
	}
	if join := p.get(r.Instructions, "Change", "join-ms"); join > maxJoin {
		fail("a new keyboard is muted after %s ms, more than %d", number(join), maxJoin)
	}
	if took := p.get(r.Instructions, "Change", "switch-ms"); took > maxSwitch {
		fail("another terminal has the keyboard after %s ms, more than %d", number(took), maxSwitch)
	}
	if took := p.get(r.Instructions, "Change", "sysrq-r-ms"); took > maxSysRqR {
		fail("the console has the keyboard %s ms after Alt-SysRq-R, more than %d", number(took), maxSysRqR)
	}
	for half, all := range map[string]figures{"instructions": r.Instructions, "real time": r.Real} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if resident := all[name]["resident-MiB"]; resident >= maxResident {
				fail("%s by %s: %s MiB are resident, not less than %d", name, half, number(resident), maxResident)
			}
		}
	}
	if r.Real == nil {
		fail("nothing was measured in real time")
	}
	if p.err == nil {
		_, p.err = r.table() // which tells what else is missing
	}
	return errors.Join(append(broken, p.err)...)
}

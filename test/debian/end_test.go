package debian

import (
	"strings"
	"testing"
	"time"
)

// The ends of kbdd while a program reads: systemd has it back, and the reader or the shell goes on.

// kbddIsKilled has systemd start another, which goes on with the device that systemd has kept: the reader notices nothing.
func kbddIsKilled(t *testing.T, alice *person) {
	// In an emulated machine on a busy host all that systemd does takes long: a plain restart tells how long.
	begin := time.Now()
	must(t, "systemctl restart kbdd")
	restart := time.Since(begin)
	alice.reads("codes")
	alice.keyboard.Type("a")
	alice.heard("codes", "1e9e")
	old := show("MainPID")
	begin = time.Now()
	must(t, "systemctl kill -s KILL kbdd")
	waitUntil(t, "the service is back", func() bool {
		return show("ActiveState") == "active" && show("MainPID") != old
	})
	took := time.Since(begin)
	t.Logf("the service is back after %v; to restart it takes %v here", took.Round(time.Millisecond), restart.Round(time.Millisecond))
	if took > 2*time.Second+2*restart {
		t.Errorf("that is more than 2 s, however slow the machine is")
	}
	alice.isMuted()
	alice.keyboard.Type("b")
	alice.heard("codes", "1e9e30b0")
	killReader(t)
	alice.shellGoesOn("killed-kbdd")
}

// kbddPanics ends kbdd as Go ends a program that panics, with a status that had been kbdd's own for a wrong configuration.
func kbddPanics(t *testing.T, alice *person) {
	panics := func() string { return output("journalctl --no-pager -b -u kbdd | grep -c 'status=2/'") }
	if got := panics(); got != "0" {
		t.Errorf("kbdd has ended with status 2 %s times before:\n%s", got, output("journalctl --no-pager -b -u kbdd | grep -B8 'status=2/'"))
	}
	alice.reads("codes")
	old := show("MainPID")
	must(t, "systemctl kill -s QUIT kbdd")
	waitUntil(t, "the service is back", func() bool {
		return show("ActiveState") == "active" && show("MainPID") != old
	})
	if got := panics(); got != "1" {
		t.Errorf("kbdd has ended with status 2 %s times", got)
	}
	alice.isMuted()
	alice.keyboard.Type("b")
	alice.heard("codes", "30b0")
	killReader(t)
	alice.shellGoesOn("panicked-kbdd")
}

func kbddHangs(t *testing.T, alice *person) {
	alice.reads("codes")
	bites := func() string { return output("journalctl --no-pager -b -u kbdd | grep -c 'Watchdog timeout'") }
	if got := bites(); got != "0" {
		t.Errorf("the watchdog has bitten %s times before:\n%s", got, output("journalctl --no-pager -b -u kbdd | grep -B8 'Watchdog timeout'"))
	}
	old := show("MainPID")
	begin := time.Now()
	must(t, "systemctl kill -s STOP kbdd")
	waitUntil(t, "the keyboard is back", func() bool {
		alice.keyboard.Type("#")
		return strings.Contains(alice.screen(), "#")
	})
	took := time.Since(begin)
	t.Logf("the keyboard is back after %v", took.Round(time.Millisecond))
	if took > 5*time.Second {
		t.Errorf("that is more than 5 s")
	}
	waitUntil(t, "the service is back", func() bool {
		return show("ActiveState") == "active" && show("MainPID") != old
	})
	if got := bites(); got != "1" {
		t.Errorf("the watchdog has bitten %s times", got)
	}
	killReader(t)
	alice.shellGoesOn("hung-kbdd")
}

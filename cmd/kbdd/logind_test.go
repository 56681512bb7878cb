package main

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestOnlyLogindIsHeard(t *testing.T) {
	const manager, stranger = ":1.7", ":1.8"
	l := &logind{sleeps: make(chan bool, 1)}
	owner := func(sender, name, after string) {
		l.DeliverSignal("", "", &dbus.Signal{Sender: sender, Name: "org.freedesktop.DBus.NameOwnerChanged", Body: []any{name, "", after}})
	}
	say := func(sender string, body ...any) {
		l.DeliverSignal("", "", &dbus.Signal{Sender: sender, Name: logindManager + ".PrepareForSleep", Body: body})
	}
	want := func(what string, said ...bool) {
		t.Helper()
		var heard []bool
		for len(l.sleeps) > 0 {
			heard = append(heard, <-l.sleeps)
		}
		if len(heard) != len(said) || len(said) > 0 && heard[0] != said[0] {
			t.Errorf("%s: heard %v, want %v", what, heard, said)
		}
	}
	say(manager, true)
	want("before anybody is logind")
	owner("org.freedesktop.DBus", logindName, manager)
	say(manager, true)
	want("logind", true)
	owner(stranger, logindName, stranger)
	owner("org.freedesktop.DBus", "org.example", stranger)
	say(stranger, true)
	say(manager, "true")
	say(manager)
	want("strangers and nonsense")
	say(manager, true)
	say(manager, false)
	want("what it said last", false)
	owner("org.freedesktop.DBus", logindName, "")
	say(manager, true)
	say("", true)
	want("after its end")
}

package main

import (
	"os"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

func TestDescriptorsThatNobodyHasAskedForAreClosed(t *testing.T) {
	descriptor := func() dbus.UnixFD {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return dbus.UnixFD(fd)
	}
	isOpen := func(fd dbus.UnixFD) bool {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return err == nil
	}
	var fds []dbus.UnixFD
	for range 6 {
		fds = append(fds, descriptor())
	}
	body := []any{
		"text", fds[0],
		[]dbus.UnixFD{fds[1]},
		dbus.MakeVariant(fds[2]),
		map[string]dbus.Variant{"key": dbus.MakeVariant([]any{fds[3]})},
		[][]any{{fds[4], uint32(7)}},
		true,
	}
	closeUnasked(&dbus.Message{Type: dbus.TypeMethodReply, Body: body})
	for i, fd := range fds {
		if !isOpen(fd) {
			t.Errorf("descriptor %d of an answer is closed", i)
		}
	}
	closeUnasked(&dbus.Message{Type: dbus.TypeSignal, Body: body})
	for i, fd := range fds {
		if isLast := i == len(fds)-1; isOpen(fd) != isLast {
			t.Errorf("descriptor %d is open: %v", i, !isLast)
		}
	}
	unix.Close(int(fds[len(fds)-1]))
}

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

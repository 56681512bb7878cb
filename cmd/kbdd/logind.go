package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	logindName    = "org.freedesktop.login1"
	logindManager = logindName + ".Manager"

	// askLimit is how long logind may take to answer a question.
	askLimit = 5 * time.Second
)

// A logind is systemd-logind(8), or one that speaks as it does (org.freedesktop.login1(5)).
type logind struct {
	bus     *dbus.Conn
	socket  *busSocket // of bus
	manager dbus.BusObject
	owner   atomic.Pointer[string] // its unique name on the bus, "" while it is not there; nil: not known yet
	sleeps  chan bool              // the machine is about to suspend, or has resumed; what it said last
}

// connectLogind is a connection of our own, which is to be closed.
func connectLogind(ctx context.Context) (*logind, error) {
	l := &logind{sleeps: make(chan bool, 1)}
	bus, socket, err := dialSystemBus(ctx, l)
	if err != nil {
		return nil, err
	}
	l.bus, l.socket, l.manager = bus, socket, bus.Object(logindName, "/org/freedesktop/login1")
	err = errors.Join(
		bus.AddMatchSignal(dbus.WithMatchSender(logindName),
			dbus.WithMatchInterface(logindManager), dbus.WithMatchMember("PrepareForSleep")),
		bus.AddMatchSignal(dbus.WithMatchSender("org.freedesktop.DBus"),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, logindName)))
	if err != nil {
		bus.Close()
		return nil, err
	}
	var owner string
	if bus.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, logindName).Store(&owner) == nil {
		l.owner.CompareAndSwap(nil, &owner) // what DeliverSignal has heard since is newer
	}
	return l, nil
}

// DeliverSignal is called by the connection, with one signal after the other. Anybody on the bus may send us any signal, whatever
// we have asked for; but nobody in another's name.
func (l *logind) DeliverSignal(_, _ string, signal *dbus.Signal) {
	switch signal.Name {
	case "org.freedesktop.DBus.NameOwnerChanged":
		var name, before, after string
		if signal.Sender == "org.freedesktop.DBus" && dbus.Store(signal.Body, &name, &before, &after) == nil && name == logindName {
			l.owner.Store(&after)
		}
	case logindManager + ".PrepareForSleep":
		var begins bool
		owner := l.owner.Load()
		if owner == nil || *owner == "" || signal.Sender != *owner || dbus.Store(signal.Body, &begins) != nil {
			return
		}
		select {
		case <-l.sleeps:
		default:
		}
		l.sleeps <- begins
	}
}

// inhibit has logind wait with suspending until the file is closed, or for as long as its InhibitDelayMaxSec says. While
// the machine is about to suspend logind refuses that: then the file is nil.
func (l *logind) inhibit() (*os.File, error) {
	var index dbus.UnixFDIndex
	err := l.manager.Call(logindManager+".Inhibit", 0,
		"sleep", "kbdd", "to stop the programs that wait for a key", "delay").Store(&index)
	if refused, ok := errors.AsType[dbus.Error](err); ok && refused.Name == logindName+".OperationInProgress" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("logind: %w", err)
	}
	select {
	case inhibitor := <-l.socket.answer:
		return inhibitor, nil
	default:
		return nil, errors.New("logind: there is no inhibitor in its answer")
	}
}

// suspends tells if the machine is about to suspend.
func (l *logind) suspends(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var is bool
	err := l.manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, logindManager, "PreparingForSleep").Store(&is)
	return is, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
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
	manager dbus.BusObject
	owner   atomic.Pointer[string] // its unique name on the bus, "" while it is not there; nil: not known yet
	sleeps  chan bool              // the machine is about to suspend, or has resumed; what it said last
}

// connectLogind is a connection of our own, which is to be closed.
func connectLogind(ctx context.Context) (*logind, error) {
	l := &logind{sleeps: make(chan bool, 1)}
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx), dbus.WithSignalHandler(l), dbus.WithIncomingInterceptor(closeUnasked))
	if err != nil {
		return nil, err
	}
	l.bus, l.manager = bus, bus.Object(logindName, "/org/freedesktop/login1")
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
	var fd dbus.UnixFD
	err := l.manager.Call(logindManager+".Inhibit", 0,
		"sleep", "kbdd", "to stop the programs that wait for a key", "delay").Store(&fd)
	if refused, ok := errors.AsType[dbus.Error](err); ok && refused.Name == logindName+".OperationInProgress" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("logind: %w", err)
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// suspends tells if the machine is about to suspend.
func (l *logind) suspends(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var is bool
	err := l.manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, logindManager, "PreparingForSleep").Store(&is)
	return is, err
}

// closeUnasked closes the descriptors that come with what nobody has asked for.
func closeUnasked(msg *dbus.Message) {
	if msg.Type == dbus.TypeSignal || msg.Type == dbus.TypeMethodCall {
		closeDescriptors(reflect.ValueOf(msg.Body))
	}
}

func closeDescriptors(v reflect.Value) {
	if !v.IsValid() {
		return
	}
	switch is := v.Interface().(type) {
	case dbus.UnixFD:
		unix.Close(int(is))
		return
	case dbus.Variant:
		closeDescriptors(reflect.ValueOf(is.Value()))
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		closeDescriptors(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			closeDescriptors(v.Index(i))
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			closeDescriptors(key)
			closeDescriptors(value)
		}
	}
}

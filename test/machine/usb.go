package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kbdd/test/vm/job"
)

// USB is a USB keyboard that was plugged in.
type USB struct {
	Keyboard
	id      string
	plugged bool
}

// PlugUSB plugs a USB keyboard into one of the machine's sockets, 0 to 2, and waits until the kernel listens to it. It is
// unplugged at the end of the test at the latest. The same socket again is the same keyboard coming back.
func PlugUSB(t testing.TB, socket int) *USB {
	t.Helper()
	if socket < 0 || socket >= job.USBKeyboards {
		t.Fatalf("there is no USB socket %d", socket)
	}
	display := job.USBDisplay(socket)
	k := &USB{id: "keyboard-" + display}
	k.Keyboard = Keyboard{
		t: t, name: k.id,
		find: func(d inputDevice) bool { return d.uniq == k.id },
	}
	k.wire = usbWire{&k.Keyboard, monitor(t), display}
	arguments := map[string]any{
		"driver": "usb-kbd", "id": k.id, "serial": k.id, "bus": "xhci.0", "port": string(rune('1' + socket)), "display": display,
	}
	if err := monitor(t).command("device_add", arguments, nil); err != nil {
		t.Fatal(err)
	}
	k.plugged = true
	t.Cleanup(k.Unplug)
	k.waitNode(true)
	k.waitDriver()
	return k
}

// waitDriver waits until the kernel's driver listens: while it is still setting the keyboard up it drops keys, though the node
// is there (drivers/hid/hid-core.c, driver_input_lock). Reading the serial number takes the lock that is held meanwhile
// (drivers/usb/core/sysfs.c, serial_show).
func (k *USB) waitDriver() {
	k.t.Helper()
	WaitUntil(k.t, "the driver listens to "+k.id, func() bool {
		files, _ := filepath.Glob("/sys/bus/usb/devices/*/serial")
		return slices.ContainsFunc(files, func(file string) bool {
			serial, err := os.ReadFile(file)
			return err == nil && strings.TrimSpace(string(serial)) == k.id
		})
	})
}

// Unplug pulls the keyboard out and waits until the kernel has seen it.
func (k *USB) Unplug() {
	k.t.Helper()
	if !k.plugged {
		return
	}
	k.plugged = false
	if err := k.monitor().command("device_del", map[string]any{"id": k.id}, nil); err != nil {
		k.t.Fatal(err)
	}
	k.waitNode(false)
}

func (k *USB) monitor() *qmp { return monitor(k.t) }

type usbWire struct {
	keyboard *Keyboard
	qmp      *qmp
	display  string
}

// send waits until the kernel's idea of the key is right. At that moment the kernel is about to pass the key on, within an
// interrupt.
func (w usbWire) send(key Key, down bool) error {
	if err := typeKey(w.qmp, key, down, w.display); err != nil {
		return err
	}
	var err error
	seen := poll(func() bool {
		var is bool
		is, err = w.keyboard.down(key)
		return err != nil || is == down
	})
	switch {
	case err != nil:
		return err
	case !seen:
		return errNotTyped
	}
	return interruptsDone()
}

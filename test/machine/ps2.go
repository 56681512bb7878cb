package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// PS2 is the machine's built-in keyboard, behind its i8042 controller. It is always there.
func PS2(t testing.TB) *Keyboard {
	t.Helper()
	return &Keyboard{
		t: t, name: "the PS/2 keyboard", wire: ps2Wire{monitor(t)},
		find: func(d inputDevice) bool { return strings.HasPrefix(d.phys, "isa0060/serio0/") },
	}
}

type ps2Wire struct{ qmp *qmp }

// ps2Pressed tells since when keys are down on the PS/2 keyboard.
var ps2Pressed struct {
	mu    sync.Mutex
	since map[Key]time.Time // guarded by mu
}

// typematicDelay is the time from a press to its first repeat, as the keyboard has it from power-on. The kernel counts on it: it
// takes a repeat within the first half for a key that bounces (drivers/input/keyboard/atkbd.c, "Toshiba").
const typematicDelay = 250 * time.Millisecond

func (w ps2Wire) send(key Key, down bool) error {
	ps2Pressed.mu.Lock()
	defer ps2Pressed.mu.Unlock()
	since, held := ps2Pressed.since[key]
	switch {
	case !down:
		delete(ps2Pressed.since, key)
	case held:
		time.Sleep(time.Until(since.Add(typematicDelay)))
	default:
		if ps2Pressed.since == nil {
			ps2Pressed.since = map[Key]time.Time{}
		}
		ps2Pressed.since[key] = time.Now()
	}
	if err := typeKey(w.qmp, key, down, ""); err != nil {
		return err
	}
	return i8042Drained()
}

// typeKey has QEMU type on the keyboard of a display, or on that of none.
func typeKey(q *qmp, key Key, down bool, display string) error {
	qcode, ok := qcodes[key]
	if !ok {
		return fmt.Errorf("QEMU has no name for it")
	}
	type value struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	type keyEvent struct {
		Down bool  `json:"down"`
		Key  value `json:"key"`
	}
	type event struct {
		Type string   `json:"type"`
		Data keyEvent `json:"data"`
	}
	return q.command("input-send-event", struct {
		Device string  `json:"device,omitempty"`
		Events []event `json:"events"`
	}{display, []event{{"key", keyEvent{down, value{"qcode", qcode}}}}}, nil)
}

// i8042Drained waits until the kernel has taken, and passed on, all that the PS/2 keyboard sent.
//
// QEMU has put the bytes into the controller's queue when it answers, and shows by the status register's "output buffer
// full" if some are left. Reading that register changes nothing. The kernel takes a byte and passes the key that it makes
// on to everyone within one interrupt, so when the buffer is empty at most the last interrupt is under way. This holds with
// a grab, with serio_raw, and with keys that no one hears.
func i8042Drained() error {
	const statusPort, outputFull = 0x64, 1
	fd, err := unix.Open("/dev/port", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/port", Err: err}
	}
	defer unix.Close(fd)
	var status [1]byte
	drained := poll(func() bool {
		_, err = unix.Pread(fd, status[:], statusPort)
		return err != nil || status[0]&outputFull == 0
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the status of the i8042: %w", err)
	case !drained:
		return errNotTyped
	}
	return interruptsDone()
}

// RawPS2 is the wire of the PS/2 keyboard: the bytes as the controller gives them, and bytes to the keyboard.
type RawPS2 struct {
	t  testing.TB
	fd int
}

const (
	ps2Driver = "/sys/bus/serio/devices/serio0/drvctl"
	rawNodes  = "/dev/serio_raw*" // the kernel numbers it anew each time (drivers/input/serio/serio_raw.c)
)

// OpenRawPS2 takes the PS/2 keyboard away from the kernel's keyboard driver until the test ends. What PS2 types meanwhile
// comes as bytes, and nothing else hears it.
func OpenRawPS2(t testing.TB) *RawPS2 {
	t.Helper()
	bind := func(driver string) {
		if err := os.WriteFile(ps2Driver, []byte(driver), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		bind("atkbd")
		PS2(t).waitNode(true)
	})
	bind("serio_raw")
	r := &RawPS2{t: t}
	WaitUntil(t, rawNodes+" is there", func() (there bool) {
		found, _ := filepath.Glob(rawNodes)
		if len(found) != 1 {
			return false
		}
		var err error
		r.fd, err = unix.Open(found[0], unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err == nil
	})
	t.Cleanup(func() { unix.Close(r.fd) })
	r.Bytes() // what answered the driver's questions
	return r
}

// Bytes are those that have come since the last call.
func (r *RawPS2) Bytes() []byte {
	r.t.Helper()
	if err := i8042Drained(); err != nil {
		r.t.Fatal(err)
	}
	var all []byte
	for {
		var buf [64]byte
		n, err := unix.Read(r.fd, buf[:])
		switch {
		case err == unix.EAGAIN || err == nil && n == 0:
			return all
		case err != nil && err != unix.EINTR:
			r.t.Fatalf("read %s: %v", rawNodes, err)
		}
		all = append(all, buf[:max(n, 0)]...)
	}
}

// Send sends bytes to the keyboard, one after the other, and returns what it answers.
func (r *RawPS2) Send(command ...byte) []byte {
	r.t.Helper()
	var answer []byte
	for _, b := range command {
		if _, err := unix.Write(r.fd, []byte{b}); err != nil {
			r.t.Fatalf("write %#02x to %s: %v", b, rawNodes, err)
		}
		answer = append(answer, r.Bytes()...)
	}
	return answer
}

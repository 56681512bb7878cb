package machine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Keyboard is a keyboard of the machine. Its methods fail the test if they cannot do what they should.
type Keyboard struct {
	t    testing.TB
	name string // for messages
	wire wire
	find func(inputDevice) bool // which of the kernel's input devices is it
}

// wire is what carries a keyboard's key presses to the kernel.
type wire interface {
	// send sends one press or release, and returns once the kernel's listeners have it.
	send(key Key, down bool) error
}

// Press presses a key. For one that is down already a PS/2 keyboard sends the next repeat, but not before the typematic delay is
// over. (For other keyboards the kernel repeats by itself.)
func (k *Keyboard) Press(key Key) { k.t.Helper(); k.send(key, true) }

// Release releases a key.
func (k *Keyboard) Release(key Key) { k.t.Helper(); k.send(key, false) }

func (k *Keyboard) send(key Key, down bool) {
	k.t.Helper()
	if err := k.wire.send(key, down); err != nil {
		k.t.Fatalf("%s: key %d: %v", k.name, key, err)
	}
}

// Tap presses and releases a key.
func (k *Keyboard) Tap(key Key) {
	k.t.Helper()
	k.Press(key)
	k.Release(key)
}

// Chord presses keys one after the other and releases them in the opposite order.
func (k *Keyboard) Chord(keys ...Key) {
	k.t.Helper()
	for _, key := range keys {
		k.Press(key)
	}
	for i := range keys {
		k.Release(keys[len(keys)-1-i])
	}
}

// Type types a text, on the layout of the United States, with Shift where it takes it.
func (k *Keyboard) Type(text string) {
	k.t.Helper()
	for _, char := range text {
		key, shift, err := KeyFor(char)
		if err != nil {
			k.t.Fatal(err)
		}
		if shift {
			k.Chord(KeyLeftShift, key)
		} else {
			k.Tap(key)
		}
	}
}

// Node is the keyboard's device file, /dev/input/eventN.
func (k *Keyboard) Node() string {
	k.t.Helper()
	node, err := k.node()
	if err != nil {
		k.t.Fatal(err)
	}
	return node
}

func (k *Keyboard) node() (string, error) {
	devices, err := inputDevices()
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		if k.find(d) {
			return d.node, nil
		}
	}
	return "", fmt.Errorf("%s: the kernel has no such input device", k.name)
}

// waitNode waits until the kernel has made the keyboard's node, or taken it away.
func (k *Keyboard) waitNode(there bool) {
	k.t.Helper()
	what := "the kernel lets go of " + k.name
	if there {
		what = "the kernel finds " + k.name
	}
	WaitUntil(k.t, what, func() bool {
		_, err := k.node()
		return (err == nil) == there
	})
}

// LED is a set of a keyboard's lights.
type LED uint8

// The lights, by their bits as evdev numbers them.
const (
	NumLock LED = 1 << iota
	CapsLock
	ScrollLock
)

// LEDs are the lights that the kernel has on.
func (k *Keyboard) LEDs() LED {
	k.t.Helper()
	var bits [8]byte
	if err := k.query('E', 0x19, bits[:]); err != nil { // EVIOCGLED
		k.t.Fatal(err)
	}
	return LED(bits[0])
}

// Down says if the kernel has a key of this keyboard as pressed. A grab does not hide that.
func (k *Keyboard) Down(key Key) bool {
	k.t.Helper()
	down, err := k.down(key)
	if err != nil {
		k.t.Fatal(err)
	}
	return down
}

func (k *Keyboard) down(key Key) (bool, error) {
	var bits [96]byte
	err := k.query('E', 0x18, bits[:]) // EVIOCGKEY
	return bits[key/8]>>(key%8)&1 != 0, err
}

// query does an ioctl that reads into buf from the keyboard's node, which is open for that moment only.
func (k *Keyboard) query(kind, number uintptr, buf []byte) error {
	node, err := k.node()
	if err != nil {
		return err
	}
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: node, Err: err}
	}
	defer unix.Close(fd)
	const read = 2
	request := read<<30 | uintptr(len(buf))<<16 | kind<<8 | number
	return ioctl(fd, request, unsafe.Pointer(unsafe.SliceData(buf)))
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return fmt.Errorf("ioctl %#x: %w", request, errno)
	}
	return nil
}

// inputDevice is what /proc/bus/input/devices tells of one.
type inputDevice struct {
	name, phys, uniq string
	node             string // /dev/input/eventN
}

func inputDevices() ([]inputDevice, error) {
	text, err := os.ReadFile("/proc/bus/input/devices")
	if err != nil {
		return nil, err
	}
	return parseInputDevices(text), nil
}

// parseInputDevices reads blocks of lines, an empty one after each.
func parseInputDevices(text []byte) []inputDevice {
	var all []inputDevice
	var d inputDevice
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if line == "" {
			all = append(all, d)
			d = inputDevice{}
			continue
		}
		_, field, _ := strings.Cut(line, ": ")
		switch name, value, _ := strings.Cut(field, "="); name {
		case "Name":
			d.name = strings.Trim(value, `"`)
		case "Phys":
			d.phys = value
		case "Uniq":
			d.uniq = value
		case "Handlers":
			for _, handler := range strings.Fields(value) {
				if strings.HasPrefix(handler, "event") {
					d.node = "/dev/input/" + handler
				}
			}
		}
	}
	return all
}

var errNotTyped = errors.New("the kernel has not taken it within " + Limit.String())

// interruptsDone returns once every interrupt that was being served at the call has been served. An interrupt holds up
// an RCU grace period, and this call of membarrier is one (kernel/sched/membarrier.c, MEMBARRIER_CMD_GLOBAL).
func interruptsDone() error {
	const global = 1
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		return os.NewSyscallError("membarrier", errno)
	}
	return nil
}

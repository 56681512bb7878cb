package machine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Uinput is a keyboard made by the test itself, with any keys.
type Uinput struct {
	Keyboard
	fd    int
	shown LED
}

// UinputConfig says what keyboard to make.
type UinputConfig struct {
	Name string
	Phys string // its place, by which it is known when it comes back; "": one of its own
	Keys []Key  // and buttons; all of 1 to 255 if it has neither keys nor axes
	LEDs LED    // the lights that it has
	// Its axes: relative ones, REL_*, as those of a mouse, and absolute ones, ABS_*, which go from 0 to 15.
	Rel, Abs []uint16
	// Repeats says that the kernel is to repeat held keys, as it does for USB keyboards.
	Repeats bool
}

// Event types and ioctl numbers, from <linux/input-event-codes.h> and <linux/uinput.h>.
const (
	evSyn, evKey, evRel, evAbs, evLED, evRep = 0x00, 0x01, 0x02, 0x03, 0x11, 0x14
	relX, relY                               = 0x00, 0x01

	uiDevCreate, uiDevDestroy            = 0x5501, 0x5502
	uiSetEvBit, uiSetKeyBit, uiSetLEDBit = 0x40045564, 0x40045565, 0x40045569
	uiSetRelBit, uiAbsSetup              = 0x40045566, 0x401c5504
	uiDevSetup, uiSetPhys                = 0x405c5503, 0x4008556c

	busUSB = 0x03
)

// uinputSetup is the kernel's struct uinput_setup.
type uinputSetup struct {
	bus, vendor, product, version uint16
	name                          [80]byte
	effects                       uint32
}

// uinputAbsSetup is the kernel's struct uinput_abs_setup.
type uinputAbsSetup struct {
	code, _                                         uint16
	value, minimum, maximum, fuzz, flat, resolution int32
}

var (
	_ [92]byte = [unsafe.Sizeof(uinputSetup{})]byte{}
	_ [28]byte = [unsafe.Sizeof(uinputAbsSetup{})]byte{}
)

// event is the kernel's struct input_event on 64 bits.
type event struct {
	Seconds, Microseconds int64
	Type, Code            uint16
	Value                 int32
}

// NewUinput makes a keyboard, and waits until its node is there. It goes away when the test ends at the latest.
func NewUinput(t testing.TB, config UinputConfig) *Uinput {
	t.Helper()
	fd, err := unix.Open("/dev/uinput", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/uinput: %v", err)
	}
	k := &Uinput{fd: fd}
	phys := cmp.Or(config.Phys, fmt.Sprintf("uinput-%d-%d", os.Getpid(), fd))
	k.Keyboard = Keyboard{
		t: t, name: config.Name, wire: uinputWire{k},
		find: func(d inputDevice) bool { return d.phys == phys },
	}
	t.Cleanup(k.Destroy)
	if err := k.create(config, phys); err != nil {
		t.Fatalf("make the keyboard %q: %v", config.Name, err)
	}
	k.waitNode(true)
	return k
}

func (k *Uinput) create(config UinputConfig, phys string) error {
	var err error
	set := func(request uint, bit int) {
		if err == nil {
			err = unix.IoctlSetInt(k.fd, request, bit)
		}
	}
	set(uiSetEvBit, evKey)
	keys := config.Keys
	if len(config.Keys)+len(config.Rel)+len(config.Abs) == 0 {
		for key := Key(1); key <= 255; key++ {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		set(uiSetKeyBit, int(key))
	}
	for led := range 8 {
		if config.LEDs>>led&1 != 0 {
			set(uiSetEvBit, evLED)
			set(uiSetLEDBit, led)
		}
	}
	if config.Repeats {
		set(uiSetEvBit, evRep)
	}
	for _, code := range config.Rel {
		set(uiSetEvBit, evRel)
		set(uiSetRelBit, int(code))
	}
	for _, code := range config.Abs {
		set(uiSetEvBit, evAbs)
		if err == nil {
			err = ioctl(k.fd, uiAbsSetup, unsafe.Pointer(&uinputAbsSetup{code: code, maximum: 15}))
		}
	}
	if err != nil {
		return err
	}

	place := append([]byte(phys), 0)
	if err := ioctl(k.fd, uiSetPhys, unsafe.Pointer(unsafe.SliceData(place))); err != nil {
		return err
	}
	setup := uinputSetup{bus: busUSB, vendor: 0x1d6b, product: 1, version: 1}
	copy(setup.name[:len(setup.name)-1], config.Name)
	if err := ioctl(k.fd, uiDevSetup, unsafe.Pointer(&setup)); err != nil {
		return err
	}
	return unix.IoctlSetInt(k.fd, uiDevCreate, 0)
}

// Destroy takes the keyboard away, as if it were unplugged, and waits until the kernel has seen it.
func (k *Uinput) Destroy() {
	k.t.Helper()
	if k.fd < 0 {
		return
	}
	unix.Close(k.fd)
	k.fd = -1
	k.waitNode(false)
}

// File is the keyboard for another process to type on, which must be gone before the keyboard can be.
func (k *Uinput) File() *os.File {
	k.t.Helper()
	fd, err := unix.FcntlInt(uintptr(k.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		k.t.Fatalf("%s: dup: %v", k.name, err)
	}
	return os.NewFile(uintptr(fd), k.name)
}

// Shown are the lights that are lit on the keyboard, as it was told.
func (k *Uinput) Shown() LED {
	k.t.Helper()
	for {
		var buf [unsafe.Sizeof(event{})]byte
		_, err := unix.Read(k.fd, buf[:])
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return k.shown
		default:
			k.t.Fatalf("read /dev/uinput: %v", err)
		}
		var e event
		if _, err := binary.Decode(buf[:], binary.NativeEndian, &e); err != nil {
			k.t.Fatal(err)
		}
		switch {
		case e.Type == evLED && e.Value != 0:
			k.shown |= 1 << e.Code
		case e.Type == evLED:
			k.shown &^= 1 << e.Code
		}
	}
}

// Move moves the mouse that it is as well: its axes 0 and 1.
func (k *Uinput) Move(x, y int32) {
	k.t.Helper()
	if err := k.report(event{Type: evRel, Code: relX, Value: x}, event{Type: evRel, Code: relY, Value: y}); err != nil {
		k.t.Fatalf("%s: move: %v", k.name, err)
	}
}

// report writes events and the end of the report. The kernel passes them on within the write.
func (k *Uinput) report(events ...event) error {
	var report bytes.Buffer
	for _, e := range append(events, event{Type: evSyn}) {
		if err := binary.Write(&report, binary.NativeEndian, e); err != nil {
			return err
		}
	}
	_, err := unix.Write(k.fd, report.Bytes())
	return err
}

type uinputWire struct{ keyboard *Uinput }

func (w uinputWire) send(key Key, down bool) error {
	value := int32(0)
	if down {
		value = 1
	}
	return w.keyboard.report(event{Type: evKey, Code: uint16(key), Value: value})
}

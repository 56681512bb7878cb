package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// keyProbe types nothing on the console, and is sent to readers. It tells if they hear a keyboard.
const (
	keyRightCtrl machine.Key = 97
	keyProbe     machine.Key = 125 // the left Windows key
	probeMake                = "e0 5b"
	probeBreak               = "e0 db"
)

// A soakKeyboard is one that may be plugged in, and what the model knows of it.
type soakKeyboard struct {
	*machine.Keyboard // nil while it is not plugged in
	name              string
	connect           func() (k *machine.Keyboard, disconnect func())
	disconnect        func() // nil: it stays for good
	softRepeat        bool   // it is the kernel that repeats held keys
	watch             int    // the keyboard's node

	number int                  // of its own device
	target int                  // the device that hears it, or theConsole
	fresh  bool                 // it was not seen yet that kbdd knows of it
	held   map[machine.Key]bool // by fingers
	heard  map[machine.Key]bool // those that target takes to be down
	last   machine.Key          // the one that repeats, if it is heard

	doubtful map[machine.Key]bool // those that were down when it was taken from the console; see the model
}

func soakKeyboards(t testing.TB) []*soakKeyboard {
	ps2 := func() (*machine.Keyboard, func()) { return machine.PS2(t), nil }
	usb := func() (*machine.Keyboard, func()) {
		k := machine.PlugUSB(t, 0)
		return &k.Keyboard, k.Unplug
	}
	made := func() (*machine.Keyboard, func()) {
		k := machine.NewUinput(t, machine.UinputConfig{Name: "soak keyboard", Repeats: true})
		return &k.Keyboard, k.Destroy
	}
	return []*soakKeyboard{
		{name: "PS/2", connect: ps2, target: theConsole},
		{name: "USB", connect: usb, target: theConsole, softRepeat: true},
		{name: "uinput", connect: made, target: theConsole, softRepeat: true},
	}
}

func (k *soakKeyboard) plugged() bool { return k.Keyboard != nil }

// plug plugs a keyboard in and waits until it is heard by whom it should be.
func (s *soak) plug(k *soakKeyboard) {
	s.t.Helper()
	k.Keyboard, k.disconnect = k.connect()
	k.held, k.heard = map[machine.Key]bool{}, map[machine.Key]bool{}
	var err error
	if k.watch, err = unix.Open(k.Node(), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		s.t.Fatal(err)
	}
	place, err := os.ReadFile(filepath.Join("/sys/class/input", filepath.Base(k.Node()), "device/phys"))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.numbers[string(place)] == 0 {
		s.numbers[string(place)] = len(s.numbers) + 1
	}
	k.number, k.target, k.fresh = s.numbers[string(place)], theConsole, true
	device := "/dev/" + deviceName(k.number)
	machine.WaitUntil(s.t, device+" is there", func() bool { _, err := os.Stat(device); return err == nil })
	s.route()
	s.settle()
}

func (s *soak) unplug(k *soakKeyboard) {
	s.t.Helper()
	k.disconnect()
	unix.Close(k.watch)
	s.forget(k)
	k.Keyboard, k.target = nil, theConsole
}

// muted tells if somebody has grabbed the keyboard.
func (k *soakKeyboard) muted() bool { return isGrabbed(k.watch) }

// isGrabbed tells if somebody has grabbed a node, of which this is a non-blocking descriptor: then an event that is put into it
// does not come out. This one means nothing to anybody.
func isGrabbed(fd int) bool {
	const synConfig = 1
	type event struct {
		Time       [2]int64
		Type, Code uint16
		Value      int32
	}
	var buf [64 * unsafe.Sizeof(event{})]byte
	read := func() (int, error) { return unix.Read(fd, buf[:]) }
	for n := 1; n > 0; {
		n, _ = uninterrupted(read)
	}
	var text bytes.Buffer
	for _, code := range []uint16{synConfig, 0} {
		_ = binary.Write(&text, binary.NativeEndian, event{Code: code})
	}
	uninterrupted(func() (int, error) { return unix.Write(fd, text.Bytes()) })
	n, _ := uninterrupted(read)
	for ; n > 0; n -= int(unsafe.Sizeof(event{})) {
		var e event
		if _, err := binary.Decode(buf[n-int(unsafe.Sizeof(e)):n], binary.NativeEndian, &e); err == nil && e.Type == 0 && e.Code == synConfig {
			return false
		}
	}
	return true
}

// settle waits until the keyboards have changed hands, where nothing else tells.
func (s *soak) settle() {
	s.t.Helper()
	for _, k := range s.keyboards {
		if !k.plugged() {
			continue
		}
		what := fmt.Sprintf("%s is heard by %s", k.name, deviceName(k.target))
		machine.WaitUntil(s.t, what, func() bool { return k.muted() == (k.target != theConsole) })
		if k.target != theConsole {
			k.fresh = false
			machine.WaitUntil(s.t, what, func() bool { return s.probe(k) })
		}
	}
	machine.WaitUntil(s.t, "the console has modifiers right", func() bool { return s.console.shiftState() == s.console.state() })
}

// probe tells if all readers hear the keyboard who should, and no others.
func (s *soak) probe(k *soakKeyboard) bool {
	s.t.Helper()
	k.last = 0
	k.Tap(keyProbe)
	const enough = 200 * time.Millisecond // where it is not, the next try tells
	deadline := time.Now().Add(enough)
	right := false
	for !right && time.Now().Before(deadline) {
		right = true
		for _, r := range s.readers {
			if wants := r.device == k.target && s.hears(r); wants && !r.probed {
				right = false
				if err := r.receive(time.Until(deadline)); err != nil {
					s.t.Fatalf("%s %v", r, err)
				}
			}
		}
	}
	for _, r := range s.readers {
		if err := r.receiveAll(); err != nil {
			s.t.Fatalf("%s %v", r, err)
		}
		right = right && r.probed == (r.device == k.target && s.hears(r))
		r.probed = false
	}
	return right
}

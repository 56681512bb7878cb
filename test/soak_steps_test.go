package test

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// soakSteps are what may be done. A step does nothing, and says so, if it makes no sense now.
var soakSteps = []struct {
	weight int
	do     func(*soak) bool
}{
	{20, (*soak).stepPress},
	{20, (*soak).stepRelease},
	{20, (*soak).stepBurst},
	{3, (*soak).stepRepeat},
	{4, (*soak).stepReleaseAll},
	{6, (*soak).stepOpen},
	{3, (*soak).stepOpenNonblock},
	{1, (*soak).stepOpenWriteOnly},
	{2, (*soak).stepStartProcess},
	{8, (*soak).stepEnd},
	{3, (*soak).stepMode},
	{2, (*soak).stepSet},
	{2, (*soak).stepSwitch},
	{3, (*soak).stepCtrlAltFn},
	{1, (*soak).stepCtrlAltDel},
	{2, (*soak).stepPlug},
	{2, (*soak).stepUnplug},
	{2, (*soak).stepSwitchOpen},
	{2, (*soak).stepSysRqR},
	{4, (*soak).stepTypeThrough},
}

// soakKeys are typed: letters and digits, and a few modifiers, of which none does anything with another but to type.
var soakKeys = []machine.Key{
	16, 17, 18, 19, 30, 31, 32, 33, 44, 45, 46, 2, 3, 28, 57,
	machine.KeyLeftShift, 54, machine.KeyLeftCtrl, keyRightCtrl, machine.KeyLeftAlt,
}

const maxHeld = 4 // on each keyboard; USB keyboards tell of six at a time

// keyboard is one of those that are plugged in.
func (s *soak) keyboard() *soakKeyboard {
	var plugged []*soakKeyboard
	for _, k := range s.keyboards {
		if k.plugged() {
			plugged = append(plugged, k)
		}
	}
	return plugged[s.rand.IntN(len(plugged))]
}

// pick is one of the keys of a set, and none if there are none.
func (s *soak) pick(keys map[machine.Key]bool) (key machine.Key, ok bool) {
	if len(keys) == 0 {
		return 0, false
	}
	return slices.Sorted(maps.Keys(keys))[s.rand.IntN(len(keys))], true
}

// press presses a key at random. The console counts modifiers, but forgets that two keyboards hold the same one when it
// counts anew; so that is left out.
func (s *soak) press(k *soakKeyboard) bool {
	key := soakKeys[s.rand.IntN(len(soakKeys))]
	if _, modifies := s.console.modifier(key); k.held[key] || k.doubtful[key] || len(k.held) >= maxHeld ||
		modifies && k.target == theConsole && s.console.down[key] {
		return false
	}
	k.Press(key)
	s.pressed(k, key)
	return true
}

func (s *soak) release(k *soakKeyboard) bool {
	key, ok := s.pick(k.held)
	if ok {
		k.Release(key)
		s.released(k, key)
	}
	return ok
}

func (s *soak) releaseAll(k *soakKeyboard) {
	for _, key := range slices.Sorted(maps.Keys(k.held)) {
		k.Release(key)
		s.released(k, key)
	}
}

func (s *soak) stepPress() bool {
	k := s.keyboard()
	s.note("press a key on %s", k.name)
	return s.press(k)
}

func (s *soak) stepRelease() bool {
	k := s.keyboard()
	if len(k.held) == 0 {
		return false
	}
	s.note("release a key on %s", k.name)
	return s.release(k)
}

// stepBurst types on without looking.
func (s *soak) stepBurst() bool {
	k, n := s.keyboard(), 2+s.rand.IntN(10)
	s.note("type %d keys on %s", n, k.name)
	for range n {
		if s.rand.IntN(2) == 0 {
			s.press(k)
		} else {
			s.release(k)
		}
	}
	return true
}

// stepRepeat has the PS/2 keyboard repeat a key. One that nobody has heard of yet would be a press.
func (s *soak) stepRepeat() bool {
	k := s.keyboards[0]
	if !k.heard[k.last] {
		return false
	}
	s.note("repeat a key on %s", k.name)
	k.Press(k.last)
	if k.target == theConsole {
		s.tell(k, k.last, true)
	}
	return true
}

func (s *soak) stepReleaseAll() bool {
	s.note("release all keys")
	for _, k := range s.keyboards {
		if k.plugged() && len(k.held) > 0 {
			s.releaseAll(k)
			s.check() // each keyboard has a thread of its own: only what one types is in order
		}
	}
	return true
}

// mostlyNeutral releases all keys, mostly, or else has some more held on all keyboards. Those take half a second to change
// hands then.
func (s *soak) mostlyNeutral() {
	if s.rand.IntN(4) > 0 {
		s.stepReleaseAll()
		return
	}
	s.note("hold keys")
	for _, k := range s.keyboards {
		if k.plugged() {
			s.press(k)
			s.check()
		}
	}
}

const maxReaders = 6

// addReader is a reader of a random device, as yet unopened.
func (s *soak) addReader(kind string) *soakReader {
	if len(s.readers) >= maxReaders {
		return nil
	}
	s.mostlyNeutral()
	device := 0
	if s.rand.IntN(2) == 0 {
		device = s.keyboard().number
	}
	r := &soakReader{fd: -1, device: device, reads: true, terminal: s.console.active, down: map[machine.Key]bool{}}
	r.name = fmt.Sprintf("the %s of %s on tty%d (step %d)", kind, deviceName(device), r.terminal, len(s.history)+1)
	s.note("begin %s", r)
	return r
}

// opened tells the model of a reader.
func (s *soak) opened(r *soakReader, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", r, err)
	}
	s.readers = append(s.readers, r)
	s.route()
	for _, k := range s.keyboards {
		if k.plugged() && k.fresh && k.target != theConsole { // it may still be about to join
			awaitTaken(s.t, k.Node())
			k.fresh = false
		}
	}
}

func (s *soak) stepOpen() bool {
	r := s.addReader("file")
	if r == nil {
		return false
	}
	s.opened(r, r.openFile(unix.O_RDONLY))
	return true
}

// stepOpenNonblock opens without waiting for the mute, and so waits for it after.
func (s *soak) stepOpenNonblock() bool {
	r := s.addReader("non-blocking file")
	if r == nil {
		return false
	}
	r.writes = true
	s.opened(r, r.openFile(unix.O_RDWR|unix.O_NONBLOCK))
	s.settle()
	return true
}

func (s *soak) stepOpenWriteOnly() bool {
	r := s.addReader("write-only file")
	if r == nil {
		return false
	}
	r.reads = false
	s.opened(r, r.openFile(unix.O_WRONLY))
	return true
}

func (s *soak) stepStartProcess() bool {
	r := s.addReader("process")
	if r == nil {
		return false
	}
	s.opened(r, r.startProcess())
	return true
}

// stepEnd closes a file or kills a process.
func (s *soak) stepEnd() bool {
	if len(s.readers) == 0 {
		return false
	}
	s.mostlyNeutral()
	r := s.readers[s.rand.IntN(len(s.readers))]
	s.note("end %s", r)
	if err := r.check(); err != nil {
		s.t.Fatalf("%s %v", r, err)
	}
	s.end(r)
	return true
}

func (s *soak) end(r *soakReader) {
	s.t.Helper()
	if err := r.end(); err != nil {
		s.t.Fatalf("%s: %v", r, err)
	}
	s.ended(r)
}

// ended tells the model of a reader that is gone.
func (s *soak) ended(r *soakReader) {
	s.readers = slices.DeleteFunc(s.readers, func(other *soakReader) bool { return other == r })
	s.route()
}

// stepMode is KDSKBMODE.
func (s *soak) stepMode() bool {
	var files []*soakReader
	for _, r := range s.readers {
		if r.cmd == nil && !r.revoked {
			files = append(files, r)
		}
	}
	if len(files) == 0 {
		return false
	}
	s.mostlyNeutral()
	r := files[s.rand.IntN(len(files))]
	mode := []int{soakRaw, soakRaw, soakXlate, soakOff}[s.rand.IntN(4)]
	s.note("%s has mode %d", r, mode)
	const kdSKBMode = 0x4b45
	if err := soakIoctl(r.fd, kdSKBMode, mode); err != nil {
		s.t.Fatalf("%s: mode %d: %v", r, mode, err)
	}
	if mode != r.mode {
		r.releaseAll()
		r.mode = mode
	}
	s.route()
	return true
}

func (s *soak) stepSwitch() bool {
	s.mostlyNeutral()
	n := 1 + s.rand.IntN(soakTerminals)
	s.note("switch to tty%d", n)
	machine.SwitchVT(s.t, n)
	s.switched(n)
	s.settle()
	return true
}

// chord prepares for one of Ctrl and Alt and a key, which counts if neither was down on the keyboard nor, if it is
// muted, anything at the console.
func (s *soak) chord() *soakKeyboard {
	s.mostlyNeutral()
	k := s.keyboard()
	for _, key := range []machine.Key{machine.KeyLeftCtrl, keyRightCtrl, machine.KeyLeftAlt} {
		if k.held[key] || k.doubtful[key] {
			return nil
		}
	}
	if s.console.state() != 0 || len(k.held) >= maxHeld {
		return nil
	}
	return k
}

// systemKey tells the model of a press of a key that the system takes, under Ctrl and Alt, and of what that does.
func (s *soak) systemKey(k *soakKeyboard, key machine.Key, does func()) {
	ctrlAlt := []machine.Key{machine.KeyLeftCtrl, machine.KeyLeftAlt}
	for _, modifier := range ctrlAlt {
		s.pressed(k, modifier)
	}
	tap := append(ctrlAlt, key) // by the bypass
	if k.target == theConsole {
		tap = tap[2:]
	}
	k.last = 0
	for _, key := range tap {
		s.console.key(key, true)
		s.letRepeat()
	}
	for _, key := range slices.Backward(tap) {
		s.console.key(key, false)
		s.letRepeat()
	}
	s.letRepeatMeanwhile() // the modifiers may be up by the time that it is done
	does()
	for _, modifier := range slices.Backward(ctrlAlt) {
		s.released(k, modifier)
	}
}

func (s *soak) stepCtrlAltFn() bool {
	k := s.chord()
	if k == nil {
		return false
	}
	n := 1 + s.rand.IntN(soakTerminals)
	key := machine.KeyF1 + machine.Key(n-1)
	s.note("type Ctrl-Alt-F%d on %s", n, k.name)
	k.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, key)
	machine.WaitVT(s.t, n)
	s.systemKey(k, key, func() { s.switched(n) })
	s.settle()
	return true
}

func (s *soak) stepCtrlAltDel() bool {
	k := s.chord()
	if k == nil {
		return false
	}
	s.note("type Ctrl-Alt-Del on %s", k.name)
	before := machine.CtrlAltDels(s.t)
	k.Chord(machine.KeyLeftCtrl, machine.KeyLeftAlt, machine.KeyDelete)
	s.systemKey(k, machine.KeyDelete, func() {})
	machine.WaitUntil(s.t, "PID 1 has heard Ctrl-Alt-Del", func() bool { return machine.CtrlAltDels(s.t) == before+1 })
	s.settle()
	return true
}

func (s *soak) stepPlug() bool {
	k := s.keyboards[1+s.rand.IntN(2)]
	if k.plugged() {
		return false
	}
	s.note("plug in %s", k.name)
	s.plug(k)
	return true
}

func (s *soak) stepUnplug() bool {
	k := s.keyboard()
	if k.disconnect == nil {
		return false
	}
	s.note("unplug %s", k.name)
	s.unplug(k)
	return true
}

package input

import (
	"slices"

	evdev "github.com/gvalkov/golang-evdev"
)

// A pointer is the part of a keyboard's node that is a mouse, a dial or a joystick. What it does goes on to the system
// while the keyboard is muted, through a device of its own; else the system has it from the node. What was pressed on
// one of the two is released on it: the keyboard is grabbed when no button is down either, and what is down on the
// device when the keyboard's goroutine ends, however that comes, is released then.
type pointer struct {
	dev eventWriter

	// All below is for who has the keyboard's gate.

	packet  []evdev.InputEvent // since the last SYN_REPORT
	dropped bool               // the kernel's buffer ran over; the events up to the next SYN_REPORT are not whole
	down    keySet             // the buttons that are pressed on dev, with packet
}

type eventWriter interface {
	// write writes events, and ends them with a SYN_REPORT.
	write(events []evdev.InputEvent) error
	Close() error
}

// newPointer makes a device with the axes and buttons of n, or nil if it has none.
func newPointer(info *Info, n *evdevNode) (*pointer, error) {
	setup := uinputSetup{
		name: info.Name + " (pointer, by kbdd)", phys: ownPhys + "pointer",
		bus: info.Bus, vendor: info.Vendor, product: info.Product,
	}
	var err error
	if setup.keys, err = n.pointerCodes(evdev.EV_KEY); err != nil {
		return nil, err
	}
	if setup.wheels, err = n.pointerCodes(evdev.EV_REL); err != nil {
		return nil, err
	}
	axes, err := n.pointerCodes(evdev.EV_ABS)
	if err != nil {
		return nil, err
	}
	for _, code := range axes {
		axis, err := n.axis(code)
		if err != nil {
			return nil, err
		}
		setup.axes = append(setup.axes, axis)
	}
	if len(setup.types()) == 0 {
		return nil, nil
	}
	props, err := n.props()
	if err != nil {
		return nil, err
	}
	setup.props = slices.Collect(props.all())
	dev, err := newUinput(setup)
	if err != nil {
		return nil, err
	}
	return &pointer{dev: dev}, nil
}

// pointerCodes are the codes of an event type that are not the keyboard's.
func (n *evdevNode) pointerCodes(typ uint16) (codes []uint16, err error) {
	has, err := n.codes(typ)
	for code := range has.all() {
		if isPointerEvent(typ, code) {
			codes = append(codes, code)
		}
	}
	return codes, err
}

// isPointerEvent tells what of a node is not its keyboard's. The axes of touches are nobody's: what keyboards have there
// are numbers that the kernel gives to what it cannot name, counting up from ABS_MISC (drivers/hid/hid-input.c).
func isPointerEvent(typ, code uint16) bool {
	switch typ {
	case evdev.EV_REL:
		return true
	case evdev.EV_ABS:
		return code < evdev.ABS_MT_SLOT
	case evdev.EV_KEY:
		return code >= evdev.BTN_MISC && code < evdev.KEY_OK ||
			code >= evdev.BTN_DPAD_UP && code <= evdev.BTN_DPAD_RIGHT ||
			code >= evdev.BTN_TRIGGER_HAPPY && code <= evdev.BTN_TRIGGER_HAPPY40
	}
	return false
}

// take passes on what is the pointer's of an event, with the packet that it is part of.
func (p *pointer) take(ev *evdev.InputEvent) {
	switch {
	case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_DROPPED:
		p.dropped = true
	case ev.Type == evdev.EV_SYN && ev.Code == evdev.SYN_REPORT:
		p.send()
		p.dropped = false
	case isPointerEvent(ev.Type, ev.Code) && !p.dropped:
		p.add(*ev)
	}
}

// level brings the system level with the keys that are down, some of which may be buttons: events were lost.
func (p *pointer) level(now keySet) {
	for code := range p.down.all() {
		if !now.has(code) {
			p.add(evdev.InputEvent{Type: evdev.EV_KEY, Code: code, Value: 0})
		}
	}
	for code := range now.all() {
		if isPointerEvent(evdev.EV_KEY, code) && !p.down.has(code) {
			p.add(evdev.InputEvent{Type: evdev.EV_KEY, Code: code, Value: 1})
		}
	}
	p.send()
}

// release releases all buttons: nothing more will come.
func (p *pointer) release() { p.level(keySet{}) }

func (p *pointer) add(ev evdev.InputEvent) {
	p.packet = append(p.packet, ev)
	switch {
	case ev.Type != evdev.EV_KEY:
	case ev.Value == 0:
		p.down.remove(ev.Code)
	default:
		p.down.add(ev.Code)
	}
}

func (p *pointer) send() {
	if len(p.packet) > 0 {
		_ = p.dev.write(p.packet) // where it fails the device is gone with its maker
		p.packet = p.packet[:0]
	}
}

// attachPointer makes a device for what else the keyboard's node is.
func (k *Keyboard) attachPointer() {
	n, err := openNode(k.Path)
	if err != nil {
		return // it is gone again
	}
	defer n.Close()
	if k.pointer, err = newPointer(&k.Info, n.(*evdevNode)); err != nil {
		k.log.Warn("this keyboard has axes or buttons too, which will be dead while it is muted", "err", err)
	}
}

func (k *Keyboard) detachPointer() {
	if k.pointer != nil {
		<-k.Unmute() // its goroutine writes there
		k.pointer.dev.Close()
	}
}

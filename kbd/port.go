package kbd

import (
	"fmt"

	"kbdd/scancode"
)

// maxPorts is from when on a keyboard that is new gets the number of one that is gone, if nobody has its device open.
const maxPorts = 64

// A port is where a keyboard is plugged in. It stays when the keyboard is unplugged, for its return.
type port struct {
	device  *Device                         // its own, /dev/kbdN; fixed
	deliver func(code uint16, pressed bool) // fixed
	lost    func()                          // fixed

	// All below is guarded by Service.mu.

	id       string          // of the keyboard
	name     string          // of the keyboard, as Describe says
	node     string          // likewise
	label    string          // of the device's node
	keyboard Keyboard        // nil while it is unplugged
	leaving  <-chan struct{} // closed when the keyboard is the console's that was removed last; nil: none was
	target   *Device         // who hears it: its own device, or kbd0; nil: the console
	shared   bool            // the console hears it as well as target does
	lit      bool            // a client has set its LEDs
	down     keySet          // what target takes to be down on it
	chord    chord
}

// Add plugs a keyboard in. One that was there before has its old device; a new one gets the next number. The keyboard
// takes part even where its device cannot be made, as part of kbd0; the error tells.
func (s *Service) Add(k Keyboard) error {
	s.plugging.Lock()
	defer s.plugging.Unlock()
	p, isNew := s.portFor(k)
	s.mu.Lock()
	p.keyboard = k
	p.name, p.node = k.Describe()
	node, label := p.device.node(), p.label
	p.label = node.Label
	s.routeLocked(nil)
	s.mu.Unlock()
	s.settle()
	switch {
	case !isNew && label != node.Label:
		s.Relabel(node.Name, node.Label)
	case isNew:
		if err := s.MakeNode(node); err != nil {
			return fmt.Errorf("/dev/%s for %s: %w", node.Name, k.ID(), err)
		}
	}
	return nil
}

// portFor finds the port that the keyboard was plugged into before, or makes it a new one.
func (s *Service) portFor(k Keyboard) (p *port, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		if p.id == k.ID() && p.keyboard == nil {
			return p, false
		}
	}
	if len(s.ports) >= maxPorts {
		for _, p := range s.ports {
			if p.keyboard == nil && len(p.device.files) == 0 {
				p.id = k.ID()
				return p, false
			}
		}
	}
	return s.newPortLocked(k.ID()), true
}

// newPortLocked makes the port of the next number.
func (s *Service) newPortLocked(id string) *port {
	p := &port{id: id}
	p.deliver = func(code uint16, pressed bool) { s.key(p, scancode.Key(code), pressed) }
	p.lost = func() { s.lost(p) }
	p.device = &Device{service: s, name: fmt.Sprint("kbd", len(s.ports)+1), own: p}
	s.ports = append(s.ports[:len(s.ports):len(s.ports)], p)
	return p
}

// Remove tells that a keyboard was unplugged. Its keys are released.
func (s *Service) Remove(k Keyboard) {
	s.plugging.Lock()
	defer s.plugging.Unlock()
	s.mu.Lock()
	for _, p := range s.ports {
		if p.keyboard == k {
			p.moveLocked(nil)
			p.keyboard, p.leaving = nil, k.Unmute()
		}
	}
	s.changedLocked(nil)
	s.mu.Unlock()
	s.settle()
}

// routeLocked brings every keyboard to where its keys belong: its own device if somebody listens there, else kbd0, else
// the console. It returns what to wait for until that is so for those that change, and for those that are the device's
// already, which may be nil; others may be on their way for somebody else. The files must be woken then.
func (s *Service) routeLocked(d *Device) (changing []<-chan struct{}) {
	for _, p := range s.ports {
		if p.keyboard == nil {
			continue
		}
		var target *Device
		switch {
		case p.device.listeners > 0:
			target = p.device
		case s.kbd0.listeners > 0:
			target = s.kbd0
		}
		had := p.target
		p.moveLocked(target)
		p.shared = target != nil && target.sharesLocked()
		var done <-chan struct{}
		switch {
		case p.shared:
			done = p.keyboard.Share(p.deliver, p.lost)
		case target != nil:
			done = p.keyboard.Mute(p.deliver, p.lost)
		case had != nil:
			done = p.keyboard.Unmute()
		}
		if target != had || target != nil && target == d {
			changing = append(changing, done)
		}
	}
	s.changedLocked(changing)
	return changing
}

// moveLocked gives the keyboard to another target. The old one hears its keys released; to the new one they are up
// until they are pressed anew.
func (p *port) moveLocked(target *Device) {
	if target == p.target {
		return
	}
	now := clock()
	for key := range p.down.all() {
		p.keyLocked(now, key, false)
	}
	p.target = target
}

// leavingLocked is what to wait for until the console has those keyboards behind d that are nobody's; nil: all such. They may be on
// their way since long before.
func (s *Service) leavingLocked(d *Device) (leaving []<-chan struct{}) {
	for _, p := range s.ports {
		switch {
		case p.target != nil || d != nil && d != s.kbd0 && d != p.device:
		case p.keyboard != nil:
			leaving = append(leaving, p.keyboard.Unmute())
		case p.leaving != nil: // it may be plugged in, and be nobody's by the settings
			leaving = append(leaving, p.leaving)
		}
	}
	return leaving
}

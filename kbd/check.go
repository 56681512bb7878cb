package kbd

import (
	"fmt"
	"slices"
)

// Check is for a watchdog: it tells whether a file is open or a keyboard muted, so that it would be missed if this
// process hung. The error names a keyboard whose keys are stuck. If the service itself is stuck, Check does not return.
func (s *Service) Check() (inUse bool, err error) {
	var keyboards []Keyboard
	s.mu.Lock()
	inUse = s.unview != nil
	for _, p := range s.ports {
		if p.keyboard != nil {
			keyboards = append(keyboards, p.keyboard)
		}
	}
	s.mu.Unlock()
	muted := func(k Keyboard) bool { muted, _ := k.Muted(); return muted }
	inUse = inUse || slices.ContainsFunc(keyboards, muted)
	for _, k := range keyboards {
		if k.Stuck() {
			err = fmt.Errorf("the keys of %s are stuck", k.ID())
		}
	}
	return inUse, err
}

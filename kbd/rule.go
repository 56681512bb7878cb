package kbd

import "slices"

// A Rule is the administrator's word on some devices.
type Rule struct {
	// Fits tells which: by a device's name, and by its keyboard's, which is "" for kbd0.
	Fits func(device, keyboard string) bool

	Access *Access // who may open it; nil: the rule says nothing of it
	Mute   *bool   // whether the console does not hear what its readers do, as it is else; nil: likewise
}

// Access is who may open a device, besides root. The rights of its node hold as well.
type Access struct{ Users, Groups []uint32 }

// admits tells if one may open; groups tells what groups else than the effective one a thread is in.
func (a *Access) admits(o Opener, groups func(pid uint32) []uint32) bool {
	switch {
	case a == nil, o.UID == 0, slices.Contains(a.Users, o.UID), slices.Contains(a.Groups, o.GID):
		return true
	case len(a.Groups) == 0 || groups == nil:
		return false
	}
	return slices.ContainsFunc(groups(o.PID), func(g uint32) bool { return slices.Contains(a.Groups, g) })
}

// rulesLocked gives the device's rules, the one that holds most first.
func (d *Device) rulesLocked() (rules []Rule) {
	keyboard := ""
	if d.own != nil {
		keyboard = d.own.name
	}
	for _, r := range slices.Backward(d.service.settings.Rules) {
		if r.Fits(d.name, keyboard) {
			rules = append(rules, r)
		}
	}
	return rules
}

// access is who may open the device; nil: whoever may open its node.
func (d *Device) access() *Access {
	d.service.mu.Lock()
	defer d.service.mu.Unlock()
	for _, r := range d.rulesLocked() {
		if r.Access != nil {
			return r.Access
		}
	}
	return nil
}

// sharesLocked tells if the console hears what the device's readers do.
func (d *Device) sharesLocked() bool {
	for _, r := range d.rulesLocked() {
		if r.Mute != nil {
			return !*r.Mute
		}
	}
	return false
}

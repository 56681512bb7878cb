package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"kbdd/kbd"
	"kbdd/kbd/input"
)

// device is an entry of the list device: what holds for some devices.
type device struct {
	Name     string   `toml:"name"`     // a pattern
	Keyboard string   `toml:"keyboard"` // a pattern for the name of its keyboard
	Users    []string `toml:"users"`
	Groups   []string `toml:"groups"`
	Mute     *bool    `toml:"mute"`

	access *kbd.Access
}

// resolve tells what is wrong with the entry, and finds the numbers of its users and groups.
func (d *device) resolve() error {
	if d.Name == "" && d.Keyboard == "" {
		return errors.New("name: an entry needs a name or a keyboard")
	}
	for key, pattern := range map[string]string{"name": d.Name, "keyboard": d.Keyboard} {
		if _, err := input.Match(pattern, ""); err != nil {
			return fmt.Errorf("%s: %q is not a pattern: %w", key, pattern, err)
		}
	}
	if d.Users == nil && d.Groups == nil {
		return nil
	}
	d.access = &kbd.Access{}
	for _, name := range d.Users {
		u, err := user.Lookup(name)
		if err != nil {
			return fmt.Errorf("users: there is no user %q", name)
		}
		id, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return fmt.Errorf("users: %q: %w", name, err)
		}
		d.access.Users = append(d.access.Users, uint32(id))
	}
	for _, name := range d.Groups {
		g, err := user.LookupGroup(name)
		if err != nil {
			return fmt.Errorf("groups: there is no group %q", name)
		}
		id, err := strconv.ParseUint(g.Gid, 10, 32)
		if err != nil {
			return fmt.Errorf("groups: %q: %w", name, err)
		}
		d.access.Groups = append(d.access.Groups, uint32(id))
	}
	return nil
}

// fits tells if the entry is for a device, of whose keyboard it has the name.
func (d *device) fits(name, keyboard string) bool {
	ok := true
	if d.Name != "" {
		ok, _ = input.Match(d.Name, name)
	}
	if ok && d.Keyboard != "" {
		ok, _ = input.Match(d.Keyboard, keyboard)
	}
	return ok
}

// rules are the entries as the service has them.
func (c *config) rules() (rules []kbd.Rule) {
	for i := range c.Devices {
		d := &c.Devices[i]
		rules = append(rules, kbd.Rule{Fits: d.fits, Access: d.access, Mute: d.Mute})
	}
	return rules
}

// groupsOf are the groups that a thread is in, besides its effective one (proc_pid_status(5)).
func groupsOf(thread uint32) (groups []uint32) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		list, ok := strings.CutPrefix(line, "Groups:")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(list) {
			if id, err := strconv.ParseUint(word, 10, 32); err == nil {
				groups = append(groups, uint32(id))
			}
		}
	}
	return groups
}

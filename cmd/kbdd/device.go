package main

import (
	"errors"
	"fmt"
	"math"
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

// fault finds what is wrong with the entry, and the key in it, with a point before it; "" for all of it.
func (d *device) fault() (key string, err error) {
	if d.Name == "" && d.Keyboard == "" {
		return "", errors.New("an entry needs a name or a keyboard")
	}
	for _, p := range []struct{ key, pattern string }{{".name", d.Name}, {".keyboard", d.Keyboard}} {
		if _, err := input.Match(p.pattern, ""); err != nil {
			return p.key, fmt.Errorf("%q is not a pattern: %w", p.pattern, err)
		}
	}
	return "", nil
}

// resolve finds the numbers of the entry's users and groups. Those that nobody knows match nobody, and are returned: a user who
// has left the machine is no reason not to start. path is the entry's.
func (d *device) resolve(path string) (strangers []fault) {
	if d.Users == nil && d.Groups == nil {
		return nil
	}
	find := func(kind, key string, names []string, lookup func(string) (string, error)) (ids []uint32) {
		for i, name := range names {
			if id, ok := number(name, lookup); ok {
				ids = append(ids, id)
				continue
			}
			strangers = append(strangers, fault{fmt.Sprintf("%s.%s[%d]", path, key, i), fmt.Sprintf("device.%s: there is no %s %q", key, kind, name)})
		}
		return ids
	}
	d.access = &kbd.Access{
		Users: find("user", "users", d.Users, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		}),
		Groups: find("group", "groups", d.Groups, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		}),
	}
	return strangers
}

// number is that of a user or group: by name, or else it is the name.
func number(name string, lookup func(string) (string, error)) (uint32, bool) {
	text, err := lookup(name)
	if err != nil {
		text = name
	}
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id != math.MaxUint32 // which is nobody's: (uid_t)-1
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

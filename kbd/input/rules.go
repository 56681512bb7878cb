package input

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Rules are the administrator's word on what is a keyboard. Ignore has the last word, then Force.
type Rules struct {
	Match  []Selector `toml:"match"`  // if there are any, only these are keyboards, of those that can be typed on
	Ignore []Selector `toml:"ignore"` // these are none
	Force  []Selector `toml:"force"`  // these are keyboards, whatever keys they have
}

// A Selector picks input devices: those that have all that it names.
type Selector struct {
	Name string `toml:"name"` // a pattern, as a shell's, except that * and ? take a slash too: Logitech*
	Phys string `toml:"phys"` // such a pattern for the place where it is plugged in: usb-0000:00:14.0-2/*
	ID   string `toml:"id"`   // VENDOR:PRODUCT in hexadecimal, either of which can be *: 046d:c31d
}

// Validate tells what is wrong with the rules, if anything is.
func (r *Rules) Validate() error {
	for _, list := range []struct {
		name      string
		selectors []Selector
	}{{"match", r.Match}, {"ignore", r.Ignore}, {"force", r.Force}} {
		for _, s := range list.selectors {
			if err := s.validate(); err != nil {
				return fmt.Errorf("%s: %w", list.name, err)
			}
		}
	}
	return nil
}

func (s *Selector) validate() error {
	if *s == (Selector{}) {
		return errors.New("an entry is empty: it needs a name, a phys or an id")
	}
	if _, err := matches(s.Name, ""); err != nil {
		return fmt.Errorf("name %q is not a pattern: %w", s.Name, err)
	}
	if _, err := matches(s.Phys, ""); err != nil {
		return fmt.Errorf("phys %q is not a pattern: %w", s.Phys, err)
	}
	if s.ID != "" && !isID(s.ID) {
		return fmt.Errorf("id %q is not VENDOR:PRODUCT, each up to four hexadecimal digits or *", s.ID)
	}
	return nil
}

// keyboard tells if a device is a keyboard. What this program made itself never is.
func (r *Rules) keyboard(info *Info) bool {
	picks := func(s Selector) bool { return s.picks(info) }
	switch {
	case strings.HasPrefix(info.Phys, ownPhys), slices.ContainsFunc(r.Ignore, picks):
		return false
	case slices.ContainsFunc(r.Force, picks):
		return true
	}
	return info.Typing && (len(r.Match) == 0 || slices.ContainsFunc(r.Match, picks))
}

func (s *Selector) picks(info *Info) bool {
	if s.Name != "" {
		if ok, _ := matches(s.Name, info.Name); !ok {
			return false
		}
	}
	if s.Phys != "" {
		if ok, _ := matches(s.Phys, info.Phys); !ok {
			return false
		}
	}
	if s.ID != "" {
		vendor, product, _ := strings.Cut(s.ID, ":")
		return isNumber(vendor, info.Vendor) && isNumber(product, info.Product)
	}
	return s.Name != "" || s.Phys != ""
}

// Match tells if a name fits a pattern, as those of a Selector. An error tells that it is none.
func Match(pattern, name string) (bool, error) { return matches(pattern, name) }

// matches is path.Match for names that are no paths, though they have slashes.
func matches(pattern, name string) (bool, error) {
	noSlash := strings.NewReplacer("/", "\x00")
	return path.Match(noSlash.Replace(pattern), noSlash.Replace(name))
}

func isID(s string) bool {
	vendor, product, _ := strings.Cut(s, ":")
	return isHex(vendor) && isHex(product)
}

func isHex(s string) bool {
	_, err := strconv.ParseUint(s, 16, 16)
	return s == "*" || err == nil
}

func isNumber(hex string, n uint16) bool {
	got, err := strconv.ParseUint(hex, 16, 16)
	return hex == "*" || err == nil && got == uint64(n)
}

package kbd

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRulesHoldBeforeTheKeyboardIsFoundAgain has a rule by the keyboard's name, and a kbdd that was started anew.
func TestRulesHoldBeforeTheKeyboardIsFoundAgain(t *testing.T) {
	inScene(t, "plug A", func(s *scene) {
		settings := DefaultSettings
		settings.Rules = []Rule{{
			Fits:   func(_, keyboard string) bool { return keyboard == "Keyboard A" },
			Access: &Access{Users: []uint32{1001}},
		}}
		s.service.Set(settings)
		s.act("open f kbd1 fails EACCES\n restart\n open f kbd1 fails EACCES\n open f kbd1 uid 1001")
	})
}

func TestRulesSayWhoMayOpen(t *testing.T) {
	const alice, bob, games, staff = 1000, 1001, 60, 61
	groups := func(pid uint32) []uint32 {
		if pid == 7 {
			return []uint32{staff, games}
		}
		return nil
	}
	is := func(device, keyboard string) func(string, string) bool {
		return func(d, k string) bool { return d == device && (keyboard == "" || k == keyboard) }
	}
	rules := []Rule{
		{Fits: is("kbd0", ""), Access: &Access{Users: []uint32{bob}}},
		{Fits: is("kbd0", ""), Access: &Access{Users: []uint32{alice}}}, // the last holds
		{Fits: is("kbd0", "")}, // and says nothing of it
		{Fits: is("kbd1", "Keyboard A"), Access: &Access{Groups: []uint32{games}}},
		{Fits: is("kbd2", "Keyboard A"), Access: &Access{}},
	}
	for _, c := range []struct {
		device string
		opener Opener
		may    bool
	}{
		{"kbd0", Opener{UID: alice}, true},
		{"kbd0", Opener{UID: bob}, false},
		{"kbd0", Opener{}, true}, // root
		{"kbd1", Opener{UID: bob, GID: games}, true},
		{"kbd1", Opener{UID: bob, GID: staff, PID: 7}, true},
		{"kbd1", Opener{UID: bob, GID: staff, PID: 8}, false},
		{"kbd2", Opener{UID: bob}, true}, // the rule is for another keyboard
	} {
		inScene(t, "plug A\n plug B", func(s *scene) {
			s.service.Groups = groups
			settings := DefaultSettings
			settings.Rules = rules
			s.service.Set(settings)
			d := s.service.kbd0
			for _, p := range s.service.ports {
				if p.device.name == c.device {
					d = p.device
				}
			}
			f, err := d.open(t.Context(), c.opener, unix.O_RDONLY|unix.O_NONBLOCK, func() {})
			if may := err == nil; may != c.may || err != nil && !errors.Is(err, unix.EACCES) {
				t.Errorf("%s by %+v: %v, want it to open: %v", c.device, c.opener, err, c.may)
			}
			if err == nil {
				f.Close()
			}
		})
	}
}

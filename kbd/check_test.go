package kbd

import "testing"

func TestCheckTellsWhatAWatchdogMustKnow(t *testing.T) {
	for _, c := range []struct {
		when  string
		inUse bool
	}{
		{"", false},
		{"plug A", false},
		{"open f kbd0", true},
		{"plug A\n open f kbd0 write", true},
		{"plug A\n open f kbd0\n revoke kbd0", true},
		{"plug A\n open f kbd0\n close f", false},
	} {
		inScene(t, c.when, func(s *scene) {
			if inUse, err := s.service.Check(); inUse != c.inUse || err != nil {
				t.Errorf("%q: in use %v, want %v; error %v", c.when, inUse, c.inUse, err)
			}
		})
	}
}

func TestCheckNamesTheKeyboardThatIsStuck(t *testing.T) {
	inScene(t, "plug A\n plug B\n open f kbd0", func(s *scene) {
		s.keyboards["B"].hangs = true
		if _, err := s.service.Check(); err == nil || err.Error() != "the keys of B are stuck" {
			t.Errorf("error %v", err)
		}
	})
}

func TestFirstOpenTellsThatTheDevicesAreInUse(t *testing.T) {
	inScene(t, "plug A", func(s *scene) {
		told := 0
		s.service.InUse = func() { told++ }
		s.act("open f kbd0\n open g kbd1\n close f")
		if told != 1 {
			t.Errorf("told %d times of a use", told)
		}
		s.act("close g\n open h kbd1")
		if told != 2 {
			t.Errorf("told %d times of two uses", told)
		}
	})
}

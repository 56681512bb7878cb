package kbd

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kbdd/kbd/control"
)

// Service is looked into by package control.
var _ control.Service = (*Service)(nil)

// inScene plays lines as of a scenario, and then looks at the scene.
func inScene(t *testing.T, lines string, look func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "")
		defer s.play("") // closes the files
		s.act(lines)
		look(s)
	})
}

func (s *scene) act(lines string) {
	s.t.Helper()
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 {
			if err := s.do(words[0], words[1:]); err != nil {
				s.t.Fatalf("%s: %v", strings.TrimSpace(line), err)
			}
		}
	}
}

func TestStatusTellsWhoHearsWhat(t *testing.T) {
	for _, c := range []struct{ when, keyboards, holders string }{
		{"", "", ""},
		{
			"plug A\n plug B",
			"A kbd1 console; B kbd2 console", "",
		},
		{
			"plug A\n plug B\n open scanner kbd2\n open game kbd0",
			"A kbd1 kbd0 muted; B kbd2 kbd2 muted",
			"kbd0 set 1 listens; kbd2 set 1 listens",
		},
		{
			"plug A\n open a kbd1\n unplug A",
			"A kbd1 unplugged", "kbd1 set 1 listens",
		},
		{
			"plug A\n open a kbd0 vt 1\n vt 2",
			"A kbd1 console", "kbd0 set 1 terminal",
		},
		{
			"plug A\n open a kbd0\n open b kbd0 write\n revoke kbd0",
			"A kbd1 console", "kbd0 set 1 released; kbd0 set 1 released",
		},
		{
			"plug A\n open a kbd0 write",
			"A kbd1 console", "kbd0 set 1 write-only",
		},
		{
			"plug A\n open a kbd0\n ioctl a KDSKBMODE 3",
			"A kbd1 console", "kbd0 K_UNICODE mode",
		},
		{
			"plug A\n open a kbd0\n ioctl a KDSKBMODE 4",
			"A kbd1 kbd0 muted", "kbd0 K_OFF listens",
		},
		{
			"plug A\n open a kbd0\n ioctl a KDSKBMODE 2\n open b kbd0\n write b F0 02",
			"A kbd1 kbd0 muted", "kbd0 K_MEDIUMRAW listens; kbd0 set 2 listens",
		},
	} {
		inScene(t, c.when, func(s *scene) {
			st := s.service.Status()
			if got := keyboardsOf(st); got != c.keyboards {
				t.Errorf("after %q the keyboards are %s", c.when, got)
			}
			if got := holdersOf(st); got != c.holders {
				t.Errorf("after %q the holders are %s", c.when, got)
			}
		})
	}
}

func keyboardsOf(st control.Status) string {
	var all []string
	for _, k := range st.Keyboards {
		text := k.ID + " " + k.Device + " " + k.HeardBy
		if k.Muted {
			text += " muted"
		}
		if k.Shared {
			text += " shared"
		}
		if !k.Plugged {
			text += "unplugged"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func holdersOf(st control.Status) string {
	var all []string
	for _, d := range st.Devices {
		for _, h := range d.Holders {
			does := string(h.WhyNot)
			if h.Listens {
				does += "listens"
			}
			all = append(all, d.Name+" "+h.Mode+" "+does)
		}
	}
	return strings.Join(all, "; ")
}

func TestStatusTellsOfAFile(t *testing.T) {
	inScene(t, "plug A\n vt 3\n open a kbd0 uid 7\n wait 5s\n press A A", func(s *scene) {
		st := s.service.Status()
		h := st.Devices[0].Holders[0]
		want := control.Holder{
			PID: 1, UID: 7, Since: time.Now().Add(-5 * time.Second), Mode: "set 1", Unread: 1, Terminal: 3, Listens: true,
		}
		if h != want {
			t.Errorf("got  %+v\nwant %+v", h, want)
		}
		if k := st.Keyboards[0]; k.Name != "Keyboard A" || k.Node != "/dev/input/A" {
			t.Errorf("the keyboard is %+v", k)
		}
		if st.Terminal != 3 || st.Version != control.Version {
			t.Errorf("got %+v", st)
		}
	})
}

func TestStatusSaysWhyAKeyboardIsNotMuted(t *testing.T) {
	inScene(t, "plug A", func(s *scene) {
		k := s.keyboards["A"]
		k.stuck = fmt.Errorf("another program has grabbed it")
		if p := s.service.Status().Keyboards[0].Problem; p != "" {
			t.Errorf("while the console has it anyway: %s", p)
		}
		s.act("open a kbd0")
		if is := s.service.Status().Keyboards[0]; is.Muted || is.Problem != "another program has grabbed it" {
			t.Errorf("got %+v", is)
		}
	})
}

func TestChangesAreTold(t *testing.T) {
	for _, c := range []struct{ before, change string }{
		{"", "plug A"},
		{"plug A", "unplug A"},
		{"plug A", "open a kbd0"},
		{"", "open a kbd0 write"},
		{"open a kbd0", "close a"},
		{"open a kbd0", "revoke kbd0"},
		{"open a kbd0", "ioctl a KDSKBMODE 2"},
		{"open a kbd0", "write a F0 03"},
		{"open a kbd0 vt 1", "vt 2"},
	} {
		inScene(t, c.before, func(s *scene) {
			changed := s.service.Changed()
			s.act(c.change)
			select {
			case <-changed:
			default:
				t.Errorf("%q is not told", c.change)
			}
		})
	}
}

func TestKeysAreNoChange(t *testing.T) {
	inScene(t, "plug A\n open a kbd0", func(s *scene) {
		changed := s.service.Changed()
		s.act("tap A A\n write a ED 02")
		select {
		case <-changed:
			t.Error("a key is told as a change")
		default:
		}
	})
}

func TestFollowersHearWhenTheKeyboardIsMuted(t *testing.T) {
	inScene(t, "plug A", func(s *scene) {
		k := s.keyboards["A"]
		k.settling = make(chan struct{})
		s.act("open a kbd0 nonblock")
		changed := s.service.Changed()
		close(k.settling)
		<-changed
	})
}

// TestOpenWaitsForItsOwnKeyboardsOnly has a key held on one keyboard, and the other's device opened.
func TestOpenWaitsForItsOwnKeyboardsOnly(t *testing.T) {
	inScene(t, "plug A\n plug B", func(s *scene) {
		s.keyboards["A"].settling = make(chan struct{})
		s.act("open a kbd1 nonblock")
		begin := time.Now()
		s.act("open b kbd2")
		s.act("close b")
		if took := time.Since(begin); took > 0 {
			t.Errorf("open and close have waited for %v", took)
		}
		opened := false
		go func() {
			opened = s.try("open", []string{"c", "kbd1"}) == nil
		}()
		synctest.Wait()
		if opened {
			t.Error("a second open(2) of the device returns before the keyboard is muted")
		}
		close(s.keyboards["A"].settling)
		synctest.Wait()
	})
}

// waitsFor checks that do waits until a keyboard has changed hands, which takes it a while.
func waitsFor(t *testing.T, changed chan struct{}, do func()) {
	t.Helper()
	const takes = 400 * time.Millisecond
	begin := time.Now()
	time.AfterFunc(takes, func() { close(changed) })
	do()
	if took := time.Since(begin); took < takes {
		t.Errorf("it is over after %v, and the keyboard has changed hands after %v", took, takes)
	}
}

// TestCloseWaitsForKeyboardsThatLeaveSinceBefore has a key held while the device is taken, closed and handed over.
func TestCloseWaitsForKeyboardsThatLeaveSinceBefore(t *testing.T) {
	for name, do := range map[string]func(s *scene){
		"taken, then closed":      func(s *scene) { s.act("revoke kbd0\n close a") },
		"taken, then handed over": func(s *scene) { s.act("revoke kbd0"); s.service.HandOver() },
		"removed, then closed":    func(s *scene) { s.service.Remove(s.keyboards["A"]); s.act("close a") },
		"closed and handed over":  func(s *scene) { go s.files["a"].Close(); synctest.Wait(); s.service.HandOver() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, "plug A\n open w kbd0 write\n open a kbd0", func(s *scene) {
				k := s.keyboards["A"]
				k.leaving = make(chan struct{})
				waitsFor(t, k.leaving, func() { do(s) })
			})
		})
	}
}

// TestCloseWaitsUntilTheNextHasTheKeyboard has keys typed right after it be for those who have kbd0 open.
func TestCloseWaitsUntilTheNextHasTheKeyboard(t *testing.T) {
	inScene(t, "plug A\n open a kbd0\n share kbd1\n open b kbd1", func(s *scene) {
		k := s.keyboards["A"]
		k.settling = make(chan struct{})
		waitsFor(t, k.settling, func() { s.act("close b") })
	})
}

func TestCloseOfAWriterWaitsForNoKeyboard(t *testing.T) {
	inScene(t, "plug A\n open w kbd0 write\n open a kbd0", func(s *scene) {
		k := s.keyboards["A"]
		k.leaving = make(chan struct{})
		begin := time.Now()
		s.act("revoke kbd0\n close w")
		k.settling = make(chan struct{})
		s.act("open w kbd0 write\n open b kbd0 nonblock\n close w")
		if took := time.Since(begin); took > 0 {
			t.Errorf("it has waited for %v", took)
		}
		close(k.settling)
		close(k.leaving)
	})
}

// TestReusedDeviceKeepsItsKeyboard has more keyboards come and go than have devices, and kbdd die.
func TestReusedDeviceKeepsItsKeyboard(t *testing.T) {
	var many strings.Builder
	for i := range maxPorts {
		fmt.Fprintf(&many, "plug K%d\n unplug K%d\n", i, i)
	}
	inScene(t, many.String()+"plug A\n open a kbd1\n die\n plug A\n tap A A", func(s *scene) {
		if got := s.told("a"); got != "1E 9E" {
			t.Errorf("who has its device open has %s", got)
		}
	})
}

func TestMetricsCount(t *testing.T) {
	inScene(t, "plug A\n open a kbd0\n open b kbd0\n tap A A\n close b\n wait 100ms\n tap A B\n close a\n tap A C", func(s *scene) {
		m := s.service.Metrics()
		if m.Opens != 2 || m.Holders != 0 || m.Keys != 4 {
			t.Errorf("got %+v", m)
		}
		if n := total(m.MuteWait); n != 2 {
			t.Errorf("%d opens have waited", n)
		}
		if n := total(m.Latency); n != 4 {
			t.Errorf("the latency of %d keys is known", n)
		}
	})
}

func TestMetricsKeepWhatClosedFilesHaveLost(t *testing.T) {
	inScene(t, "plug A\n open a kbd0\n write a F0 03", func(s *scene) {
		for range 1100 { // of a byte each
			s.act("tap A A")
		}
		s.act("tap A WWW") // which has no code in set 3
		open := s.service.Metrics()
		s.act("close a")
		closed := s.service.Metrics()
		if open.Overruns != 1 || open.Dropped != 1 || closed.Overruns != 1 || closed.Dropped != 1 {
			t.Errorf("open %+v, closed %+v", open, closed)
		}
	})
}

func total(h control.Histogram) (n uint64) {
	for _, count := range h.Counts {
		n += count
	}
	return n
}

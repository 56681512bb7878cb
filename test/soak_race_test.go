package test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// Steps in which things happen at the same time.

// stepSwitchOpen opens a file on a terminal that has got the screen this moment.
func (s *soak) stepSwitchOpen() bool {
	r := s.addReader("file")
	if r == nil {
		return false
	}
	s.stepReleaseAll()
	r.terminal = 1 + s.rand.IntN(soakTerminals)
	s.note("switch to tty%d and open it there", r.terminal)
	machine.SwitchVT(s.t, r.terminal)
	err := r.openFile(unix.O_RDONLY)
	s.switched(r.terminal)
	s.opened(r, err)
	for _, k := range s.keyboards {
		if k.plugged() && k.target == r.device && !k.muted() {
			s.t.Fatalf("%s is open, but %s is not muted", r, k.name)
		}
	}
	s.settle()
	return true
}

// stepSysRqR takes the keyboard from those who read it, or would if those did not.
func (s *soak) stepSysRqR() bool {
	k := s.chord()
	if k == nil || k == s.keyboards[0] || k.target == theConsole || k.held[machine.KeyR] || s.rand.IntN(4) > 0 {
		return false // QEMU's PS/2 has Alt go up and down; and a key that is held cannot be pressed
	}
	s.note("type Alt-SysRq-R on %s", k.name)
	k.Chord(machine.KeyLeftAlt, machine.KeySysRq, machine.KeyR)
	var revoked []*soakReader
	for _, r := range s.readers {
		if (r.device == k.number || r.device == 0) && s.listens(r) {
			revoked = append(revoked, r)
			r.revoked = true
		}
	}
	s.route()
	s.settle()
	for _, r := range revoked {
		machine.WaitUntil(s.t, fmt.Sprintf("%s has lost the keyboard", r), r.hungUp)
		s.end(r)
	}
	return true
}

// hungUp tells if there is nothing to be had from the file any more.
func (r *soakReader) hungUp() bool {
	if r.cmd != nil {
		_, open := <-r.lines
		return !open
	}
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err != nil || n == 0 || fds[0].Revents&unix.POLLHUP == 0 {
		return false
	}
	_, err := unix.Read(r.fd, make([]byte, 1))
	return !r.reads || errors.Is(err, unix.ENODEV)
}

// throughKeys are typed while a keyboard changes hands, each once.
var throughKeys = []machine.Key{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 30, 31, 32, 33, 34, 35, 36, 37, 38, 44, 45, 46, 47, 48, 49, 50}

// stepTypeThrough types while a keyboard changes hands.
func (s *soak) stepTypeThrough() bool {
	k := s.keyboards[s.rand.IntN(2)] // uinput could outrun the kernel's buffers
	if !k.plugged() || k.fresh {
		return false
	}
	change := []func() (func() error, func()){s.changeOpen, s.changeEnd, s.changeSwitch}[s.rand.IntN(3)]
	do, tell := change()
	if do == nil {
		return false
	}
	s.stepReleaseAll()
	s.note("meanwhile type on %s", k.name)
	before := s.hearers(k)
	for _, r := range s.readers {
		r.loose = true
	}
	keys := slices.DeleteFunc(slices.Clone(throughKeys), func(key machine.Key) bool { return k.doubtful[key] })
	begin, after := s.rand.IntN(4), 1+s.rand.IntN(4)
	done := make(chan error, 1)
	var typed int
	for ; typed < len(keys) && after > 0; typed++ {
		if typed == begin {
			go func() { done <- do() }()
		}
		if len(done) > 0 {
			after--
		}
		k.Tap(keys[typed])
	}
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
	tell()
	s.settle()
	s.wantThrough(k, keys[:typed], before, s.hearers(k))
	return true
}

// hearers are those who hear a keyboard now: the names of terminals and readers, in order.
func (s *soak) hearers(k *soakKeyboard) (names []string) {
	if k.target == theConsole {
		return []string{s.console.ttys[s.console.active].String()}
	}
	for _, r := range s.readers {
		if r.device == k.target && s.hears(r) {
			names = append(names, r.name)
		}
	}
	return names
}

// wantThrough checks who has heard the keys that were typed through a change, each whole: the first of them those who had
// the keyboard before, the last those who have it after, and nobody else any. Some may be lost between the console and the
// readers, while open(2) and close(2) have not returned yet. If it was the console's, and a terminal with a reader has got
// the screen, then the terminal hears keys until the reader is seen to.
func (s *soak) wantThrough(k *soakKeyboard, typed []machine.Key, before, after []string) {
	s.t.Helper()
	before = slices.DeleteFunc(before, func(name string) bool { // what a file heard that is closed now is lost
		return !strings.HasPrefix(name, "tty") && !slices.ContainsFunc(s.readers, func(r *soakReader) bool { return r.name == name })
	})
	between := []string{s.console.ttys[s.console.active].String()}
	want := "^b*a*$"
	switch {
	case slices.Equal(before, after):
		want = "^b*$"
	case len(before) > 0 && strings.HasPrefix(before[0], "tty"):
		want = "^[b-]*m*a*$"
	case slices.Equal(after, between):
		want = "^b*-*a*$"
	}
	var story string
	right := func() bool {
		story = ""
		for _, names := range s.whoHeard(k, typed) {
			switch {
			case slices.Equal(names, before):
				story += "b"
			case slices.Equal(names, after):
				story += "a"
			case slices.Equal(names, between):
				story += "m"
			case len(names) == 0:
				story += "-"
			default:
				story += "?"
			}
		}
		return regexp.MustCompile(want).MatchString(story)
	}
	for deadline := time.Now().Add(machine.Limit); !right(); { // a process may not have been told yet
		if time.Now().After(deadline) {
			s.t.Fatalf("the keys were heard by %q (%s); before the change they should be by %q, after it by %q",
				s.whoHeard(k, typed), story, before, after)
		}
	}
	s.history[len(s.history)-1] += " " + story
	for _, r := range s.readers {
		r.loose, r.heard = false, nil
	}
	for _, tty := range s.console.ttys {
		tty.heard = ""
	}
}

// whoHeard tells for each of the keys which terminals and readers have heard it so far.
func (s *soak) whoHeard(k *soakKeyboard, typed []machine.Key) [][]string {
	s.t.Helper()
	who := make([][]string, len(typed))
	note := func(name string, heard []string, as func(machine.Key) string) {
		last := -1
		for _, h := range heard {
			i := slices.IndexFunc(typed, func(key machine.Key) bool { return as(key) == h })
			if i <= last {
				s.t.Fatalf("%s heard %q", name, heard)
			}
			last = i
			who[i] = append(who[i], name)
		}
	}
	for n := range soakTerminals {
		tty := s.console.ttys[n+1]
		text, err := tty.read()
		if err != nil {
			s.t.Fatal(err)
		}
		tty.heard += text
		heard := strings.Split(tty.heard, "")
		if k.softRepeat { // on a busy host a tap may be long enough to repeat
			heard = slices.Compact(heard)
		}
		note(tty.String(), heard, s.console.text)
	}
	for _, r := range s.readers {
		if err := r.receiveAll(); err != nil {
			s.t.Fatalf("%s %v", r, err)
		}
		var heard []string
		for pair := range slices.Chunk(r.heard, 2) {
			if len(pair) == 2 { // else the other half is still to come
				heard = append(heard, strings.Join(pair, " "))
			}
		}
		note(r.name, heard, func(key machine.Key) string { return codeOf(key, true) + " " + codeOf(key, false) })
	}
	return who
}

// What a keyboard can change hands by: each gives what to do, from another goroutine, and what to tell the model then.

func (s *soak) changeOpen() (do func() error, tell func()) {
	r := s.addReader("file")
	if r == nil {
		return nil, nil
	}
	r.loose = true
	do = func() error { return r.openFile(unix.O_RDONLY) }
	return do, func() { s.opened(r, nil) }
}

func (s *soak) changeEnd() (do func() error, tell func()) {
	if len(s.readers) == 0 {
		return nil, nil
	}
	r := s.readers[s.rand.IntN(len(s.readers))]
	s.note("end %s", r)
	return r.end, func() { s.ended(r) }
}

func (s *soak) changeSwitch() (do func() error, tell func()) {
	n := 1 + s.rand.IntN(soakTerminals)
	s.note("switch to tty%d", n)
	do = func() error {
		const vtActivate, vtWaitActive = 0x5606, 0x5607
		err := soakIoctl(s.console.ttys[1].fd, vtActivate, n)
		return errors.Join(err, soakIoctl(s.console.ttys[1].fd, vtWaitActive, n))
	}
	return do, func() { s.switched(n) }
}

package kbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/scancode"
)

// The rules of who hears what, as scenarios that anyone can read and add to: testdata/*.txt. A line is an event, or what
// somebody is to have heard since the last time:
//
//	plug A            keyboard A is plugged in; unplug A
//	lose A            the kernel's buffer runs over, with keys of A in it
//	press A LEFTCTRL  keys go down, release A: up, tap A: both; names are those of KEY_* in linux/input-event-codes.h
//	open f kbd0       file f; with vt 2: by a process on terminal 2, with write: O_WRONLY, with uid 7, with nonblock
//	open f kbd0 fails EBUSY
//	close f
//	ioctl f KDSKBMODE 2   with fails EINVAL
//	write f ED 02     host bytes
//	revoke kbd0       takes the device from those who have it open
//	vt 2              terminal 2 gets the screen; with unseen, so far unnoticed
//	share kbd1        the console is to hear what its readers do, from now on; mute kbd1: no longer
//	sleep             the machine is about to suspend; wake: it has resumed
//	wait 500ms
//	restart           kbdd ends in order and another goes on; die: the first is killed. All keyboards are to be plugged in anew
//
//	f: 1E 9E          what f reads; nothing; an error's name
//	console: A+A A-A  what the console heard: keyboard A, key A down and up
//	bypass: +F1 -F1   what the system heard around the muted keyboards
//	muted: A B        the keyboards that are muted now
//	lit: A 2          the LEDs of A, as they were set last; none
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// A scenario begins with a line "## its name".
		for i, part := range strings.Split("\n"+string(text), "\n## ") {
			if i == 0 {
				continue
			}
			name, body, _ := strings.Cut(part, "\n")
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { newScene(t, name).play(body) })
			})
		}
	}
}

// scene is a service among fakes.
type scene struct {
	t         *testing.T
	service   *Service
	config    Config
	labels    map[string]string // of the nodes
	keyboards map[string]*fakeKeyboard
	files     map[string]*File
	console   *fakeConsole
	heard     []string // by the console
	bypass    fakeBypass
}

func newScene(t *testing.T, name string) *scene {
	s := &scene{
		t: t, labels: make(map[string]string), keyboards: make(map[string]*fakeKeyboard),
		files: make(map[string]*File), console: &fakeConsole{active: 1, of: make(map[uint32]int)},
	}
	s.config = Config{
		Console: s.console, Bypass: &s.bypass, Log: slog.New(slog.DiscardHandler),
		MakeNode: func(n Node) error { s.labels[n.Name] = n.Label; return nil },
		Relabel:  func(name, label string) { s.labels[name] = label },
	}
	settings := DefaultSettings
	if strings.Contains(name, "with few files") {
		settings.Limits = Limits{Files: 3, FilesPerUser: 2}
	}
	if strings.Contains(name, "without a bypass") {
		s.config.Bypass = nil
	}
	if strings.Contains(name, "within a second") {
		settings.StallTimeout = time.Second
	}
	if strings.Contains(name, "with no chords") {
		settings.Chords = Chords{}
	}
	var err error
	if s.service, err = New(s.config, settings); err != nil {
		t.Fatal(err)
	}
	return s
}

// restart has another service go on with the files of the first.
func (s *scene) restart() (err error) {
	kept := make(map[string]map[string][]byte) // by device and file
	for _, d := range s.service.devicesLocked() {
		kept[d.name] = make(map[string][]byte)
	}
	for name, f := range s.files {
		if !f.closed {
			kept[f.device.name][name], _ = f.AppendBinary(nil)
		}
	}
	for _, f := range s.files {
		_ = f.Close() // only so that the old service does nothing any more
	}
	synctest.Wait()
	next := s.config
	for _, p := range s.service.ports {
		next.Left = append(next.Left, s.labels[p.device.name])
	}
	next.MakeNode = func(n Node) error {
		for name, state := range kept[n.Name] {
			old := s.files[name]
			h := &cuse.Handle{UID: old.opener.UID, PID: old.opener.PID, Flags: unix.O_RDONLY}
			if !old.reads {
				h.Flags = unix.O_WRONLY
			}
			f, err := n.Restore(h, state)
			if err != nil {
				return err
			}
			s.files[name] = f.(*File)
		}
		return nil
	}
	s.service, err = New(next, s.service.settings)
	return err
}

func (s *scene) play(body string) {
	lines := bufio.NewScanner(strings.NewReader(body))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var err error
		if who, ok := strings.CutSuffix(words[0], ":"); ok {
			if got, want := s.told(who), strings.Join(words[1:], " "); got != want {
				err = fmt.Errorf("%s has %s, want %s", who, got, want)
			}
		} else {
			err = s.do(words[0], words[1:])
		}
		if err != nil {
			s.t.Errorf("line %d: %q: %v", n, strings.TrimSpace(line), err)
		}
	}
	for _, f := range s.files {
		f.Close()
	}
}

// do does what a line says. An error that the line expects is none.
func (s *scene) do(verb string, args []string) error {
	wanted := ""
	if n := len(args); n > 1 && args[n-2] == "fails" {
		wanted, args = args[n-1], args[:n-2]
	}
	err := s.try(verb, args)
	synctest.Wait()
	if got := errorName(err); got != wanted {
		return fmt.Errorf("error %q, want %q", got, wanted)
	}
	return nil
}

func (s *scene) try(verb string, args []string) error {
	switch verb {
	case "plug":
		k := &fakeKeyboard{scene: s, name: args[0]}
		s.keyboards[args[0]] = k
		return s.service.Add(k)
	case "unplug":
		k := s.keyboards[args[0]]
		k.gone()
		s.service.Remove(k)
	case "press", "release", "tap":
		for _, name := range args[1:] {
			s.keyboards[args[0]].keys(verb, keyNamed(s.t, name))
		}
	case "lose":
		if lost := s.keyboards[args[0]].lost; lost != nil {
			lost()
		}
	case "open":
		return s.open(args)
	case "close":
		return s.files[args[0]].Close()
	case "ioctl":
		return s.ioctl(args)
	case "write":
		var b []byte
		for _, h := range args[1:] {
			v, err := strconv.ParseUint(h, 16, 8)
			if err != nil {
				return err
			}
			b = append(b, byte(v))
		}
		_, err := s.files[args[0]].Write(b)
		return err
	case "revoke":
		if !s.service.Release(args[0]) {
			return unix.ENOENT
		}
	case "vt":
		if len(args) > 1 { // unseen
			s.console.active = number(s.t, args[0])
			break
		}
		s.console.activate(number(s.t, args[0]))
	case "restart":
		s.service.HandOver()
		return s.restart()
	case "die":
		return s.restart()
	case "share", "mute":
		mute := verb == "mute"
		settings := s.service.settings
		settings.Rules = append(settings.Rules, Rule{Fits: func(device, _ string) bool { return device == args[0] }, Mute: &mute})
		s.service.Set(settings)
	case "sleep", "wake":
		s.service.Sleep(verb == "sleep")
	case "wait":
		d, err := time.ParseDuration(args[0])
		time.Sleep(d)
		return err
	default:
		return errors.New("no such event")
	}
	return nil
}

func (s *scene) open(args []string) error {
	opener, flags := Opener{UID: 1000, PID: uint32(len(s.console.of) + 1)}, unix.O_RDONLY
	s.console.of[opener.PID] = 0
	for i := 2; i < len(args); i++ {
		switch args[i] {
		case "write":
			flags = unix.O_WRONLY
		case "nonblock":
			flags |= unix.O_NONBLOCK
		case "vt":
			i++
			s.console.of[opener.PID] = number(s.t, args[i])
		case "uid":
			i++
			opener.UID = uint32(number(s.t, args[i]))
		}
	}
	device := s.service.kbd0
	for _, p := range s.service.ports {
		if p.device.name == args[1] {
			device = p.device
		}
	}
	if _, ok := s.labels[args[1]]; !ok {
		return unix.ENOENT
	}
	f, err := device.open(context.Background(), opener, flags, func() {})
	if err == nil {
		s.files[args[0]] = f
	}
	return err
}

func (s *scene) ioctl(args []string) error {
	cmd := map[string]uint32{
		"KDSKBMODE": kdSKBMode, "KDSETLED": kdSetLED, "TIOCEXCL": unix.TIOCEXCL, "TIOCNXCL": unix.TIOCNXCL,
		"VT_ACTIVATE": vtActivate, "VT_WAITACTIVE": vtWaitActive, "TCFLSH": unix.TCFLSH,
	}[args[1]]
	c := &cuse.Ioctl{Cmd: cmd}
	if len(args) > 2 {
		c.Arg = uint64(number(s.t, args[2]))
	}
	_, err := s.files[args[0]].Ioctl(context.Background(), c)
	return err
}

// told is what somebody has heard since the last time.
func (s *scene) told(who string) string {
	var words []string
	switch who {
	case "console":
		words, s.heard = s.heard, nil
	case "bypass":
		words, s.bypass = s.bypass, nil
	case "muted":
		for name, k := range s.keyboards {
			if muted, _ := k.Muted(); muted {
				words = append(words, name)
			}
		}
		slices.Sort(words)
	case "lit":
		for name, k := range s.keyboards {
			if _, lit := k.state(); lit != nil {
				words = append(words, name, fmt.Sprint(*lit))
			}
		}
	default:
		return read(s.files[who])
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, " ")
}

// read is all that a file has to read.
func read(f *File) string {
	var all []byte
	buf := make([]byte, 64)
	for {
		n, err := f.Read(buf)
		all = append(all, buf[:n]...)
		switch {
		case err == nil:
		case err != cuse.ErrWouldBlock:
			return errorName(err)
		case len(all) == 0:
			return "nothing"
		default:
			return fmt.Sprintf("% X", all)
		}
	}
}

func errorName(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return unix.ErrnoName(errno)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func keyNamed(t *testing.T, name string) scancode.Key {
	for key := scancode.Key(1); key < keyCount; key++ {
		if key.String() == "KEY_"+name {
			return key
		}
	}
	t.Fatalf("no key %q", name)
	return 0
}

// fakeKeyboard is a keyboard that changes hands at once.
type fakeKeyboard struct {
	scene *scene
	name  string
	down  keySet

	stuck    error         // why it cannot be muted
	settling chan struct{} // what Mute returns, if not nil
	leaving  chan struct{} // what Unmute returns, if not nil
	hangs    bool

	mu      sync.Mutex
	deliver func(code uint16, pressed bool) // nil while it is the console's; guarded by mu
	lost    func()                          // likewise
	shared  bool                            // guarded by mu
	leds    *uint8                          // guarded by mu
}

var done = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (k *fakeKeyboard) ID() string { return k.name }
func (k *fakeKeyboard) Describe() (name, node string) {
	return "Keyboard " + k.name, "/dev/input/" + k.name
}

func (k *fakeKeyboard) Muted() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deliver != nil && !k.shared && k.stuck == nil, k.stuck
}

func (k *fakeKeyboard) Stuck() bool { return k.hangs }

func (k *fakeKeyboard) SetLEDs(leds uint8) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leds = &leds
}

func (k *fakeKeyboard) Mute(deliver func(code uint16, pressed bool), lost func()) <-chan struct{} {
	return k.hear(deliver, lost, false)
}

func (k *fakeKeyboard) Share(deliver func(code uint16, pressed bool), lost func()) <-chan struct{} {
	return k.hear(deliver, lost, true)
}

func (k *fakeKeyboard) hear(deliver func(code uint16, pressed bool), lost func(), shared bool) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deliver, k.lost, k.shared = deliver, lost, shared
	if k.settling != nil {
		return k.settling
	}
	return done
}

func (k *fakeKeyboard) Unmute() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deliver, k.lost, k.shared, k.leds = nil, nil, false, nil
	if k.leaving != nil {
		return k.leaving
	}
	return done
}

// state tells who gets the keyboard's keys, nil for the console, and its LEDs, nil if nobody has set them.
func (k *fakeKeyboard) state() (hearer func(code uint16, pressed bool), lit *uint8) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deliver, k.leds
}

func (k *fakeKeyboard) keys(verb string, key scancode.Key) {
	if verb != "release" {
		k.down.add(key)
		k.put(key, true)
	}
	if verb != "press" {
		k.down.remove(key)
		k.put(key, false)
	}
}

func (k *fakeKeyboard) put(key scancode.Key, pressed bool) {
	k.mu.Lock()
	deliver, shared := k.deliver, k.shared
	k.mu.Unlock()
	if deliver != nil {
		deliver(uint16(key), pressed)
		if !shared {
			return
		}
	}
	k.scene.heard = append(k.scene.heard, k.name+strokeName(key, pressed))
}

// gone releases what is down, as a keyboard does when it is unplugged.
func (k *fakeKeyboard) gone() {
	for key := range k.down.all() {
		k.put(key, false)
	}
	k.Unmute()
}

func strokeName(key scancode.Key, pressed bool) string {
	sign := "-"
	if pressed {
		sign = "+"
	}
	return sign + strings.TrimPrefix(key.String(), "KEY_")
}

type fakeBypass []string

func (b *fakeBypass) Key(code uint16, pressed bool) {
	*b = append(*b, strokeName(scancode.Key(code), pressed))
}

// fakeConsole is a set of terminals.
type fakeConsole struct {
	active  int
	of      map[uint32]int // the terminals of processes
	changed func(int)      // told of switches; nil while nobody watches
}

func (c *fakeConsole) activate(n int) {
	c.active = n
	if c.changed != nil {
		c.changed(n)
	}
}

func (c *fakeConsole) Watch(ctx context.Context, changed func(int)) error {
	c.changed = changed
	changed(c.active)
	<-ctx.Done()
	c.changed = nil
	return ctx.Err()
}

func (c *fakeConsole) Active() int                                    { return c.active }
func (c *fakeConsole) Of(pid uint32) int                              { return c.of[pid] }
func (c *fakeConsole) Activate(n int) error                           { c.activate(n); return nil }
func (c *fakeConsole) State() (active, open uint16, err error)        { return uint16(c.active), 0, nil }
func (c *fakeConsole) LEDs() uint8                                    { return 0 }
func (c *fakeConsole) KeymapEntry(table, index uint8) (uint16, error) { return 0, io.EOF }

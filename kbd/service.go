package kbd

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"kbdd/cuse"
)

// A Keyboard is what the service needs of a keyboard. input.Keyboard is one.
type Keyboard interface {
	// ID is the keyboard's place and identity: the same when it is unplugged and plugged in again.
	ID() string
	// Mute takes the keyboard from the console and gives its presses and releases to deliver, one at a time. Every press
	// that is delivered is followed by its release. lost tells that keys were lost, and is called likewise. The channel is
	// closed when the keyboard is muted, or cannot be, or Unmute has overtaken it. Mute itself does not wait; a muted
	// keyboard stays so.
	Mute(deliver func(code uint16, pressed bool), lost func()) <-chan struct{}
	// Share is Mute, except that the console hears the keyboard as well.
	Share(deliver func(code uint16, pressed bool), lost func()) <-chan struct{}
	// Unmute gives the keyboard back. The channel is closed when the console has it. Unmute itself does not wait.
	Unmute() <-chan struct{}
	// SetLEDs lights a muted keyboard's LEDs, in the bits of atkbd.LEDs, until Unmute.
	SetLEDs(leds uint8)
	// Describe is what people know it by: its maker's name for it, and its node.
	Describe() (name, node string)
	// Muted tells whether it is muted at this moment, and if not, what failed at the last attempt.
	Muted() (bool, error)
	// Stuck tells that its thread has done nothing since the last call, though there was something to do.
	Stuck() bool
}

// A Console is what the service needs of the virtual terminals, which are numbered from 1 up. vt.Console is one.
type Console interface {
	// Active is the terminal that has the screen, or 0 if there is none.
	Active() int
	// Of is the terminal of a thread, or 0 if it has none.
	Of(pid uint32) int
	// Watch calls changed with the active terminal, at once and after each switch, until ctx ends.
	Watch(ctx context.Context, changed func(active int)) error
	// Activate begins to switch to terminal n: VT_ACTIVATE.
	Activate(n int) error
	// State tells which terminal is active, and in bits which are open: VT_GETSTATE.
	State() (active, open uint16, err error)
	// LEDs are those that the console has lit, in the bits of atkbd.LEDs.
	LEDs() uint8
	// KeymapEntry is what a key code (index) means to the console under the modifiers of table: KDGKBENT.
	KeymapEntry(table, index uint8) (uint16, error)
}

// A Bypass takes keys to the kernel around a muted keyboard. input.Bypass is one.
type Bypass interface {
	// Key presses or releases a key, by its Linux key code.
	Key(code uint16, pressed bool)
}

// A Node is a device node that a service wants.
type Node struct {
	Name    string           // below /dev
	Label   string           // whose node it is, to be told to the service that goes on with it: see Config.Left; "" for kbd0
	Open    cuse.OpenFunc    // opens it
	Restore cuse.RestoreFunc // goes on with a file that an earlier service had open
}

// A NodeMaker makes a node, or goes on with the one of that name that an earlier service left.
type NodeMaker func(Node) error

// A Relabeler gives a node that was made another label.
type Relabeler func(name, label string)

// Config is what a service is made of.
type Config struct {
	Console  Console
	Bypass   Bypass // nil: there is none; then only terminals can be switched, by Console.Activate
	MakeNode NodeMaker
	Relabel  Relabeler
	InUse    func()       // is called when a first file is opened; must not wait; nil: no one wants to know
	Log      *slog.Logger // must not wait

	// Groups are those that a thread is in; nil: none can be told.
	Groups func(pid uint32) []uint32

	// Left are the labels of kbd1, kbd2 and so on, whose nodes an earlier service has left. Their keyboards keep the numbers.
	Left []string
}

// Settings are what the administrator decides; they can be changed while the service runs.
type Settings struct {
	Chords Chords // what goes on to the system
	Limits Limits

	// Rules are for single devices. Of those that fit one and say something of the same, the last holds.
	Rules []Rule

	// StallTimeout is how long a reader may leave codes unread before the keyboard is taken from it; 0: for ever.
	StallTimeout time.Duration
}

// Limits are what a device bears, so that no client can have all of it, or all of kbdd's memory.
type Limits struct {
	Files        int // open files of a device; the next open(2) is EBUSY
	FilesPerUser int // of one user, but for root; the next open(2) is EMFILE
}

// MaxFiles is the largest that a limit can be.
const MaxFiles = 4096

// DefaultLimits are those that most will never meet, and DefaultSettings what a person at a keyboard expects.
var (
	DefaultLimits   = Limits{Files: 256, FilesPerUser: 64}
	DefaultSettings = Settings{Chords: AllChords, Limits: DefaultLimits}
)

// giveBackLimit bounds how long a last close(2) waits for a key that is held down. It is longer than a keyboard takes that is
// given back with the key held; one that repeats by itself is given back when it repeats no more.
const giveBackLimit = 2 * time.Second

// A Service owns the devices and the keyboards behind them.
type Service struct {
	Config

	lighting sync.Mutex // held while LEDs are set, so that the last ones stay; taken before mu
	plugging sync.Mutex // held by Add and Remove; taken before mu

	mu       sync.Mutex
	counts   counts        // guarded by mu
	change   chan struct{} // closed at the next change; nil while nobody waits for one; guarded by mu
	settings Settings      // guarded by mu
	kbd0     *Device
	ports    []*port            // in the order in which the keyboards were found; guarded by mu
	active   int                // the terminal that has the screen; 0: unknown, or none; guarded by mu
	unview   context.CancelFunc // ends the watch over the terminals; nil while nothing is open; guarded by mu
	blind    bool               // that watch has failed: no one knows who has the screen; guarded by mu
	ended    bool               // no file listens any more; guarded by mu
	asleep   bool               // the machine suspends; guarded by mu
}

// New is a service with no keyboard yet. It makes kbd0, and goes on with what an earlier service left.
func New(c Config, settings Settings) (*Service, error) {
	s := &Service{Config: c, counts: newCounts()}
	s.kbd0 = &Device{service: s, name: "kbd0"}
	s.Set(settings)
	if err := s.MakeNode(s.kbd0.node()); err != nil {
		return nil, err
	}
	for _, label := range c.Left {
		id, name, _ := strings.Cut(label, labelSeparator)
		s.mu.Lock()
		p := s.newPortLocked(id)
		p.name, p.label = name, label
		s.mu.Unlock()
		if err := s.MakeNode(p.device.node()); err != nil {
			s.Log.Error("device is gone", "device", p.device.name, "err", err)
		}
	}
	s.takeUp()
	return s, nil
}

// Set changes the settings. Files that are open stay open.
func (s *Service) Set(settings Settings) {
	if s.Bypass == nil {
		settings.Chords = Chords{VT: settings.Chords.VT} // the others could not be carried out: they are the reader's
	}
	s.mu.Lock()
	s.settings = settings
	s.routeLocked(nil)
	s.mu.Unlock()
	s.settle()
}

// Release takes a device from those who have it open, as EVIOCREVOKE does: they get ENODEV from now on. The console has
// the keyboards back if no other device's reader has them. It is false if there is no device of that name.
func (s *Service) Release(name string) bool {
	s.mu.Lock()
	devices := s.devicesLocked()
	s.mu.Unlock()
	for _, d := range devices {
		if d.name == name {
			s.release(d)
			return true
		}
	}
	return false
}

func (s *Service) release(d *Device) {
	s.mu.Lock()
	for _, f := range d.files {
		f.revokeLocked()
	}
	s.routeLocked(nil)
	s.mu.Unlock()
	s.settle()
}

// settle finishes a change of who hears what: files have codes queued then, and keyboards the wrong LEDs.
func (s *Service) settle() {
	s.wakeAll()
	s.light()
}

// wakeAll brings all files what a change has queued for them.
func (s *Service) wakeAll() {
	s.mu.Lock()
	var files []*File
	for _, d := range s.devicesLocked() {
		files = append(files, d.files...)
	}
	s.mu.Unlock()
	s.wake(clock(), files)
}

func (s *Service) devicesLocked() []*Device {
	devices := []*Device{s.kbd0}
	for _, p := range s.ports {
		devices = append(devices, p.device)
	}
	return devices
}

// light brings the LEDs that the listeners want to the keyboards.
func (s *Service) light() {
	s.lighting.Lock()
	defer s.lighting.Unlock()
	type light struct {
		keyboard Keyboard
		leds     uint8
	}
	var lights []light
	s.mu.Lock()
	for _, p := range s.ports {
		if p.keyboard == nil || p.target == nil {
			continue
		}
		// A keyboard that goes from hand to hand keeps what one has set until the next one's are set.
		if leds, set := p.target.ledsLocked(); set || p.lit {
			p.lit = true
			lights = append(lights, light{p.keyboard, uint8(leds)})
		}
	}
	s.mu.Unlock()
	for _, l := range lights {
		l.keyboard.SetLEDs(l.leds)
	}
}

// Close takes the devices from all who have them open, and gives all keyboards back to the console. It returns when the
// console has them.
func (s *Service) Close() {
	s.mu.Lock()
	for _, d := range s.devicesLocked() {
		for _, f := range d.files {
			f.revokeLocked()
		}
	}
	s.mu.Unlock()
	s.HandOver()
}

// HandOver gives all keyboards back to the console, and leaves the files open for the next service. It returns when the
// console has the keyboards.
func (s *Service) HandOver() {
	s.mu.Lock()
	s.ended = true
	for _, d := range s.devicesLocked() {
		for _, f := range d.files {
			f.countLocked()
		}
	}
	s.routeLocked(nil)
	unmuted := s.leavingLocked(nil)
	s.mu.Unlock()
	s.wakeAll()
	ctx, cancel := context.WithTimeout(context.Background(), giveBackLimit)
	defer cancel()
	_ = await(ctx, unmuted)
}

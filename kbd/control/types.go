package control

import "time"

// Socket is where kbdd listens.
const Socket = "/run/kbdd/control.sock"

// Version is that of the types here, and of the paths that give them.
const Version = 1

// A Status is what kbdd is doing at one moment.
type Status struct {
	Version   int        `json:"version"`
	Terminal  int        `json:"terminal"` // the one that has the screen, as far as kbdd follows it; 0: unknown
	Devices   []Device   `json:"devices"`
	Keyboards []Keyboard `json:"keyboards"`
}

// A Device is one of /dev/kbdN.
type Device struct {
	Name    string   `json:"name"` // "kbd0"
	Holders []Holder `json:"holders"`
}

// A Keyboard is one that is plugged in, or was.
type Keyboard struct {
	ID      string `json:"id"`     // its place and identity
	Name    string `json:"name"`   // as its maker calls it
	Node    string `json:"node"`   // "/dev/input/event3"
	Device  string `json:"device"` // its own, "kbd1"
	Plugged bool   `json:"plugged"`
	HeardBy string `json:"heard_by"`         // Console, or the device whose readers get its keys; empty while unplugged
	Muted   bool   `json:"muted"`            // the console does not hear it at this moment
	Shared  bool   `json:"shared,omitempty"` // the console is to hear it as well: it is not to be muted
	Problem string `json:"problem,omitempty"`
}

// Console is who hears a keyboard that no device's reader has.
const Console = "console"

// A Holder is one open file of a device.
type Holder struct {
	PID      uint32    `json:"pid"`     // of the program that opened it
	Command  string    `json:"command"` // its name; empty if it is gone, and another has the file now
	UID      uint32    `json:"uid"`
	Since    time.Time `json:"since"`
	Mode     string    `json:"mode"`   // "set 1", or the name of a console's keyboard mode, "K_OFF"
	Unread   int       `json:"unread"` // bytes that wait to be read
	Dropped  uint64    `json:"dropped"`
	Overruns uint64    `json:"overruns"`
	Terminal int       `json:"terminal"` // the one that it belongs to; 0: all
	Listens  bool      `json:"listens"`
	WhyNot   WhyNot    `json:"why_not,omitempty"` // it listens
}

// WhyNot says why a holder does not listen.
type WhyNot string

// The reasons.
const (
	WriteOnly WhyNot = "write-only" // it was opened to write
	Released  WhyNot = "released"   // the device was taken from it
	Cooked    WhyNot = "mode"       // it is in K_XLATE or K_UNICODE, in which the console makes the characters
	Behind    WhyNot = "terminal"   // another terminal than its own has the screen
)

// Metrics are counted since kbdd started.
type Metrics struct {
	Goroutines int // that there are, of kbdd itself

	Opens    uint64
	Holders  int
	Keys     uint64 // presses and releases that a device heard
	Dropped  uint64 // presses that had no code in the reader's set
	Overruns uint64 // times that keys were lost, and a reader was told

	MuteWait Histogram // how long open(2) waited for the keyboards to be muted
	Latency  Histogram // from when kbdd has a key until its readers are told
}

// A Histogram counts durations by their length.
type Histogram struct {
	Bounds []time.Duration // the upper ends of the buckets
	Counts []uint64        // of each bucket, and one more for what is longer
	Sum    time.Duration
}

// NewHistogram is an empty one.
func NewHistogram(bounds ...time.Duration) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

// Observe counts one.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(h.Bounds) && d > h.Bounds[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += d
}

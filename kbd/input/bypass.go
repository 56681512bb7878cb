package input

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	evdev "github.com/gvalkov/golang-evdev"
)

// ownPhys begins the place of the devices that are made here, by which they are told from keyboards.
const ownPhys = "kbdd/"

// A Bypass is an input device of our own, by which single keys reach the kernel while the keyboard that they were typed
// on is muted: what a virtual terminal, SysRq or logind does with them is as ever.
type Bypass struct {
	dev *uinputDevice
	log *slog.Logger
}

// NewBypass makes the device. It has all the keys of a keyboard, and the keys for power. errors.Is tells fs.ErrNotExist:
// the kernel's module uinput is not loaded.
func NewBypass(log *slog.Logger) (*Bypass, error) {
	keys := append(codeRange(evdev.KEY_ESC, 0xff), evdev.KEY_POWER2, keyRestart)
	dev, err := newUinput(uinputSetup{name: "kbdd bypass", phys: ownPhys + "bypass", keys: keys})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: load the module with \"modprobe uinput\"", err)
	}
	if err != nil {
		return nil, err
	}
	return &Bypass{dev, log}, nil
}

// keyRestart is KEY_RESTART, of which golang-evdev does not know.
const keyRestart = 0x198

// Key presses or releases a key.
func (b *Bypass) Key(code uint16, pressed bool) {
	ev := evdev.InputEvent{Type: evdev.EV_KEY, Code: code}
	if pressed {
		ev.Value = 1
	}
	if err := b.dev.write([]evdev.InputEvent{ev}); err != nil {
		b.log.Error("cannot send key around the muted keyboard", "err", err)
	}
}

// Close takes the device away.
func (b *Bypass) Close() error { return b.dev.Close() }

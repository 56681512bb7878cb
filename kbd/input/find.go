package input

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	evdev "github.com/gvalkov/golang-evdev"
	"golang.org/x/sys/unix"
)

// busI8042 is the bus of a keyboard behind a PC's controller (BUS_I8042, include/uapi/linux/input.h).
const busI8042 = 0x11

// Info is what the kernel tells of an evdev node.
type Info struct {
	Path            string // /dev/input/eventN
	Name            string // as the driver or the device has it
	Phys            string // the place where it is plugged in; empty where the driver tells none
	Uniq            string // its serial number or address; empty where it has none
	Bus             uint16 // BUS_* of linux/input.h
	Vendor, Product uint16
	Typing          bool // it has keys to type with

	inode uint64 // of Path: another one each time that it is plugged in
}

// HardwareRepeat tells if it is the keyboard that repeats held keys, and not the kernel in its stead.
func (i *Info) HardwareRepeat() bool { return i.Bus == busI8042 }

// ID is the keyboard's place and identity: the same when it is unplugged and plugged in again at the same place. The place
// of a Bluetooth keyboard is the computer's adapter, and its address in Uniq (net/bluetooth/hidp/core.c).
func (i *Info) ID() string {
	place := cmp.Or(i.Phys, "-")
	if i.Uniq != "" {
		place += " " + i.Uniq
	}
	return fmt.Sprintf("%s %04x:%04x %s", place, i.Vendor, i.Product, i.Name)
}

// nodes lists the evdev nodes in dir, in the order of their numbers.
func nodes(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "event*"))
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(nodeNumber(a), nodeNumber(b)) })
	return paths, err
}

func nodeNumber(path string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), "event"))
	if err != nil {
		return -1
	}
	return n
}

// look opens a node for as long as it takes to ask what it is.
func look(path string) (Info, error) {
	dev, err := evdev.Open(path)
	for errors.Is(err, unix.EINTR) { // by the runtime's own signals; see evdevNode.call
		dev, err = evdev.Open(path)
	}
	if err != nil {
		return Info{}, fmt.Errorf("looking at %s: %w", path, err)
	}
	defer dev.File.Close()
	var keys keySet
	for typ, codes := range dev.Capabilities {
		if typ.Type != evdev.EV_KEY {
			continue // the lists of other types hold stale bits
		}
		for _, c := range codes {
			keys.add(uint16(c.Code))
		}
	}
	info := Info{
		Path: path, Name: dev.Name, Phys: dev.Phys,
		Bus: dev.Bustype, Vendor: dev.Vendor, Product: dev.Product, Typing: canType(&keys),
	}
	raw, err := dev.File.SyscallConn()
	if err != nil {
		return Info{}, fmt.Errorf("looking at %s: %w", path, err)
	}
	var stat unix.Stat_t
	errControl := raw.Control(func(fd uintptr) {
		info.Uniq = uniq(int(fd))
		err = unix.Fstat(int(fd), &stat)
	})
	if err := errors.Join(err, errControl); err != nil {
		return Info{}, fmt.Errorf("looking at %s: %w", path, err)
	}
	info.inode = stat.Ino
	return info, nil
}

// canType tells a keyboard: one can type a text on it, or a sum, for it has the letters A to Z, or a keypad's digits and
// Enter. Power buttons, remotes, headsets, mice and gamepads have keys too, often some letters or digits, but not those.
func canType(keys *keySet) bool {
	return hasAll(keys, letters) || hasAll(keys, keypad)
}

func hasAll(keys *keySet, codes []uint16) bool {
	return !slices.ContainsFunc(codes, func(code uint16) bool { return !keys.has(code) })
}

var (
	letters = slices.Concat(codeRange(evdev.KEY_Q, evdev.KEY_P), codeRange(evdev.KEY_A, evdev.KEY_L), codeRange(evdev.KEY_Z, evdev.KEY_M))
	keypad  = []uint16{
		evdev.KEY_KP0, evdev.KEY_KP1, evdev.KEY_KP2, evdev.KEY_KP3, evdev.KEY_KP4, evdev.KEY_KP5,
		evdev.KEY_KP6, evdev.KEY_KP7, evdev.KEY_KP8, evdev.KEY_KP9, evdev.KEY_KPENTER,
	}
)

func codeRange(first, last uint16) (codes []uint16) {
	for c := first; c <= last; c++ {
		codes = append(codes, c)
	}
	return codes
}

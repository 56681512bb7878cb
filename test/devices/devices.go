// Package devices is what input devices of the world can do, for tests to find the keyboards among them. It does not
// know how they are told.
package devices

import (
	_ "embed"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Device is an input device.
type Device struct {
	Name, Phys           string
	Bus, Vendor, Product uint16
	Bits                 map[string][]uint16 // codes of KEY, REL, ABS, SW, SND, and the properties PROP

	// Keyboard says that it is one, and Pointer that it has axes and buttons as well, which are not the keyboard's.
	Keyboard, Pointer bool
}

//go:embed devices.txt
var text string

// All are the devices of devices.txt.
func All() ([]Device, error) {
	var all []Device
	for number, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if kind, ok := kinds[line]; ok {
			all = append(all, kind)
			all[len(all)-1].Bits = make(map[string][]uint16)
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("devices.txt:%d: %s: what device is that?", number+1, line)
		}
		if err := all[len(all)-1].parse(line); err != nil {
			return nil, fmt.Errorf("devices.txt:%d: %w", number+1, err)
		}
	}
	return all, nil
}

var kinds = map[string]Device{
	"none":             {},
	"keyboard":         {Keyboard: true},
	"keyboard+pointer": {Keyboard: true, Pointer: true},
}

// parse takes a line as /proc/bus/input/devices has it.
func (d *Device) parse(line string) (err error) {
	kind, field, _ := strings.Cut(line, ": ")
	name, value, _ := strings.Cut(field, "=")
	switch kind {
	case "I":
		_, err = fmt.Sscanf(field, "Bus=%x Vendor=%x Product=%x", &d.Bus, &d.Vendor, &d.Product)
	case "N":
		d.Name = strings.Trim(value, `"`)
	case "P":
		d.Phys = value
	case "B":
		d.Bits[name], err = parseBits(value)
	default:
		err = fmt.Errorf("%s: no such line", line)
	}
	return err
}

// parseBits reads a bitmap of words of 64 bits, the highest first.
func parseBits(text string) (codes []uint16, err error) {
	words := strings.Fields(text)
	for i := range words {
		word, err := strconv.ParseUint(words[len(words)-1-i], 16, 64)
		if err != nil {
			return nil, err
		}
		for ; word != 0; word &= word - 1 {
			codes = append(codes, uint16(64*i+bits.TrailingZeros64(word)))
		}
	}
	return codes, nil
}

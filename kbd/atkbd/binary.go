package atkbd

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// A Keyboard as bytes, so that another process can go on with it:
//
//	u16   length of the encoder    bytes  the encoder
//	u64   keys that are held       4 of them
//	u64   dropped, overruns; delay and period of the typematic repeat in ns
//	u8    flags, LEDs, LEDs at power-on, command that awaits data, byte sent last
//	u8    types of the keys        256 of them, if the flags say so
//	u8    what is queued           byte, kind, key and whether it ends a code; to the end
const (
	flagBehind = 1 << iota
	flagRefused
	flagScanning
	flagInside
	flagTypes
)

const fixedSize = 4*8 + 4*8 + 5 // between the encoder and the types

var errBinary = errors.New("atkbd: these bytes are no keyboard")

// AppendBinary implements [encoding.BinaryAppender]: it appends what UnmarshalBinary makes such a keyboard of. A key that
// repeats does so no more. It never fails, and is at most some 7 KiB.
func (k *Keyboard) AppendBinary(dst []byte) ([]byte, error) {
	start := len(dst)
	dst, _ = k.enc.AppendBinary(append(dst, 0, 0))
	binary.LittleEndian.PutUint16(dst[start:], uint16(len(dst)-start-2))
	// With no loop, for it is done for each key and reader.
	dst = slices.Grow(dst, fixedSize)
	dst = dst[:len(dst)+fixedSize]
	fixed := (*[fixedSize]byte)(dst[len(dst)-fixedSize:])
	binary.LittleEndian.PutUint64(fixed[0:], k.held[0])
	binary.LittleEndian.PutUint64(fixed[8:], k.held[1])
	binary.LittleEndian.PutUint64(fixed[16:], k.held[2])
	binary.LittleEndian.PutUint64(fixed[24:], k.held[3])
	binary.LittleEndian.PutUint64(fixed[32:], k.dropped)
	binary.LittleEndian.PutUint64(fixed[40:], k.overruns)
	binary.LittleEndian.PutUint64(fixed[48:], uint64(k.repeat.delay))
	binary.LittleEndian.PutUint64(fixed[56:], uint64(k.repeat.period))
	fixed[64] = flag(flagBehind, k.behind) | flag(flagRefused, k.command.refused) | flag(flagScanning, k.scanning) |
		flag(flagInside, k.out.inside) | flag(flagTypes, k.typed)
	fixed[65], fixed[66], fixed[67], fixed[68] = byte(k.leds), byte(k.powerOnLEDs), k.command.awaits, k.command.last
	if k.typed {
		for _, t := range k.types {
			dst = append(dst, byte(t))
		}
	}
	for i := range k.out.n {
		s := k.out.at(i)
		dst = append(dst, s.b, byte(s.kind), s.key, flag(1, s.last))
	}
	return dst, nil
}

func flag(bit byte, on bool) byte {
	if on {
		return bit
	}
	return 0
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (k *Keyboard) UnmarshalBinary(data []byte) error {
	*k = Keyboard{types: defaultTypes}
	if len(data) < 2 {
		return errBinary
	}
	enc, rest := int(binary.LittleEndian.Uint16(data)), data[2:]
	if len(rest) < enc+fixedSize {
		return errBinary
	}
	if err := k.enc.UnmarshalBinary(rest[:enc]); err != nil {
		return err
	}
	rest = rest[enc:]
	next := func() (n uint64) {
		n, rest = binary.LittleEndian.Uint64(rest), rest[8:]
		return n
	}
	for i := range k.held {
		k.held[i] = next()
	}
	k.dropped, k.overruns = next(), next()
	k.repeat.delay, k.repeat.period = time.Duration(next()), time.Duration(next())
	flags := rest[0]
	k.behind, k.scanning, k.out.inside = flags&flagBehind != 0, flags&flagScanning != 0, flags&flagInside != 0
	k.leds, k.powerOnLEDs = LEDs(rest[1]), LEDs(rest[2])
	k.command = command{awaits: rest[3], refused: flags&flagRefused != 0, last: rest[4]}
	rest = rest[5:]
	if flags&flagTypes != 0 {
		if len(rest) < keyCount {
			return errBinary
		}
		for key := range k.types {
			k.types[key] = keyType(rest[key])
		}
		rest = rest[keyCount:]
		k.typed = true
	}
	if len(rest)%4 != 0 || k.repeat.delay <= 0 || k.repeat.period <= 0 {
		return errBinary
	}
	for ; len(rest) > 0; rest = rest[4:] {
		s := sent{b: rest[0], kind: kind(rest[1]), key: rest[2], last: rest[3] != 0}
		if s.kind > answer || s.kind == answer && k.out.answerRoom() == 0 || s.kind != answer && k.out.keyRoom() == 0 {
			return errBinary
		}
		k.out.put(s)
	}
	return nil
}

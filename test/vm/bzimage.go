package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// bzPayload finds the packed kernel in a bzImage (Documentation/x86/boot.rst, "setup_sects" and "payload_offset").
func bzPayload(bz []byte) ([]byte, error) {
	const (
		setupSects    = 0x1f1
		magic         = 0x202
		version       = 0x206
		payloadOffset = 0x248
		payloadLength = 0x24c
		headerEnd     = 0x250
	)
	if len(bz) < headerEnd || string(bz[magic:magic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	if binary.LittleEndian.Uint16(bz[version:]) < 0x208 {
		return nil, errors.New("a bzImage from before Linux 2.6.26, which does not tell where the kernel is")
	}
	sectors := uint64(bz[setupSects])
	if sectors == 0 {
		sectors = 4 // for reasons that the document calls historical
	}
	start := (sectors+1)*512 + uint64(binary.LittleEndian.Uint32(bz[payloadOffset:]))
	end := start + uint64(binary.LittleEndian.Uint32(bz[payloadLength:]))
	if start >= end || end > uint64(len(bz)) {
		return nil, fmt.Errorf("the kernel's place in the bzImage, %#x to %#x, is outside of it", start, end)
	}
	return bz[start:end], nil
}

// vmlinux unpacks the kernel of a bzImage, so that the machine need not: that takes an emulated CPU four seconds.
func vmlinux(bz []byte) ([]byte, error) {
	payload, err := bzPayload(bz)
	if err != nil {
		return nil, err
	}
	// All formats but gzip have the unpacked length behind them, which their tools would take for rubbish.
	if n := len(payload) - 4; n > 0 && !bytes.HasPrefix(payload, []byte("\x1f\x8b")) {
		payload = payload[:n]
	}
	image, err := decompress(payload)
	if err != nil {
		return nil, err
	}
	if !bootsByPVH(image) {
		return nil, errors.New("the kernel cannot be started by PVH (it was built without CONFIG_PVH)")
	}
	return image, nil
}

// bootsByPVH says if QEMU can start an unpacked kernel: it must name its entry point in a Xen note.
func bootsByPVH(image []byte) bool {
	const physEntry = 18 // XEN_ELFNOTE_PHYS32_ENTRY
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			return false
		}
		for len(notes) >= 12 {
			nameLen := int(f.ByteOrder.Uint32(notes))
			descLen := int(f.ByteOrder.Uint32(notes[4:]))
			kind := f.ByteOrder.Uint32(notes[8:])
			size := 12 + (nameLen+3)&^3 + (descLen+3)&^3
			if nameLen < 0 || descLen < 0 || size > len(notes) {
				break
			}
			if kind == physEntry && string(notes[12:12+nameLen]) == "Xen\x00" {
				return true
			}
			notes = notes[size:]
		}
	}
	return false
}

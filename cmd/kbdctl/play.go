package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kbdd/kbd/control"
)

func playCommand(kbdd func() *control.Client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "play FILE",
		Short: "Type again what was recorded, on a keyboard made for it",
		Long: `Type what was recorded, with evemu's tools or kbdctl record, on a keyboard that is plugged in for it. It is a
keyboard as any other: the console hears it, or who has opened kbdd's device.`,
		Args: cobra.ExactArgs(1),
	}
	speed := cmd.Flags().Float64("speed", 1, "by which `factor` it is faster than it was typed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !(*speed > 0) {
			return usageError("the speed must be above 0")
		}
		rec, err := readRecordingFile(args[0])
		if err != nil {
			return err
		}
		return play(cmd.Context(), kbdd(), rec, *speed)
	}
	return cmd
}

func readRecordingFile(path string) (*recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rec, err := readRecording(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rec, nil
}

// moment is what programs get to find the keyboard, where kbdd cannot tell, and to read its last events: with the
// device, evdev takes away what was not read (drivers/input/evdev.c, evdev_read).
const moment = 200 * time.Millisecond

func play(ctx context.Context, kbdd *control.Client, rec *recording, speed float64) error {
	before, errStatus := kbdd.Status(ctx)
	keyboard, err := plugIn(rec)
	if err != nil {
		return err
	}
	defer keyboard.Close()
	if errStatus != nil || !taken(ctx, kbdd, before, rec.name) {
		wait(ctx, moment)
	}
	start := time.Now()
	for _, ev := range rec.events {
		if !rec.plays(ev) {
			continue
		}
		if !wait(ctx, time.Until(start.Add(time.Duration(float64(ev.at)/speed)))) {
			return ctx.Err() // the kernel releases what is down
		}
		if _, err := keyboard.Write(ev.input()); err != nil {
			return err
		}
	}
	wait(ctx, moment)
	return nil
}

// wait tells if the time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// taken waits until kbdd has seen the new keyboard, and has muted it if somebody reads it. It is false if that takes too
// long.
func taken(ctx context.Context, kbdd *control.Client, before control.Status, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*moment)
	defer cancel()
	old := make(map[string]bool)
	for _, k := range before.Keyboards {
		old[k.Node] = k.Plugged
	}
	for st, err := range kbdd.Watch(ctx) {
		if err != nil {
			return false
		}
		for _, k := range st.Keyboards {
			if k.Plugged && k.Name == name && !old[k.Node] && (k.HeardBy == control.Console || k.Muted || k.Problem != "") {
				return true
			}
		}
	}
	return false
}

// plays tells if an event is the keyboard's own. LEDs are lit by others, and the kernel's repeat is in the recording.
func (rec *recording) plays(ev timedEvent) bool {
	switch ev.kind {
	case evSyn:
		return ev.code == 0
	case evKey, evMsc:
		return rec.has(ev.kind, ev.code)
	}
	return false
}

// input is the event as struct input_event. The kernel sets the time.
func (ev timedEvent) input() []byte {
	b := make([]byte, 2*longSize, eventSize)
	b = binary.NativeEndian.AppendUint16(b, ev.kind)
	b = binary.NativeEndian.AppendUint16(b, ev.code)
	return binary.NativeEndian.AppendUint32(b, uint32(ev.value))
}

// The ioctls of include/uapi/linux/uinput.h whose argument is a number.
const (
	uiDevCreate = 0x5501
	uiSetEvBit  = 0x40045564
	uiSetKeyBit = 0x40045565
	uiSetMscBit = 0x40045568
	uiSetLEDBit = 0x40045569
)

// plugIn makes a keyboard with the keys and LEDs of the recorded one. It goes when it is closed. EV_REP is left out, for
// the repeats are played.
func plugIn(rec *recording) (*os.File, error) {
	f, err := os.OpenFile("/dev/uinput", os.O_WRONLY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: load the module with \"modprobe uinput\"", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: run as root", err)
	case err != nil:
		return nil, err
	}
	if err := rec.setUp(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("/dev/uinput: %w", err)
	}
	return f, nil
}

func (rec *recording) setUp(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	call := func(request uint, arg int) {
		if err == nil {
			errControl := raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), request, arg) })
			err = errors.Join(err, errControl)
		}
	}
	for kind, set := range map[uint16]uint{evKey: uiSetKeyBit, evMsc: uiSetMscBit, evLED: uiSetLEDBit} {
		call(uiSetEvBit, int(kind))
		for code := range uint16(8 * len(rec.bits[kind])) {
			if rec.has(kind, code) {
				call(set, int(code))
			}
		}
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(rec.userDev()); err != nil {
		return err
	}
	call(uiDevCreate, 0)
	return err
}

// userDev is struct uinput_user_dev: a name of 80 bytes, the identity, and effects and axes that a keyboard has not.
func (rec *recording) userDev() []byte {
	const nameSize, rest = 80, 4 + 4*64*4
	b := make([]byte, nameSize, nameSize+8+rest)
	copy(b[:nameSize-1], rec.name)
	for _, v := range rec.id {
		b = binary.NativeEndian.AppendUint16(b, v)
	}
	return append(b, bytes.Repeat([]byte{0}, rest)...)
}

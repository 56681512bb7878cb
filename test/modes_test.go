package test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

func TestModesAreTheOpenFilesOwn(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	raw, medium := openDescriptor(t, os.O_RDONLY), openDescriptor(t, os.O_RDONLY)
	off, last := openDescriptor(t, os.O_RDONLY|unix.O_NONBLOCK), openDescriptor(t, os.O_RDONLY)
	medium.set(KDSKBMODE, modeMediumRaw)
	off.set(KDSKBMODE, modeOff)
	for d, want := range map[*descriptor]int{raw: modeRaw, medium: modeMediumRaw, off: modeOff, last: modeRaw} {
		if mode, err := unix.IoctlGetInt(d.fd, KDGKBMODE); mode != want || err != nil {
			t.Errorf("KDGKBMODE gives %d, %v; want %d", mode, err, want)
		}
	}
	keyboard.Press(machine.KeyDelete)
	raw.wantRead(2, "e0 53")
	medium.wantRead(1, "6f")
	last.wantRead(2, "e0 53")
	off.wantAgain()

	// Another mode while a key is held: the reader gets its break in the old one, and the key is heard of no more.
	medium.set(KDSKBMODE, modeRaw)
	medium.wantRead(1, "ef")
	raw.set(KDSKBMODE, modeMediumRaw)
	raw.wantRead(2, "e0 d3")
	off.set(KDSKBMODE, modeRaw)
	keyboard.Release(machine.KeyDelete)
	keyboard.Tap(machine.KeyA)
	last.wantRead(1, "e0")
	for _, d := range []*descriptor{medium, raw, off} {
		d.wantRead(1, "1e")
		d.wantRead(1, "9e")
	}
	wantScreen(t, tty, "")
}

func TestOffMutesAndIsSilent(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	d := openDescriptor(t, os.O_RDONLY)
	d.set(KDSKBMODE, modeOff)
	keyboard.Type("mute")
	wantScreen(t, tty, "")
	d.set(KDSKBMODE, modeRaw)
	keyboard.Tap(machine.KeyA)
	d.wantRead(1, "1e")
	d.wantRead(1, "9e")
	wantScreen(t, tty, "")
}

func TestConsoleHasTheKeyboardWhileAFileIsInItsModes(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), machine.PS2(t)
	startKbdd(t)
	for _, mode := range []int{modeXlate, modeUnicode} {
		for _, back := range []int{modeRaw, modeMediumRaw, modeOff} {
			d := openDescriptor(t, os.O_RDONLY|unix.O_NONBLOCK)
			d.set(KDSKBMODE, mode)
			keyboard.Type("hello")
			wantScreen(t, tty, "hello")
			d.wantAgain()

			d.set(KDSKBMODE, back)
			last := openDescriptor(t, os.O_RDONLY)
			keyboard.Tap(machine.KeyA)
			last.wantRead(1, "1e")
			last.wantRead(1, "9e")
			if back == modeOff {
				d.wantAgain()
			} else {
				d.wantRead(256, "1e 9e")
			}
			wantScreen(t, tty, "hello")

			// A file that listens has the keyboard for itself, whatever another's mode.
			d.set(KDSKBMODE, mode)
			keyboard.Tap(machine.KeyA)
			last.wantRead(1, "1e")
			last.wantRead(1, "9e")
			wantScreen(t, tty, "hello")
			d.wantAgain()

			last.close()
			keyboard.Type("!")
			wantScreen(t, tty, "hello!")
			d.close()
			tty.Clear()
		}
	}
}

func TestRepeatRateIsTheOpenFilesOwn(t *testing.T) {
	machine.Require(t)
	keyboard := machine.NewUinput(t, machine.UinputConfig{Name: "keyboard with no repeat"})
	startKbdd(t)
	usual, fast, slow := openFresh(t, os.O_RDONLY), openFresh(t, os.O_RDONLY), openFresh(t, os.O_RDONLY)

	const freshDelay, freshPeriod = 500, 91 // F3 2B
	for _, test := range []struct {
		d         *descriptor
		set, want typematic
	}{
		{usual, typematic{0, -1}, typematic{freshDelay, freshPeriod}},
		{fast, typematic{50, 0}, typematic{50, freshPeriod}},
		{fast, typematic{0, 10}, typematic{50, 10}},
		{slow, typematic{100_000, 100_000}, typematic{100_000, 100_000}},
		{usual, typematic{}, typematic{freshDelay, freshPeriod}},
	} {
		got := test.set
		if err := ioctl(test.d.fd, KDKBDREP, &got); got != test.want || err != nil {
			t.Errorf("KDKBDREP %v gives %v, %v; want %v", test.set, got, err, test.want)
		}
	}

	// The files are each other's clocks.
	keyboard.Press(machine.KeyA)
	usual.wantRead(1, "1e")
	usual.wantRead(1, "1e") // after 500 ms
	for range 10 {          // after 140
		fast.wantRead(1, "1e")
	}
	usual.wantRead(1, "1e")
	for range 5 {
		fast.wantRead(1, "1e")
	}
	keyboard.Release(machine.KeyA)
	slow.wantRead(256, "1e 9e")
}

func TestLEDsAreLitWhileTheFileIsOpen(t *testing.T) {
	machine.Require(t)
	machine.OpenConsole(t, 1)
	ps2 := machine.PS2(t)
	other := machine.NewUinput(t, machine.UinputConfig{
		Name: "keyboard with lights", LEDs: machine.NumLock | machine.CapsLock | machine.ScrollLock,
	})
	startKbdd(t)
	before := ps2.LEDs()
	want := func(leds machine.LED, when string) {
		t.Helper()
		machine.WaitUntil(t, fmt.Sprintf("the LEDs are %03b %s", leds, when), func() bool {
			return ps2.LEDs() == leds && other.Shown() == leds
		})
	}
	write := func(d *descriptor, commands ...byte) {
		t.Helper()
		if _, err := unix.Write(d.fd, commands); err != nil {
			t.Fatal(err)
		}
	}

	first, second := openDescriptor(t, os.O_RDWR), openDescriptor(t, os.O_RDWR)
	want(before, "before any is set")
	write(first, 0xed, 1<<2)
	want(machine.CapsLock, "after ED")
	second.set(KDSETLED, 1)
	want(machine.ScrollLock, "after KDSETLED by another file")
	first.set(KDSETLED, 1<<1)
	want(machine.NumLock, "after KDSETLED by the first")
	if got := second.bytes(KDGETLED); got != "01" {
		t.Errorf("the second file's LEDs are %s, want 01", got)
	}
	first.close()
	want(machine.ScrollLock, "after the first is closed")
	write(second, 0xed, 7)
	want(machine.NumLock|machine.CapsLock|machine.ScrollLock, "after ED 07")
	second.close()
	want(before, "after all are closed")

	// The next file finds those of the console.
	d := openDescriptor(t, os.O_RDWR)
	if got, want := d.bytes(KDGETLED), "00"; before == 0 && got != want {
		t.Errorf("the next file's LEDs are %s, want %s", got, want)
	}
	want(before, "for the next file")
}

package test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kbdd/test/machine"
)

// hostCommands are what both keyboards are told, besides every byte alone: each time from the reset on, and in set 2.
var hostCommands = []string{
	"ed 00", "ed 07", "ed 02 ee", "ed e0",
	"ee ee",
	"f0 00", "f0 01", "f0 02", "f0 03", "f0 04", "f0 7f", "f0 01 f2",
	"f0 01 f0 00", "f0 02 f0 00", "f0 03 f0 00", "f0 04 f0 00",
	"f2 f2",
	"f3 00", "f3 2b", "f3 7f", "f3 00 ee",
	"f4 ee", "f5 ee", "f5 ed 02", "f5 f4", "f6 ee",
	"fa ee", "fc 1c", "fc 1c f2",
	"ff ee", "ff ed 07",
	"ef ee", "f1 ee",
}

// hostDifferences is where QEMU's keyboard answers otherwise than hardware. Where no other source is given, it is IBM,
// PS/2 Hardware Interface Technical Reference, Keyboards (101- and 102-Key), Commands from the System (pages 21 to 26).
var hostDifferences = []struct{ source, commands, answer string }{
	{"Set All Keys", "f7", "fa"},
	{"Set All Keys", "f8", "fa"},
	{"Set All Keys", "f9", "fa"},

	{"Set Key Type", "fb", "fa"},
	{"Set Key Type", "fb 1c", "fa fa"},
	{"Set Key Type", "fd", "fa"},
	{"Set Key Type", "fd 1c", "fa fa"},
	{"Set Key Type: of any number of keys", "fb 1c 32", "fa fa fa"},
	{"Set Key Type: of any number of keys", "fc 1c 32", "fa fa fa"},
	{"Set Key Type: of any number of keys", "fd 1c 32", "fa fa fa"},
	{"Set Key Type: of keys by their codes in set 3 only", "fb 00", "fa fe"},
	{"Set Key Type: of keys by their codes in set 3 only", "fc 00", "fa fe"},
	{"Set Key Type: of keys by their codes in set 3 only", "fd 00", "fa fe"},

	{"Resend: the last byte", "fe", "fa"}, // of the answer to F0 02, which came before
	{"Resend: the last byte", "ee fe", "ee ee"},
	{"Resend: the last byte", "f2 fe", "fa ab 83 83"},
	{"Resend: the last byte", "ff fe", "fa aa aa"},
	{"Resend: the last byte that was no Resend", "ef fe", "fe fa"},
	{"Resend: the last byte that was no Resend", "f2 f1 fe", "fa ab 83 fe 83"},
	{"Resend: of the answer to ED, upon which its option byte is awaited still", "ed fe 02", "fa fa fa"},

	{"Commands to the System, Resend: upon any invalid input", "00", "fe"},

	// That a command in place of the data is processed IBM says of ED; it is taken to hold for the others.
	{"Set/Reset Status Indicators", "ed ed 02", "fa fa fa"},
	{"Set/Reset Status Indicators", "ed ee", "fa ee"},
	{"Set/Reset Status Indicators", "ed ef", "fa fe"},
	{"Set/Reset Status Indicators", "ed f0 01", "fa fa fa"},
	{"Set/Reset Status Indicators", "ed f2", "fa fa ab 83"},
	{"Set/Reset Status Indicators", "ed f3 00", "fa fa fa"},
	{"Set/Reset Status Indicators", "ed f4 02", "fa fa fe"},
	{"Set/Reset Status Indicators", "ed ff", "fa fa aa"},
	{"Set/Reset Status Indicators", "f0 ed 02", "fa fa fa"},
	{"Set/Reset Status Indicators", "f0 ee", "fa ee"},
	{"Set/Reset Status Indicators", "f0 f0 00", "fa fa fa 02"},
	{"Set/Reset Status Indicators", "f0 f4", "fa fa"},
	{"Set/Reset Status Indicators", "f0 ff", "fa fa aa"},
	{"Set/Reset Status Indicators", "f3 ee", "fa ee"},
	{"Set/Reset Status Indicators", "f3 f2", "fa fa ab 83"},
	{"Set/Reset Status Indicators", "f3 ff", "fa fa aa"},
	{"Set/Reset Status Indicators", "fc ee", "fa ee"},
	{"Set/Reset Status Indicators", "fd 1c f2 1c", "fa fa fa ab 83 fe"},

	// The liberty that kbdd takes: set 1 is the default.
	{"package atkbd", "f5 f0 00", "fa fa fa 01"},
	{"package atkbd", "f6 f0 00", "fa fa fa 01"},
	{"package atkbd", "ff f0 00", "fa aa fa fa 01"},
}

func TestDirectHostCommandsAreAnsweredAsByAPS2Keyboard(t *testing.T) {
	requireDirect(t)
	all := slices.Clone(hostCommands)
	for b := range 256 {
		all = append(all, fmt.Sprintf("%02x", b))
	}
	for _, d := range hostDifferences {
		all = append(all, d.commands)
	}
	want := map[string]string{}
	if !t.Run("wire", func(t *testing.T) {
		w := wire{machine.OpenRawPS2(t)}
		for _, commands := range all {
			w.Send(0xff) // QEMU may take this for data that it awaits still
			if got := fmt.Sprintf("% x", w.Send(0xff, 0xf0, 0x02)); got != "fa aa fa fa" {
				t.Fatalf("QEMU's keyboard answers the reset and F0 02 by %s", got)
			}
			want[commands] = fmt.Sprintf("% x", w.Send(unhex(t, commands)...))
		}
	}) {
		t.FailNow()
	}
	sources := map[string]string{}
	for _, d := range hostDifferences {
		want[d.commands], sources[d.commands] = d.answer, d.source
	}

	startKbdd(t)
	f := plugIn(t, machine.PS2(t))
	for _, commands := range all {
		f.command("fa aa fa fa", 0xff, 0xf0, 0x02)
		if got := f.answer(unhex(t, commands)...); got != want[commands] {
			t.Errorf("%s is answered %s, want %s %s", commands, got, want[commands], sources[commands])
		}
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

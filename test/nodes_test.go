package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/devices"
	"kbdd/test/machine"
)

func TestKeyboardsOfTheWorldAndNothingElseGetADevice(t *testing.T) {
	machine.Require(t)
	all, err := devices.All()
	if err != nil {
		t.Fatal(err)
	}
	keyboards, nodes := 1, make([]string, len(all)) // the machine's own is one
	for i, d := range all {
		config := machine.UinputConfig{Name: d.Name, Rel: d.Bits["REL"], Abs: d.Bits["ABS"]}
		for _, code := range d.Bits["KEY"] {
			config.Keys = append(config.Keys, machine.Key(code))
		}
		if len(config.Keys)+len(config.Rel)+len(config.Abs) > 0 { // lids and speakers have neither
			nodes[i] = machine.NewUinput(t, config).Node()
		}
		if d.Keyboard {
			keyboards++
		}
	}
	kbdd := startKbdd(t)
	awaitSaid(t, kbdd, "msg=ready")

	found, names := kbdd.said(), nodeNames(t)
	for i, d := range all {
		if nodes[i] == "" {
			continue
		}
		if got := strings.Contains(found, fmt.Sprintf("msg=\"keyboard found\" node=%s ", nodes[i])); got != d.Keyboard {
			t.Errorf("%s is a keyboard: %t, want %t", d.Name, got, d.Keyboard)
		}
		if _, got := names[d.Name+pointerOf]; got != d.Pointer {
			t.Errorf("%s is a pointer too: %t, want %t", d.Name, got, d.Pointer)
		}
	}
	made, err := filepath.Glob("/dev/kbd[1-9]*")
	if err != nil || len(made) != keyboards {
		t.Errorf("there are %d devices, want %d", len(made), keyboards)
	}
}

// pointerOf follows the name of a keyboard in that of its pointer half.
const pointerOf = " (pointer, by kbdd)"

// nodeNames are the nodes of the input devices by their names.
func nodeNames(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("/sys/class/input/event*/device/name")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string)
	for _, file := range files {
		if name, err := os.ReadFile(file); err == nil { // else it is gone again
			names[strings.TrimSpace(string(name))] = "/dev/input/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		}
	}
	return names
}

// Codes of a mouse: linux/input-event-codes.h.
const (
	buttonLeft = machine.Key(0x110)
	relX, relY = 0, 1
)

// plugCombined plugs in a keyboard that is a mouse too, on one node.
func plugCombined(t testing.TB) *machine.Uinput {
	t.Helper()
	keys := []machine.Key{buttonLeft}
	for key := machine.Key(1); key < 128; key++ {
		keys = append(keys, key)
	}
	return machine.NewUinput(t, machine.UinputConfig{Name: "combined", Keys: keys, Rel: []uint16{relX, relY}})
}

// events is an open evdev node.
type events struct {
	*os.File
	t testing.TB
}

func openEvents(t testing.TB, node string) *events {
	t.Helper()
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &events{f, t}
}

// want reads events, "TYPE.CODE:VALUE" of each up to the ends of reports, and checks that no others come before them.
func (e *events) want(want string) {
	e.t.Helper()
	e.SetReadDeadline(time.Now().Add(machine.Limit))
	got := ""
	for len(got) < len(want) && strings.HasPrefix(want, got) {
		text, err := e.read()
		if err != nil {
			e.t.Fatalf("read %q, then %v; want %s", got, err, want)
		}
		got = strings.TrimSpace(got + " " + text)
	}
	if got != want {
		e.t.Fatalf("read %s, want %s", got, want)
	}
}

// wantNothing checks that there is nothing to be read.
func (e *events) wantNothing() {
	e.t.Helper()
	raw, err := e.SyscallConn()
	if err != nil {
		e.t.Fatal(err)
	}
	buf := make([]byte, 64*eventSize)
	var n int
	var errRead error
	raw.Control(func(fd uintptr) { n, errRead = unix.Read(int(fd), buf) })
	if !errors.Is(errRead, unix.EAGAIN) {
		e.t.Fatalf("read %s, %v; want nothing", eventsText(buf[:max(n, 0)]), errRead)
	}
}

// eventSize is the size of struct input_event.
const eventSize = 24

func (e *events) read() (string, error) {
	buf := make([]byte, 64*eventSize)
	n, err := e.Read(buf)
	return eventsText(buf[:n]), err
}

// eventsText names the events, without scan codes (EV_MSC) and the ends of reports.
func eventsText(buf []byte) string {
	const syn, msc = 0, 4
	var text []string
	for ; len(buf) >= eventSize; buf = buf[eventSize:] {
		kind, code := binary.NativeEndian.Uint16(buf[16:]), binary.NativeEndian.Uint16(buf[18:])
		if kind != syn && kind != msc {
			text = append(text, fmt.Sprintf("%d.%d:%d", kind, code, int32(binary.NativeEndian.Uint32(buf[20:]))))
		}
	}
	return strings.Join(text, " ")
}

func TestMouseOfAMutedKeyboardGoesOn(t *testing.T) {
	machine.Require(t)
	tty, keyboard := machine.OpenConsole(t, 1), plugCombined(t)
	startKbdd(t)
	node := openEvents(t, keyboard.Node())
	clone := openEvents(t, nodeNames(t)["combined"+pointerOf])

	keyboard.Move(1, 1)
	node.want("2.0:1 2.1:1")
	f := open(t, os.O_RDONLY)
	keyboard.Move(3, -2)
	clone.want("2.0:3 2.1:-2")
	keyboard.Press(buttonLeft)
	clone.want("1.272:1")
	keyboard.Type("a")
	f.want("1e 9e")
	keyboard.Release(buttonLeft)
	clone.want("1.272:0")
	f.close()
	keyboard.Move(4, 5)
	keyboard.Type("b")
	node.want("2.0:4 2.1:5 1.48:1 1.48:0")
	clone.wantNothing()
	wantScreen(t, tty, "b")
}

func TestButtonHeldAsTheMuteBeginsOrEndsDoesNotStick(t *testing.T) {
	machine.Require(t)
	keyboard := plugCombined(t)
	startKbdd(t)
	node := openEvents(t, keyboard.Node())
	clone := openEvents(t, nodeNames(t)["combined"+pointerOf])

	keyboard.Press(buttonLeft)
	node.want("1.272:1")
	f := open(t, os.O_RDONLY)
	node.want("1.272:0")
	keyboard.Release(buttonLeft)
	keyboard.Press(buttonLeft)
	clone.want("1.272:1")
	f.close()
	clone.want("1.272:0")
	if keyboard.Down(buttonLeft) {
		t.Error("the button is down on the keyboard's node")
	}
	keyboard.Release(buttonLeft)
	keyboard.Move(1, 1)
	node.want("2.0:1 2.1:1")
	clone.wantNothing()
}

func TestPointerGoesWithItsKeyboard(t *testing.T) {
	machine.Require(t)
	keyboard := plugCombined(t)
	startKbdd(t)
	f := open(t, os.O_RDONLY)
	clone := openEvents(t, nodeNames(t)["combined"+pointerOf])
	keyboard.Press(buttonLeft)
	clone.want("1.272:1")
	keyboard.Destroy()
	// A node that goes takes what was not read with it: whoever reads it takes its going for the button's release.
	machine.WaitUntil(t, "its pointer is gone", func() bool { return nodeNames(t)["combined"+pointerOf] == "" })
	f.wantNothing()

	keyboard = plugCombined(t)
	awaitTaken(t, keyboard.Node())
	machine.WaitUntil(t, "its pointer is back", func() bool { return nodeNames(t)["combined"+pointerOf] != "" })
}

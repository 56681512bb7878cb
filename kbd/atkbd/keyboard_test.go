package atkbd

import (
	"bytes"
	"testing"
	"time"

	"kbdd/scancode"
)

const epoch time.Duration = 0

func tap(k *Keyboard, key scancode.Key) {
	k.Key(epoch, key, true)
	k.Key(epoch, key, false)
}

// fill types letters nobody reads until the queue overruns, and returns how many bytes are queued before the overrun code.
func fill(t *testing.T, k *Keyboard) int {
	t.Helper()
	for k.Overruns() == 0 {
		tap(k, scancode.KeyX)
	}
	return k.Len() - 1
}

func TestOverrunCodeStandsInThePlaceOfKeys(t *testing.T) {
	for _, c := range []struct {
		command string
		set     scancode.Set
		code    byte
	}{
		{"f001", scancode.Set1, 0xff},
		{"f002", scancode.Set2, 0x00},
		{"f003", scancode.Set3, 0x00},
	} {
		k := New(0)
		k.Write(mustHex(c.command))
		readAll(k)
		n := fill(t, k)
		tap(k, scancode.KeyY)
		got := readAll(k)
		if len(got) != n+1 || got[n] != c.code || bytes.IndexByte(got[:n], c.code) >= 0 {
			t.Errorf("set %d: %d codes, then % x; want one %02x", c.set, n, got[n:], c.code)
		}
		if n < QueueSize-2*scancode.MaxLen {
			t.Errorf("set %d: overrun with %d bytes in the queue", c.set, n)
		}
	}
}

func TestReaderIsBroughtLevelAfterAnOverrun(t *testing.T) {
	k := New(0)
	k.Key(epoch, scancode.KeyA, true)
	k.Key(epoch, scancode.KeyB, true)
	n := fill(t, k)
	k.Key(epoch, scancode.KeyA, false) // lost: its break comes later
	k.Key(epoch, scancode.KeyC, true)  // lost: its make comes later
	k.Key(epoch, scancode.KeyD, true)  // lost, and released before there is room: never heard of
	k.Key(epoch, scancode.KeyD, false)
	if got, want := readAll(k)[n:], mustHex("ff9e2e"); !bytes.Equal(got, want) {
		t.Errorf("after the overrun: % x, want % x", got, want)
	}
	k.ReleaseAll()
	if got, want := readAll(k), mustHex("aeb0"); !bytes.Equal(got, want) {
		t.Errorf("at the end: % x, want % x", got, want)
	}
}

func TestACodeIsQueuedWholeOrNotAtAll(t *testing.T) {
	k := New(0)
	k.Write(mustHex("f002"))
	readAll(k)
	for k.Overruns() == 0 {
		tap(k, scancode.KeyPause)
	}
	pause := mustHex("e11477e1f014f077")
	n := (QueueSize - 1) / len(pause)
	if got, want := readAll(k), append(bytes.Repeat(pause, n), 0); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, the last % x; want %d", len(got), got[len(got)-9:], len(want))
	}
}

func TestKeysAreHeardInTheNewSetAfterAnOverrun(t *testing.T) {
	k := New(0)
	fill(t, k)
	k.SelectSet(scancode.MediumRaw)
	tap(k, scancode.KeyMicMute)
	if got, want := readAll(k), mustHex("0081f88081f8"); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

func TestReaderGetsHisCodesInOneStreamHoweverFewHeReads(t *testing.T) {
	k := New(0)
	fill(t, k)
	k.Key(epoch, scancode.KeyC, true)
	var b [1]byte
	n := 0
	for ; k.Len() > 0; n++ {
		if n > 2*QueueSize {
			t.Fatal("no end of codes")
		}
		k.Read(b[:])
	}
	if b[0] != 0x2e {
		t.Errorf("the last code is %02x, want the make of C, 2e", b[0])
	}
}

func TestTenThousandCommandsUnread(t *testing.T) {
	k := New(0)
	n := fill(t, k)
	for range 10_000 {
		k.Write(mustHex("f2"))
	}
	answers := readAll(k)[n+1:]
	want := append(bytes.Repeat(mustHex("faab83"), (AnswerSize-1)/3), 0xfe)
	if !bytes.Equal(answers, want) {
		t.Errorf("%d bytes of answers, the last % x; want %d and the last fe", len(answers), answers[len(answers)-3:], len(want))
	}
	k.Write(mustHex("ee"))
	if got := readAll(k); !bytes.Equal(got, mustHex("ee")) {
		t.Errorf("a command once all is read: % x", got)
	}
}

func TestFlushKeepsWhatTheReaderMustKnow(t *testing.T) {
	for _, c := range []struct {
		name string
		read int // of what is typed at first
		want string
	}{
		{"nothing read", 0, "1e"},
		{"A's make read", 1, "9e 1e"},
		{"the prefix of Home's make read", 4, "47 9e e0 c7 1e"},
	} {
		k := New(0)
		k.Key(epoch, scancode.KeyA, true)
		k.Key(epoch, scancode.KeyB, true) // 30
		k.Key(epoch, scancode.KeyB, false)
		k.Write(mustHex("ee"))
		if c.read == 4 {
			k.Read(make([]byte, 4))
			k.Key(epoch, scancode.KeyHome, true)
			c.read = 1
		}
		k.Read(make([]byte, c.read))
		k.Key(epoch, scancode.KeyA, false)
		k.Key(epoch, scancode.KeyHome, false)
		k.Key(epoch, scancode.KeyA, true)
		k.Flush()
		if got := readAll(k); !bytes.Equal(got, unspace(c.want)) {
			t.Errorf("%s: % x, want %s", c.name, got, c.want)
		}
	}
}

// TestRoomForABreakOfEveryKey is what forgetKeys relies on.
func TestRoomForABreakOfEveryKey(t *testing.T) {
	for _, numLock := range []LEDs{0, NumLock} {
		for set := scancode.Set1; set <= scancode.MediumRaw; set++ {
			k := New(numLock)
			k.SelectSet(set)
			k.Write([]byte{allTypematicMB})
			n := 0
			for key := range keys() {
				k.Key(epoch, key, true)
				readAll(k)
				if k.enc.Down(key) {
					n++
				}
			}
			k.Write([]byte{reset})
			got := readAll(k)
			if len(got) > QueueSize || k.Overruns() != 0 || !bytes.HasSuffix(got, mustHex("faaa")) || len(got) < 2*n && set > 1 {
				t.Errorf("set %d: the breaks of %d keys and the answer are %d bytes, the last % x", set, n, len(got), got[len(got)-2:])
			}
		}
	}
}

func TestMediumRawIsNoSetThatAKeyboardTellsOf(t *testing.T) {
	k := New(0)
	k.SelectSet(scancode.MediumRaw)
	k.Write(mustHex("f000"))
	if got, want := readAll(k), mustHex("fafa01"); !bytes.Equal(got, want) {
		t.Errorf("F0 00 is answered % x, want % x", got, want)
	}
	if k.Set() != scancode.MediumRaw {
		t.Error("it selects another set")
	}
}

func TestMediumRawHasNoOverrunCode(t *testing.T) {
	k := New(0)
	k.SelectSet(scancode.MediumRaw)
	k.Key(epoch, scancode.KeyMicMute, true)
	k.Key(epoch, scancode.KeyPause, true)
	if got, want := readAll(k), mustHex("0081f877"); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
	for k.Overruns() == 0 {
		tap(k, scancode.KeyX)
	}
	k.Key(epoch, scancode.KeyPause, false)
	got := readAll(k)
	if !bytes.HasSuffix(got, mustHex("2dadf7")) {
		t.Errorf("after an overrun: % x, want the break of Pause", got[len(got)-3:])
	}
}

func TestCounters(t *testing.T) {
	k := New(0)
	tap(k, scancode.KeyMicMute)
	tap(k, 600)
	if k.Dropped() != 2 || k.Overruns() != 0 {
		t.Errorf("%d dropped, %d overruns; want 2 and 0", k.Dropped(), k.Overruns())
	}
}

func TestTypematicFormula(t *testing.T) {
	for _, c := range []struct {
		b             byte
		delay, period time.Duration
	}{
		{0x00, 250 * time.Millisecond, 33360 * time.Microsecond},
		{0x2b, 500 * time.Millisecond, 91740 * time.Microsecond},
		{0x7f, time.Second, 500400 * time.Microsecond},
		{0xab, 500 * time.Millisecond, 91740 * time.Microsecond},
	} {
		k := New(0)
		k.Write([]byte{setTypematic, c.b})
		if delay, period := k.Typematic(); delay != c.delay || period != c.period {
			t.Errorf("F3 %02x: %v, %v; want %v, %v", c.b, delay, period, c.delay, c.period)
		}
	}
}

func TestLateTickMakesUpForNothing(t *testing.T) {
	k := New(0)
	k.Key(epoch, scancode.KeyA, true)
	readAll(k)
	late := epoch + time.Minute
	k.Tick(late)
	if got := readAll(k); !bytes.Equal(got, mustHex("1e")) {
		t.Errorf("% x, want one repeat", got)
	}
	if at, ok := k.Next(); !ok || at <= late {
		t.Errorf("the next is due at %v, %v", at, ok)
	}
}

func TestNoAllocation(t *testing.T) {
	k := New(0)
	var p [64]byte
	if n := testing.AllocsPerRun(100, func() {
		tap(k, scancode.KeyHome)
		tap(k, scancode.KeyPause)
		k.Write([]byte{identify})
		k.Tick(epoch)
		k.Read(p[:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKey(b *testing.B) {
	k := New(0)
	var p [64]byte
	b.ReportAllocs()
	pressed := true
	for b.Loop() {
		k.Key(epoch, scancode.KeyA, pressed)
		pressed = !pressed
		if k.Len() == len(p) {
			k.Read(p[:])
		}
	}
}

func unspace(s string) []byte {
	return mustHex(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
}

func TestSlowReaderIsNotOverrunWithEveryByte(t *testing.T) {
	k := New(0)
	fill(t, k)
	one := make([]byte, 1)
	for range QueueSize / 2 {
		k.Read(one)
		k.Key(epoch, scancode.KeyA, true)
		k.Key(epoch, scancode.KeyA, false)
	}
	if got := k.Overruns(); got != 1 {
		t.Errorf("%d overruns before the queue is half empty, want 1", got)
	}
	for k.Len() > 0 {
		k.Read(one)
	}
	k.Key(epoch, scancode.KeyB, true)
	if got := readAll(k); !bytes.Equal(got, []byte{0x30}) {
		t.Errorf("after all is read the keyboard sends % x, want 30", got)
	}
}

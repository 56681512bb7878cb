package atkbd

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"kbdd/scancode"
)

// FuzzKeyboard has a person type, a host write and read, and time go by, in any order, and holds the keyboard to its
// promises. What it sends is judged by a reader that knows the sets but nothing of package scancode's decoder.
func FuzzKeyboard(f *testing.F) {
	f.Add([]byte{0, 30, 0, 30, 4, 0})                                              // A, read
	f.Add([]byte{0, 30, 0, 42, 1, 0xf0, 1, 2, 4, 9, 0, 30, 0, 42, 4, 9})           // set 2 with keys down
	f.Add([]byte{0, 30, 1, 0xf5, 0, 30, 0, 48, 1, 0xf4, 0, 48, 4, 99})             // not scanning
	f.Add([]byte{1, 0xf0, 1, 3, 1, 0xfd, 1, 0x1c, 0, 30, 5, 50, 0, 30, 1, 0xff})   // set 3, types
	f.Add([]byte{0, 42, 0, 102, 6, 200, 4, 3, 0, 42, 6, 250, 4, 77, 1, 0xf6})      // overruns
	f.Add([]byte{7, 0, 7, 1, 7, 200, 4, 200, 7, 255, 1, 0xff, 4, 10})              // too many commands
	f.Add([]byte{0, 30, 0, 99, 5, 90, 0, 99, 2, 2, 4, 1, 3, 0, 0, 30, 2, 0, 0, 1}) // NumLock, release all, flush
	f.Fuzz(play)
}

// TestPromisesAtRandom is FuzzKeyboard for every test run: the same hours at the keyboard each time.
func TestPromisesAtRandom(t *testing.T) {
	commands := []byte{
		setLEDs, echo, selectSet, selectSet, identify, setTypematic, enable, enable, disable, restoreDefaults,
		allTypematic, allMakeBreak, allMake, allTypematicMB, keyTypematic, keyMakeBreak, keyMake, resend, reset,
		0, 1, 2, 3, 1, 2, 3, 0x1c,
	}
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 0))
		var ops []byte
		for range 300 {
			op, arg := byte(r.IntN(6)), byte(r.IntN(256))
			switch {
			case op == 1:
				arg = commands[r.IntN(len(commands))]
			case op == 0 && r.IntN(2) == 0:
				arg = byte(scancode.KeyLeftShift + scancode.Key(r.IntN(4)))
			case op == 4 && r.IntN(2) == 0:
				arg %= 4
			case r.IntN(20) == 0:
				op = 6 + byte(r.IntN(2))
			}
			ops = append(ops, op, arg)
		}
		play(t, ops)
	}
}

func play(t *testing.T, ops []byte) {
	b := newBench(t)
	for len(ops) >= 2 {
		b.do(ops[0], ops[1])
		b.checkBounds()
		b.handOver()
		ops = ops[2:]
	}
	b.finish()
}

// A bench is a keyboard on test with the person, the host and the reader around it.
type bench struct {
	t        *testing.T
	k        *Keyboard
	now      time.Duration
	pressed  keySet // by the person
	expected keySet // what the reader must take to be down when nothing is left to read
	scanning bool
	host     host
	reader   reader
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, k: New(NumLock), scanning: true}
	b.host.leds = NumLock
	b.reader.reset(scancode.Set1)
	return b
}

func (b *bench) do(op, arg byte) {
	switch op % 8 {
	case 0:
		b.toggle(scancode.Key(arg))
	case 1:
		b.write(arg)
	case 2:
		b.k.SetLEDs(LEDs(arg))
		b.host.leds = LEDs(arg) & 7
	case 3:
		if arg&1 == 0 {
			b.k.ReleaseAll()
			b.expected = keySet{}
		} else if len(b.reader.sets) == 0 { // else it would lose the answer that tells of the set
			b.k.Flush()
			b.reader.answers += b.host.unread - b.k.out.answers
			b.host.unread = b.k.out.answers
		}
	case 4:
		b.read(int(arg))
	case 5:
		b.pass(time.Duration(arg) * 20 * time.Millisecond)
	case 6:
		for i := range 64 {
			b.toggle(scancode.Key(int(arg) + 3*i))
		}
	case 7:
		for range int(arg) {
			b.write([]byte{0xf2, 0xee, 0xff, 0xf4}[arg%4])
		}
	}
}

// toggle presses a key, or releases it. Left out are the keys of which scancode's documentation says that their codes
// are another's.
func (b *bench) toggle(key scancode.Key) {
	switch key {
	case 84, scancode.KeyISO, scancode.KeyExit, scancode.KeyMove, scancode.KeyBassBoost:
		return
	}
	if key >= keyCount {
		return
	}
	if b.pressed.has(key) {
		b.pressed.remove(key)
		b.expected.remove(key)
		b.k.Key(b.now, key, false)
		return
	}
	b.pressed.add(key)
	if b.scanning && b.k.breaks(key) {
		b.expected.add(key)
	}
	b.k.Key(b.now, key, true)
}

// write has the host write a byte, and compares what is answered with what the documents say.
func (b *bench) write(c byte) {
	set, unread := b.k.Set(), b.k.out.answers
	room := AnswerSize - unread
	b.k.Write([]byte{c})
	got := make([]byte, b.k.out.answers-unread)
	for i, n := b.k.out.n-1, len(got); n > 0; i-- {
		if s := b.k.out.at(i); s.kind == answer {
			n--
			got[n] = s.b
		}
	}
	want := b.host.answers(c, set, room)
	if want == nil {
		want = b.resent(c, got)
	}
	if !bytes.Equal(got, want) {
		b.t.Fatalf("%02x in set %d, room for %d: answer % x, want % x", c, set, room, got, want)
	}
	b.host.unread = b.k.out.answers
	if b.host.took {
		switch c {
		case 0xf4:
			b.scanning = true
		case 0xf5:
			b.scanning = false
		case 0xff:
			b.scanning = true
			b.expected = keySet{}
			b.checkFresh()
		}
	}
	if b.k.LEDs() != b.host.leds {
		b.t.Fatalf("%02x: LEDs %x, want %x", c, b.k.LEDs(), b.host.leds)
	}
	if b.k.Set() != set {
		b.expected = keySet{}
		b.reader.setAfter(b.k.Set(), b.reader.answers+b.host.unread)
	}
}

// resent allows any one byte but a refusal for the answer to FE.
func (b *bench) resent(c byte, got []byte) []byte {
	if c != 0xfe || len(got) != 1 || got[0] == 0xfe && b.k.Set() == scancode.Set2 {
		b.t.Fatalf("%02x: answer % x", c, got)
	}
	return got
}

// checkFresh holds a keyboard after its reset to one that was just switched on.
func (b *bench) checkFresh() {
	got, want := *b.k, *New(NumLock)
	got.out, got.dropped, got.overruns = want.out, want.dropped, want.overruns
	if got != want {
		b.t.Fatalf("after its reset the keyboard is not as new: held %v, repeat %+v, command %+v, scanning %v, set %d, LEDs %x",
			got.held, got.repeat, got.command, got.scanning, got.Set(), got.leds)
	}
}

// handOver goes on with a keyboard that was made of the bytes of the one on test. Only a repeat is not handed over.
func (b *bench) handOver() {
	text, _ := b.k.AppendBinary(nil)
	next := new(Keyboard)
	if err := next.UnmarshalBinary(text); err != nil {
		b.t.Fatal(err)
	}
	again, _ := next.AppendBinary(nil)
	got, want := *next, *b.k
	got.out, got.repeat = want.out, want.repeat
	if got != want || !bytes.Equal(text, again) {
		b.t.Fatalf("made of its bytes the keyboard is %+v, was %+v", got, want)
	}
	if len(text)%8 == 0 { // now and then
		next.repeat = b.k.repeat
		b.k = next
	}
}

func (b *bench) checkBounds() {
	if n := b.k.Len(); n != b.k.out.n || b.k.out.answers > AnswerSize || n-b.k.out.answers > QueueSize {
		b.t.Fatalf("%d bytes in the queue, %d of them answers", n, b.k.out.answers)
	}
	if at, ok := b.k.Next(); ok && at < b.now {
		b.t.Fatalf("Tick was due at %v, it is %v", at, b.now)
	}
}

func (b *bench) pass(d time.Duration) {
	s := scenario{k: b.k, now: b.now}
	s.pass(d)
	b.now = s.now
}

func (b *bench) read(n int) {
	marks := make([]sent, min(n, b.k.Len()))
	for i := range marks {
		marks[i] = *b.k.out.at(i)
	}
	p := make([]byte, n)
	if got := b.k.Read(p); got != len(marks) {
		b.t.Fatalf("Read of %d bytes with %d there: %d", n, len(marks), got)
	}
	for i, m := range marks {
		if p[i] != m.b {
			b.t.Fatalf("Read gave %02x, want %02x", p[i], m.b)
		}
		if m.kind == answer {
			b.host.unread--
		}
		if err := b.reader.take(m); err != nil {
			b.t.Fatal(err)
		}
	}
	if b.k.Len() == 0 && b.scanning {
		b.checkLevel()
	}
}

// checkLevel holds what the reader takes to be down to what is. In set 3 a key's type can change while it is held; then
// it may lack it.
func (b *bench) checkLevel() {
	for key := range keys() {
		_, got := b.reader.down[key]
		if want := b.expected.has(key); got != want && (got || b.k.Set() != scancode.Set3) {
			b.t.Fatalf("set %d: %v is down at the reader: %v, want %v", b.k.Set(), key, got, want)
		}
	}
}

// finish releases every key and reads all: no key may be down at the reader.
func (b *bench) finish() {
	for b.k.Len() > 0 {
		b.read(100)
	}
	if !b.scanning {
		b.write(0xf4)
	}
	for key := range b.pressed.all() {
		b.toggle(key)
	}
	for n := 0; b.k.Len() > 0 && n < QueueSize+AnswerSize; n++ {
		b.read(7)
	}
	if b.k.Len() != 0 || len(b.reader.down) != 0 {
		b.t.Fatalf("in the end %d bytes are left to read, and down are %v", b.k.Len(), b.reader.down)
	}
	if at, ok := b.k.Next(); ok {
		b.t.Fatalf("in the end a Tick is due at %v", at)
	}
}

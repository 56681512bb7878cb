package cuse

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestRecordOfAnotherVersionIsRefused(t *testing.T) {
	mem := make([]byte, RecordSize(8))
	if _, err := OpenRecord(mem); err == nil {
		t.Error("memory that is no record is taken for one")
	}
	if _, err := OpenRecord(mem[:100]); err == nil {
		t.Error("a piece of memory is taken for a record")
	}
	if _, err := NewRecord(mem, strings.Repeat("x", maxLabel+1)); err == nil {
		t.Error("a label without end is taken")
	}
	r, err := NewRecord(mem, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint32{0, 1, recordVersion + 1} {
		r.head.Version = version
		if _, err := OpenRecord(mem); err == nil {
			t.Errorf("a record of version %d is taken", version)
		}
	}
}

func TestRecordThatEndsItsServersIsRefused(t *testing.T) {
	mem := make([]byte, RecordSize(8))
	r, err := NewRecord(mem, "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * maxTries { // with nothing in it
		if _, err := OpenRecord(mem); err != nil {
			t.Error(err)
		}
	}
	*r.slot(0).valid() = 1
	for range maxTries {
		if _, err := OpenRecord(mem); err != nil {
			t.Error(err)
		}
	}
	if _, err := OpenRecord(mem); err == nil {
		t.Error("a record that ends its servers is used for ever")
	}
	r.settled()
	if _, err := OpenRecord(mem); err != nil {
		t.Error(err)
	}
}

// TestRecordIsRightInTheMiddleOfANote has the server die when it has noted who waits, and not what the file is.
func TestRecordIsRightInTheMiddleOfANote(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	k.ask(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 7))
	k.wantAnswer(k.unique, 0, "-")
	k.put(0, "abcde")
	k.kernel.kills = func(m moment) bool { return m.noting }
	unique := k.receive(opRead, readOf(1, 2))
	k.dispatch()
	k = k.die()
	k.wantAnswer(unique, 0, "ab")
	k.ask(opRead, readOf(1, 9))
	k.wantAnswer(k.unique, 0, "cde")
	if k.files[0].mode != 7 {
		t.Errorf("the mode is %d, want 7", k.files[0].mode)
	}
}

func TestFileThatCannotBeKeptIsDead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(k *keptRig)
	}{
		{"too large", func(k *keptRig) { k.put(0, string(make([]byte, halfSize))) }},
		{"AppendBinary fails", func(k *keptRig) { k.files[0].broken = true; k.files[0].Wake() }},
		{"no AppendBinary", func(k *keptRig) {
			h := k.files[0].Handle
			h.file = struct{ File }{k.files[0]}
			h.keeper = keeperOf(h.file)
			h.Wake()
		}},
		{"restore fails", func(k *keptRig) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			tt.spoil(k)
			k.ask(opPoll, body(pollIn{Fh: 1, PollFlags: pollScheduleNotify})) // who waits is noted, too
			k.answer()
			k = k.die(func(next *keptRig) { next.dead = tt.name == "restore fails" })
			k.rig.wantAnswer(notifyPoll, string(make([]byte, 8)))
			k = k.die() // at once
			k.wantNothing()
			for range 2 {
				if len(k.files) != 0 {
					t.Error("the file is made again, of nothing")
				}
				k.ask(opRead, readOf(1, 9))
				k.wantAnswer(k.unique, unix.ENODEV, "")
				k = k.die() // and stays so
			}
			k.ask(opRelease, release())
			k.finish()
			k.wantAnswer(k.unique, 0, "")
		})
	}
}

// TestFileThatIsTooLargeForAWhileIsKept has it be read meanwhile: a read of what is kept gives no more than can be.
func TestFileThatIsTooLargeForAWhileIsKept(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	all := strings.Repeat("x", 3*halfSize)
	k.put(0, all)
	for got := 0; got < len(all); {
		k.ask(opRead, readOf(1, maxTransfer))
		_, out := k.answer()
		if len(out) == 0 || len(out) > maxRefused {
			t.Fatalf("a read gives %d bytes", len(out))
		}
		got += len(out)
	}
	k.ask(opRead, readOf(1, 9))
	k = k.die()
	k.put(0, "abc")
	k.wantAnswer(k.unique, 0, "abc")
}

// A keeper need not append in place: what it gives is kept.
func TestWhatIsNotAppendedInPlaceIsKept(t *testing.T) {
	k := newKeptRig(t)
	k.openFile()
	h := k.files[0].Handle
	h.keeper = elsewhere{k.files[0]}
	k.put(0, "abc")
	k = k.die()
	k.ask(opRead, readOf(1, 9))
	k.wantAnswer(k.unique, 0, "abc")
}

type elsewhere struct{ of *keptWell }

func (e elsewhere) AppendBinary(dst []byte) ([]byte, error) {
	text, err := e.of.AppendBinary(nil)
	return append(append([]byte(nil), dst...), text...), err
}

// TestCloseLeavesWhatIsKept has a server that closes the device be like one that dies.
func TestCloseLeavesWhatIsKept(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(k *keptRig) // asks for the last thing
		after  func(k *keptRig)
		status unix.Errno
		out    string
	}{
		{
			"a read that waits", func(k *keptRig) { k.ask(opRead, readOf(1, 9)) },
			func(k *keptRig) { k.put(0, "lost") }, 0, "kept",
		},
		{
			"a read that has not begun", func(k *keptRig) { k.receive(opRead, readOf(1, 9)) },
			func(k *keptRig) { k.dispatch(); k.seeThrough() }, 0, "kept",
		},
		{
			"an open under way", func(k *keptRig) { k.slow = true; k.ask(opOpen, body(fuse.OpenIn{})) },
			func(k *keptRig) {}, 0, opened(2),
		},
		{
			"an ioctl under way", func(k *keptRig) { k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: waitingIoctl})) },
			func(k *keptRig) {}, unix.EINTR, "",
		},
		{
			"a release under way", func(k *keptRig) {
				k.files[0].gate = make(chan struct{})
				k.ask(opRelease, release())
			},
			func(k *keptRig) { close(k.files[0].gate) }, 0, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeptRig(t)
			k.openFile()
			tt.before(k)
			if err := k.dev.Close(); err != nil {
				t.Fatal(err)
			}
			kept := bytes.Clone(k.kernel.mem)
			tt.after(k)
			if err := k.dev.Serve(); err != nil {
				t.Error(err)
			}
			if !k.files[0].closed {
				t.Error("the first server's file is not closed")
			}
			k.files[0].Wake()
			if !bytes.Equal(k.kernel.mem, kept) {
				t.Error("the record has changed")
			}
			unique := k.unique
			k = k.die(func(next *keptRig) {
				next.onRestored = func(w *keptWell) {
					if tt.out == "kept" {
						w.data = []byte("kept")
					}
				}
			})
			k.finish()
			k.wantAnswer(unique, tt.status, tt.out)
			k.wantNothing()
		})
	}
}

// TestServeLeavesTheRequestOverWhichTheDeviceWasClosed has another server see to it: also where Close has only begun.
func TestServeLeavesTheRequestOverWhichTheDeviceWasClosed(t *testing.T) {
	for name, end := range map[string]func(d *Device){
		"closed":       func(d *Device) { d.Close() },
		"being closed": func(d *Device) { d.record.frozen.Store(true) },
	} {
		t.Run(name, func(t *testing.T) { checkServeLeaves(t, end) })
	}
}

func checkServeLeaves(t *testing.T, end func(d *Device)) {
	k := newKeptRig(t)
	k.openFile()
	k.files[0].onWrite = func() { end(k.dev) }
	send := func(opcode uint32, body []byte) uint64 {
		msg := k.request(opcode, body)
		k.kernel.asked[k.unique] = true
		if _, err := unix.Write(k.peer, msg); err != nil {
			t.Fatal(err)
		}
		return k.unique
	}
	unique := send(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 7))
	send(opRead, readOf(1, 1)) // stays in the kernel
	served := make(chan error, 1)
	go func() { served <- k.dev.Serve() }()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve goes on")
	}
	k.kernel.asked[unique] = true // whatever a server has said that was not quite closed
	k = k.die()
	k.wantAnswer(unique, unix.EINTR, "")
	k.wantNothing()
}

// What memory may hold that has been trodden on. The next server goes on with what it can, and with nothing else.
func TestRecordThatMakesNoSenseIsSurvived(t *testing.T) {
	for seed := range uint64(300) {
		k := newKeptRig(t)
		k.openFile()
		k.ask(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), 7))
		k.ask(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: waitingIoctl}))
		for range 3 {
			k.ask(opRead, readOf(1, 2))
		}
		k.receive(opRead, readOf(1, 2))
		spoil(k.kernel.mem, k.dev.record, rand.New(rand.NewPCG(seed, 0)))
		k.kernel.left = append([]byte(nil), k.kernel.mem...)
		k = k.die()
		k.finish()
		for _, w := range k.files {
			w.Wake()
		}
		k.dev.drop()
		for _, w := range k.files {
			if !w.closed {
				t.Errorf("seed %d: file %d is made and not closed", seed, w.fh)
			}
		}
	}
}

// spoil treads on a record whose first place is taken.
func spoil(mem []byte, r *Record, chances *rand.Rand) {
	s := r.slot(0)
	half := s.half(*s.valid())
	garbage := func(b []byte, most int) {
		for range chances.IntN(most + 1) {
			b[chances.IntN(len(b))] = byte(chances.IntN(256))
		}
	}
	garbage(half[:fileRecordSize], 5)
	garbage(half[fileRecordSize:][:200], 5) // who waits, and what the file is
	if chances.IntN(3) == 0 {
		r.head.Valid[0] = []uint32{0, 1, 2, 3, 1 << 31, chances.Uint32()}[chances.IntN(6)]
	}
	if chances.IntN(3) == 0 { // a file twice
		copy(r.slot(1).mem, s.mem)
		r.head.Valid[1] = r.head.Valid[0]
	}
	garbage(r.inbox[4:100], 10)
	if chances.IntN(2) == 0 {
		binary.NativeEndian.PutUint32(r.inbox, []uint32{0, 39, 40, 48, 80, 1 << 17, 1<<31 - 1, 1<<32 - 1}[chances.IntN(8)])
	}
	view[fuse.InHeader](r.inbox).Opcode = fuzzOpcodes[chances.IntN(len(fuzzOpcodes))]
}

package cuse

import (
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Whatever the kernel sends, and wherever servers die over it: no panic, and one answer to each request. And whatever stands
// in the record then: no panic, and an end.
//
// The input is steps, as FuzzDispatch's are. See keptConversation.
func FuzzResume(f *testing.F) {
	all := []byte{}
	for _, s := range [][]byte{
		step(opOpen, body(fuse.OpenIn{})),
		step(opRead, readOf(1, 100)),
		{stepPut, 3, 'a', 'b', 'c'},
		with(stepUnseen, step(opRead, readOf(1, 2))),
		with(stepBegun, step(opRead, readOf(1, 2))),
		with(stepUnseen, step(opOpen, body(fuse.OpenIn{Flags: unix.O_APPEND}))),
		with(stepBegun, step(opOpen, body(fuse.OpenIn{Flags: unix.O_EXCL}))),
		with(stepUnseen, step(opInterrupt, body(fuse.InterruptIn{Unique: 14}))),
		with(stepBegun, step(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: waitingIoctl}))),
		with(stepUnseen, step(opIoctl, body(fuse.IoctlIn{Fh: 1}))),
		with(stepBegun, step(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 3}), "abc"...))),
		with(stepUnseen, step(opPoll, body(pollIn{Fh: 1, Kh: 9, PollFlags: pollScheduleNotify, Events: unix.POLLIN}))),
		with(stepUnseen, step(opRelease, release())),
		with(stepBegun, step(opRelease, body(fuse.ReleaseIn{Fh: 2}))),
		{stepSpoil, 6, 2, 0, 1, 1, 5, 77},
	} {
		f.Add(s)
		all = append(all, s...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, input []byte) {
		synctest.Test(t, func(t *testing.T) { (&keptConversation{keptRig: newKeptRig(t)}).run(input) })
	})
}

const (
	stepUnseen = 0x20 // this bit: the server dies when it has read the request
	stepBegun  = 0x40 // this bit: when it has dispatched it, and not seen it through
	stepSpoil  = 0x12 // changes the record, three bytes each, and the server dies
)

func with(bit byte, step []byte) []byte { return append([]byte{step[0] | bit}, step[1:]...) }

// A keptConversation is servers that die in a conversation with a kernel.
type keptConversation struct {
	*keptRig
	spoilt bool
}

func (c *keptConversation) run(input []byte) {
	for steps := 0; len(input) >= 2 && steps < 100; steps++ {
		kind, size := input[0], min(int(input[1]), len(input)-2)
		data := input[2 : 2+size]
		input = input[2+size:]
		c.step(kind, data)
		synctest.Wait()
		c.takeAnswers()
	}
	for _, w := range c.files {
		w.data, w.err = nil, io.EOF
		w.Wake()
	}
	c.dev.drop()
	c.takeAnswers()
	if len(c.kernel.asked) > 0 && !c.spoilt {
		c.t.Errorf("never answered: %v", c.kernel.asked)
	}
}

func (c *keptConversation) step(kind byte, data []byte) {
	switch kind {
	case stepPut:
		for i := range c.files {
			c.put(i, string(data))
		}
		return
	case stepSpoil:
		for b := range slices.Chunk(data, 3) {
			if len(b) == 3 {
				c.spoil(binary.BigEndian.Uint16(b), b[2])
			}
		}
		c.restart()
		return
	}
	c.receive(fuzzOpcodes[int(kind&0xf)%len(fuzzOpcodes)], data)
	if kind&stepUnseen != 0 {
		c.restart()
		return
	}
	c.dispatch()
	synctest.Wait()
	if kind&stepBegun != 0 {
		c.restart()
		return
	}
	c.seeThrough()
}

func (c *keptConversation) restart() {
	c.takeAnswers()
	c.keptRig = c.die(func(next *keptRig) { mapRecord(next.kernel.mem).settled() })
}

// spoil changes a byte of the places that matter: who is valid, the request, or what stands of the first three files.
func (c *keptConversation) spoil(at uint16, b byte) {
	c.spoilt = true
	r := c.dev.record
	n := int(at & 0x3ff)
	switch at >> 12 {
	case 0:
		r.head.Valid[n%4] = uint32(b)
	case 1:
		r.inbox[n%200] = b
	default:
		s := r.slot(int(at>>10) % 3)
		s.mem[int(at>>12&1)*halfSize+n] = b
	}
}

// takeAnswers checks what the server has sent meanwhile.
func (c *keptConversation) takeAnswers() {
	for header, _ := c.answer(); header != nil; header, _ = c.answer() {
		if header.Unique == 0 && header.Status == notifyPoll {
			continue
		}
		if header.Status > 0 || header.Status < -maxErrno || header.Status < 0 && header.Length != uint32(outHeaderSize) {
			c.t.Errorf("an answer with the status %d and %d bytes", header.Status, header.Length)
		}
	}
}

package cuse

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Whatever the kernel sends: no panic, nothing left running, and one answer to each request that has the length it says.
//
// The input is steps: a byte that says what it is, one for how many more bytes belong to it, and those. See conversation.
func FuzzDispatch(f *testing.F) {
	all := []byte{}
	for _, s := range [][]byte{
		step(opOpen, body(fuse.OpenIn{})),
		step(opOpen, body(fuse.OpenIn{Flags: unix.O_SYNC})),
		step(opRead, body(fuse.ReadIn{Fh: 1, Size: 100})),
		step(opRead, body(fuse.ReadIn{Fh: 1, Size: 1 << 20, Offset: 5})),
		{stepPut, 3, 'a', 'b', 'c'},
		step(opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 3}), "abc"...)),
		step(opPoll, body(pollIn{Fh: 1, Kh: 9, PollFlags: pollScheduleNotify, Events: unix.POLLIN})),
		{stepPut, 1, 'd'},
		step(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: 0x0204})),
		step(opIoctl, append(body(fuse.IoctlIn{Fh: 1, Cmd: 0x0204, InSize: 2, OutSize: 128}), "in"...)),
		step(opIoctl, body(fuse.IoctlIn{Fh: 1, Cmd: ioctlWaits})),
		step(opInterrupt, body(fuse.InterruptIn{Unique: 22})),
		step(opRead, body(fuse.ReadIn{Fh: 1, Size: 1})),
		step(opRead, body(fuse.ReadIn{Fh: 1, Size: 1})),
		step(opInterrupt, body(fuse.InterruptIn{Unique: 24})),
		step(opRelease, body(fuse.ReleaseIn{Fh: 1})),
		step(opRead, body(fuse.ReadIn{Fh: 1})),
		step(opOpen, body(fuse.OpenIn{Flags: unix.O_APPEND})),
		step(opOpen, body(fuse.OpenIn{Flags: unix.O_EXCL})),
		step(opInterrupt, nil),
		{stepRaw, 4, 1, 2, 3, 4},
	} {
		f.Add(s)
		all = append(all, s...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, input []byte) {
		synctest.Test(t, func(t *testing.T) { (&conversation{t: t}).run(input) })
	})
}

// Whatever the kernel says first: no panic, and an answer to a good greeting alone, which names the device and claims no more than
// both sides can.
func FuzzHandshake(f *testing.F) {
	for _, version := range [][2]uint32{{7, 38}, {7, 21}, {7, 20}, {7, 99}, {6, 38}, {8, 0}} {
		f.Add(greeting(version[0], version[1]))
	}
	f.Add(append(greeting(7, 38), make([]byte, 100)...))
	f.Add(greeting(7, 38)[:55])
	f.Add((&rig{}).request(opOpen, body(fuse.OpenIn{})))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[1])
		if _, err := unix.Write(fds[1], message); err != nil {
			t.Skip(err) // longer than any message can be
		}
		dev, err := New(os.NewFile(uintptr(fds[0]), "/dev/cuse"), "rig", nil)
		r := &rig{t: t, peer: fds[1], buf: make([]byte, minReadBuffer)}
		header, answer := r.answer()
		if err != nil {
			if header != nil {
				t.Errorf("the answer to a greeting that is refused: %+v", header)
			}
			return
		}
		defer dev.Close()
		in, out := view[cuseInitIn](message), view[cuseInitOut](answer)
		switch {
		case in == nil || in.Header.Opcode != opCuseInit || in.Major != fuseMajor || in.Minor < fuseMinorMin:
			t.Error("a bad greeting is taken")
		case header == nil || header.Unique != in.Header.Unique || header.Status != 0 || out == nil:
			t.Errorf("the answer to a good greeting: %+v % x", header, answer)
		case out.Major != fuseMajor || out.Minor > in.Minor || out.Minor > fuseMinorMax || out.InitFlags != fuse.CUSE_UNRESTRICTED_IOCTL:
			t.Errorf("the answer to version 7.%d: %+v", in.Minor, out)
		case string(answer[len(bytesOf(out)):]) != "DEVNAME=rig\x00":
			t.Errorf("the device's name: %q", answer[len(bytesOf(out)):])
		}
	})
}

// The kinds of steps: a request with the opcode of that index, or one of these.
var fuzzOpcodes = []uint32{opOpen, opRead, opWrite, opRelease, opInterrupt, opIoctl, opPoll, opCuseInit, 0}

const (
	stepPut   = 0x10 // data for all files
	stepRaw   = 0x11 // a message as it is
	stepTwice = 0x40 // this bit: the request has the number of the one before it
	stepWrong = 0x80 // this bit: a request whose header has another length
)

func step(opcode uint32, body []byte) []byte {
	return append([]byte{byte(slices.Index(fuzzOpcodes, opcode)), byte(len(body))}, body...)
}

// conversation is a kernel out of its mind.
type conversation struct {
	t       *testing.T
	rig     *rig
	files   []*fuzzFile
	pending map[uint64]int // how many answers each request is still to get
	asked   map[uint64]int // how many bytes a READ asks for
}

func (c *conversation) run(input []byte) {
	c.rig = newRig(c.t, c.open)
	c.pending, c.asked = make(map[uint64]int), make(map[uint64]int)
	for steps := 0; len(input) >= 2 && steps < 200; steps++ {
		kind, size := input[0], min(int(input[1]), len(input)-2)
		data := input[2 : 2+size]
		input = input[2+size:]
		if err := c.step(kind, data); err != nil {
			break
		}
		synctest.Wait()
		c.takeAnswers()
	}
	// Serve ends as it would after an error; but the data first, so that all reads are answered.
	for _, f := range c.files {
		f.data, f.err = nil, io.EOF
		f.Wake()
	}
	c.takeAnswers()
	c.rig.dev.drop()
	c.takeAnswers()
	for unique, n := range c.pending {
		if n != 0 {
			c.t.Errorf("request %d lacks %d answers", unique, n)
		}
	}
	for _, f := range c.files {
		if f.closes != 1 {
			c.t.Errorf("a file was closed %d times", f.closes)
		}
	}
}

// step sends the server a message, or gives its files data. An error is the end of the connection.
func (c *conversation) step(kind byte, data []byte) error {
	switch kind {
	case stepPut:
		for _, f := range c.files {
			f.data = append(f.data, data...)
			f.Wake()
		}
		return nil
	case stepRaw:
		data = slices.Clone(data)
		if header := view[fuse.InHeader](data); header != nil && int(header.Length) == len(data) && header.Opcode != opInterrupt {
			c.pending[header.Unique]++
		}
		return c.rig.dev.dispatch(data)
	}
	opcode := fuzzOpcodes[int(kind&0xf)%len(fuzzOpcodes)]
	if kind&stepTwice != 0 && c.rig.unique > 0 {
		c.rig.unique -= 2
	}
	msg := c.rig.request(opcode, data)
	if kind&stepWrong != 0 {
		view[fuse.InHeader](msg).Length ^= 1 << (kind & 31)
		if err := c.rig.dev.dispatch(msg); err != nil {
			return err
		}
		c.t.Error("a message is taken whose length is wrong")
	}
	if opcode != opInterrupt {
		c.pending[c.rig.unique]++
	}
	if in := view[fuse.ReadIn](msg); in != nil && opcode == opRead && kind&stepTwice == 0 {
		c.asked[c.rig.unique] = int(in.Size)
	} else {
		delete(c.asked, c.rig.unique)
	}
	return c.rig.dev.dispatch(msg)
}

// takeAnswers checks what the server has sent meanwhile.
func (c *conversation) takeAnswers() {
	for {
		header, body := c.rig.answer()
		switch {
		case header == nil:
			return
		case header.Unique == 0 && header.Status == notifyPoll:
			if header.Length != uint32(outHeaderSize+8) {
				c.t.Errorf("a wake of poll with %d bytes", header.Length)
			}
			continue
		case header.Status > 0 || header.Status < -maxErrno:
			c.t.Errorf("an answer with the status %d", header.Status)
		case header.Status < 0 && header.Length != uint32(outHeaderSize):
			c.t.Errorf("an error with %d bytes", header.Length)
		case c.pending[header.Unique] == 0:
			c.t.Errorf("one answer too many to %d", header.Unique)
		}
		if size, ok := c.asked[header.Unique]; ok && len(body) > size {
			c.t.Errorf("%d bytes for a read of %d", len(body), size)
		}
		c.pending[header.Unique]--
	}
}

func (c *conversation) open(ctx context.Context, h *Handle) (File, error) {
	switch {
	case h.Flags&unix.O_APPEND != 0:
		<-ctx.Done()
		return nil, ctx.Err()
	case h.Flags&unix.O_EXCL != 0:
		return nil, unix.EBUSY
	}
	f := &fuzzFile{well: well{Handle: h}}
	c.files = append(c.files, f)
	if h.Flags&unix.O_SYNC != 0 {
		return struct{ File }{f}, nil
	}
	return f, nil
}

// fuzzFile takes ioctls whose number says what they do.
type fuzzFile struct {
	well
	closes int
}

const (
	ioctlWaits = 1 << (31 - iota)
	ioctlFails
	ioctlUnknown
)

func (f *fuzzFile) Close() error {
	f.closes++
	return f.well.Close()
}

func (f *fuzzFile) IoctlSize(cmd uint32) (in, out int, ok bool) {
	return int(cmd >> 8 & 0xff), int(cmd&0xff) * 32, cmd&ioctlUnknown == 0
}

func (f *fuzzFile) Ioctl(ctx context.Context, c *Ioctl) (int, error) {
	in, out, _ := f.IoctlSize(c.Cmd)
	if len(c.In) != in || len(c.Out) != out {
		panic("an ioctl without its memory")
	}
	switch {
	case c.Cmd&ioctlWaits != 0:
		<-ctx.Done()
		return 0, ctx.Err()
	case c.Cmd&ioctlFails != 0:
		return 0, unix.EINVAL
	}
	return int(binary.NativeEndian.Uint32(append(c.In, 0, 0, 0, 0)) & 0xffff), nil
}

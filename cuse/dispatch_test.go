package cuse

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestNonsenseIsAnsweredWithAnError(t *testing.T) {
	whole := func(n int) []byte { return append([]byte{1}, make([]byte, n-1)...) } // the file is 1
	for _, tt := range []struct {
		name   string
		opcode uint32
		body   []byte
		want   unix.Errno
	}{
		{"an open that is too short", opOpen, whole(7), unix.EPROTO},
		{"a read that is too short", opRead, whole(39), unix.EPROTO},
		{"a read of no file", opRead, nil, unix.EPROTO},
		{"a read of a file that is not open", opRead, body(fuse.ReadIn{Fh: 2}), unix.EBADF},
		{"a write that is too short", opWrite, whole(39), unix.EPROTO},
		{"a write of more than it has", opWrite, body(fuse.WriteIn{Fh: 1, Size: 1}), unix.EPROTO},
		{"a write of less than it has", opWrite, append(body(fuse.WriteIn{Fh: 1, Size: 1}), "xy"...), unix.EPROTO},
		{"a poll that is too short", opPoll, whole(23), unix.EPROTO},
		{"an ioctl that is too short", opIoctl, whole(31), unix.EPROTO},
		{"an ioctl with more than it has", opIoctl, body(fuse.IoctlIn{Fh: 1, InSize: 1}), unix.EPROTO},
		{"an ioctl to a file that has none", opIoctl, body(fuse.IoctlIn{Fh: 1}), unix.ENOTTY},
		{"a release that is too short", opRelease, whole(23), unix.EPROTO},
		{"a second greeting", opCuseInit, whole(16), unix.ENOSYS},
		{"an operation of file systems", 1, whole(8), unix.ENOSYS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w well
			r := newRig(t, openWell(&w))
			r.openFile()
			r.ask(tt.opcode, tt.body)
			r.wantAnswer(-int32(tt.want), "")
		})
	}
}

func TestInterruptHasNoAnswer(t *testing.T) {
	var w well
	r := newRig(t, openWell(&w))
	r.openFile()
	r.ask(opInterrupt, body(fuse.InterruptIn{Unique: 4711}))
	r.ask(opInterrupt, nil)
	if header, _ := r.answer(); header != nil {
		t.Errorf("an answer: %+v", header)
	}
}

func TestMessageOfTheWrongLengthEndsTheConnection(t *testing.T) {
	r := newRig(t, nil)
	msg := r.request(opOpen, body(fuse.OpenIn{}))
	for _, msg := range [][]byte{nil, msg[:39], msg[:len(msg)-1], append(msg, 0)} {
		if r.dev.dispatch(msg) == nil {
			t.Errorf("a message of %d bytes is taken", len(msg))
		}
	}
	if header, _ := r.answer(); header != nil {
		t.Errorf("an answer: %+v", header)
	}
}

func TestIoctlTellsOf32BitCallers(t *testing.T) {
	compat := make(chan bool, 1)
	r := newRig(t, func(context.Context, *Handle) (File, error) { return &compatTeller{compat: compat}, nil })
	r.openFile()
	for _, want := range []bool{false, true} {
		in := fuse.IoctlIn{Fh: 1}
		if want {
			in.Flags = fuse.IOCTL_COMPAT
		}
		r.ask(opIoctl, body(in))
		if got := <-compat; got != want {
			t.Errorf("Compat is %t, want %t", got, want)
		}
	}
}

type compatTeller struct {
	well
	compat chan bool
}

func (compatTeller) IoctlSize(uint32) (in, out int, ok bool) { return 0, 0, true }

func (c compatTeller) Ioctl(_ context.Context, call *Ioctl) (int, error) {
	c.compat <- call.Compat
	return 0, nil
}

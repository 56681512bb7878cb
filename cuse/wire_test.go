package cuse

import (
	"context"
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrorsThatAreNoErrnoAreEIO(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want unix.Errno
	}{
		{nil, 0},
		{unix.EBUSY, unix.EBUSY},
		{errors.Join(io.ErrUnexpectedEOF, unix.EBUSY), unix.EBUSY},
		{context.Canceled, unix.EINTR},
		{context.DeadlineExceeded, unix.EIO},
		{errors.New("anything"), unix.EIO},
		{unix.Errno(0), unix.EIO},
		{unix.Errno(512), unix.EIO}, // ERESTARTSYS: from there on they are the kernel's own
	} {
		if got := status(tt.err); got != -int32(tt.want) {
			t.Errorf("%v is told as %d, want %d", tt.err, got, -int32(tt.want))
		}
	}
}

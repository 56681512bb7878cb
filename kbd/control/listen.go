package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// group may use the socket, as it may read the keyboards' own nodes.
const group = "input"

// A socket is a listener that leaves nothing behind, and nothing of another's.
type socket struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// listen makes the socket, in the place of one that a dead kbdd has left. It is made in a folder of root's alone and put
// in its place with its rights, so there is no moment at which others can use it.
func listen(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: another kbdd listens there", path)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	workshop, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(workshop)
	raw := filepath.Join(workshop, filepath.Base(path))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: raw, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	s := &socket{UnixListener: l, path: path}
	if err := s.place(raw); err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) place(raw string) (err error) {
	if err := os.Chmod(raw, 0o660); err != nil {
		return err
	}
	if g, err := user.LookupGroup(group); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return err
		}
		// Without root's rights, as in a test, the socket is the own group's.
		if err := os.Chown(raw, -1, gid); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	if s.made, err = os.Stat(raw); err != nil {
		return err
	}
	return os.Rename(raw, s.path)
}

// Close takes the socket away, unless another kbdd has put its own there.
func (s *socket) Close() error {
	if now, err := os.Stat(s.path); err == nil && os.SameFile(now, s.made) {
		os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

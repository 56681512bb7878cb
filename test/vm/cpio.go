package vm

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// cpioWriter writes a cpio archive in the "newc" format, which the kernel unpacks as its first root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst). Parent directories are made as needed.
type cpioWriter struct {
	w     io.Writer
	dirs  map[string]bool // the directories made so far
	inode int
	err   error // the first error; all later writes do nothing
}

func newCPIO(w io.Writer) *cpioWriter {
	return &cpioWriter{w: w, dirs: map[string]bool{"": true}}
}

const (
	cpioDir     = 0o040000
	cpioFile    = 0o100000
	cpioSymlink = 0o120000
)

// file starts a regular file: the content follows by copy, exactly size bytes of it.
func (c *cpioWriter) file(name string, perm fs.FileMode, size int64, content io.Reader) {
	c.header(name, cpioFile|uint32(perm.Perm()), size)
	c.content(name, size, content)
}

// content writes the content of a file, behind its header.
func (c *cpioWriter) content(name string, size int64, content io.Reader) {
	if c.err != nil {
		return
	}
	if _, err := io.CopyN(c.w, content, size); err != nil {
		c.err = fmt.Errorf("%s: %w", name, err)
		return
	}
	c.pad(size)
}

func (c *cpioWriter) symlink(target, name string) {
	c.header(name, cpioSymlink|0o777, int64(len(target)))
	c.write(target)
	c.pad(int64(len(target)))
}

func (c *cpioWriter) dir(name string, perm fs.FileMode) {
	name = clean(name)
	if c.dirs[name] {
		return
	}
	c.header(name, cpioDir|uint32(perm.Perm()), 0)
	c.dirs[name] = true
}

// close writes the end of the archive.
func (c *cpioWriter) close() error {
	c.header("TRAILER!!!", 0, 0)
	return c.err
}

// cpioEntry is what stands in an entry's header.
type cpioEntry struct {
	name     string
	mode     uint32
	uid, gid int
	mtime    int64
	size     int64
}

// header writes the header of an entry of root's.
func (c *cpioWriter) header(name string, mode uint32, size int64) {
	c.entry(cpioEntry{name: name, mode: mode, size: size})
}

// entry writes an entry's header and name. The numbers are, in order: inode, mode, uid, gid, links, mtime, size, device
// (2), special device (2), length of the name with its NUL, checksum.
func (c *cpioWriter) entry(e cpioEntry) {
	name := clean(e.name)
	if parent := path.Dir(name); parent != "." {
		c.dir(parent, 0o755)
	}
	c.inode++
	var b strings.Builder
	b.WriteString("070701")
	for _, n := range []int64{
		int64(c.inode), int64(e.mode), int64(e.uid), int64(e.gid), 1, e.mtime, e.size, 0, 0, 0, 0, int64(len(name) + 1), 0,
	} {
		fmt.Fprintf(&b, "%08x", n)
	}
	b.WriteString(name + "\x00")
	c.write(b.String())
	c.pad(int64(b.Len()))
}

// pad fills up to a multiple of four after n bytes.
func (c *cpioWriter) pad(n int64) {
	c.write("\x00\x00\x00"[:-n&3])
}

func (c *cpioWriter) write(s string) {
	if c.err == nil {
		_, c.err = io.WriteString(c.w, s)
	}
}

func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

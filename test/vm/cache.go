package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cache is a folder for what takes long to get. Several processes may use it at once.
type cache struct {
	dir string
	say func(format string, args ...any) // tells the user what takes long
}

func openCache(say func(string, ...any)) (*cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no place for the kernel: %w", err)
	}
	c := &cache{filepath.Join(dir, "kbdd"), say}
	return c, os.MkdirAll(c.dir, 0o755)
}

func (c *cache) path(elem ...string) string {
	return filepath.Join(c.dir, filepath.Join(elem...))
}

// lock keeps other processes from fetching the same at the same time, until unlock is called or the process ends.
func (c *cache) lock() (unlock func(), err error) {
	f, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// make has a folder built under another name first: it is there whole or not at all.
func (c *cache) make(name string, build func(dir string) error) error {
	final := c.path(name)
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := build(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(dir, final)
}

func modTime(file string) time.Time {
	stat, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return stat.ModTime()
}

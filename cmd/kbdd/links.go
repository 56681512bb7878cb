package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kbdd/kbd/control"
)

// links are /dev/kbd/by-id/... and /dev/kbd/by-path/...: the single keyboards by names that stay the same, which /dev/kbdN
// does not. The names are those that udev gives the keyboards' own nodes. udev cannot make these links itself: it is not
// told which keyboard stands behind a /dev/kbdN.
//
// They stay where a kbdd hands over, and the next one makes of them what it needs. Where none follows, udev takes away what
// points nowhere (60-kbdd.rules).
type links struct {
	input string // where udev's links are: by-id and by-path below it
	dir   string // where ours are made
	log   *slog.Logger
}

func newLinks(log *slog.Logger) *links {
	return &links{input: "/dev/input", dir: "/dev/kbd", log: log}
}

var linkKinds = []string{"by-id", "by-path"}

// update makes the links for the keyboards that are plugged in, and takes the others away.
func (l *links) update(keyboards []control.Keyboard) {
	devices := make(map[string]string)
	for _, k := range keyboards {
		if k.Plugged {
			devices[k.Node] = k.Device
		}
	}
	want := make(map[string]string)
	for _, kind := range linkKinds {
		entries, _ := os.ReadDir(filepath.Join(l.input, kind)) // which is there only if something is in it
		for _, e := range entries {
			target, err := os.Readlink(filepath.Join(l.input, kind, e.Name()))
			if err != nil {
				continue
			}
			if device, ok := devices[filepath.Join(l.input, kind, target)]; ok {
				want[filepath.Join(kind, linkName(e.Name()))] = "../../" + device
			}
		}
	}
	have := l.present()
	for _, link := range slices.Sorted(maps.Keys(have)) {
		if want[link] == "" {
			os.Remove(filepath.Join(l.dir, link))
		}
	}
	for _, link := range slices.Sorted(maps.Keys(want)) {
		if want[link] == have[link] {
			continue
		}
		if err := l.make(link, want[link]); err != nil {
			l.log.Warn("cannot make link to device", "err", err)
		}
	}
	for _, dir := range linkKinds {
		os.Remove(filepath.Join(l.dir, dir)) // which fails where something is in it
	}
	os.Remove(l.dir)
}

// present is to where the links point that there are, by their paths below dir.
func (l *links) present() map[string]string {
	have := make(map[string]string)
	for _, kind := range linkKinds {
		entries, _ := os.ReadDir(filepath.Join(l.dir, kind))
		for _, e := range entries {
			link := filepath.Join(kind, e.Name())
			if target, err := os.Readlink(filepath.Join(l.dir, link)); err == nil {
				have[link] = target
			}
		}
	}
	return have
}

// linkName is the name of udev's link without what says that it is one to an event node.
func linkName(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, "-event-kbd"), "-event")
}

func (l *links) make(link, target string) error {
	path := filepath.Join(l.dir, link)
	for _, dir := range []string{l.dir, filepath.Dir(path)} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
			return err
		}
	}
	// In one step: it may be there, and point elsewhere.
	making := filepath.Join(l.dir, ".new")
	os.Remove(making)
	if err := os.Symlink(target, making); err != nil {
		return err
	}
	return os.Rename(making, path)
}

// close takes all links away, and their folders.
func (l *links) close() { l.update(nil) }

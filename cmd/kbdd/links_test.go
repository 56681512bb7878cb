package main

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kbdd/kbd/control"
)

// shelf is udev's links to event nodes, and ours.
type shelf struct {
	*links
	t *testing.T
}

func newShelf(t *testing.T) *shelf {
	dev := t.TempDir()
	l := &links{input: filepath.Join(dev, "input"), dir: filepath.Join(dev, "kbd"), log: slog.New(slog.DiscardHandler)}
	s := &shelf{l, t}
	s.udev("by-id/usb-Maker_Scanner-event-kbd", "../event4")
	s.udev("by-id/usb-Maker_Scanner-event-if01", "../event5")
	s.udev("by-path/platform-i8042-serio-0-event-kbd", "../event0")
	return s
}

func (s *shelf) udev(link, target string) {
	path := filepath.Join(s.input, link)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shelf) keyboard(n int, node string) control.Keyboard {
	return control.Keyboard{Device: "kbd" + string(rune('0'+n)), Node: filepath.Join(s.input, node), Plugged: true}
}

func (s *shelf) want(want ...string) {
	s.t.Helper()
	var got []string
	filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			target, _ := os.Readlink(path)
			name, _ := filepath.Rel(s.dir, path)
			got = append(got, name+" "+target)
		}
		return nil
	})
	if !slices.Equal(got, want) {
		s.t.Errorf("links %q, want %q", got, want)
	}
}

func TestKeyboardsHaveLinksByTheirNames(t *testing.T) {
	s := newShelf(t)
	ps2, scanner := s.keyboard(1, "event0"), s.keyboard(2, "event4")
	s.update([]control.Keyboard{ps2, scanner})
	s.want("by-id/usb-Maker_Scanner ../../kbd2", "by-path/platform-i8042-serio-0 ../../kbd1")
	scanner.Plugged = false
	s.update([]control.Keyboard{ps2, scanner})
	s.want("by-path/platform-i8042-serio-0 ../../kbd1")
	if _, err := os.Stat(filepath.Join(s.dir, "by-id")); err == nil {
		t.Error("an empty folder is left")
	}
	s.close()
	if _, err := os.Stat(s.dir); err == nil {
		t.Error("something is left behind")
	}
}

// TestLinksAreTakenOver has another kbdd follow, with fewer keyboards in another order. A link that is right is not touched.
func TestLinksAreTakenOver(t *testing.T) {
	s := newShelf(t)
	s.update([]control.Keyboard{s.keyboard(1, "event0"), s.keyboard(2, "event4"), s.keyboard(3, "event5")})
	const stays = "by-path/platform-i8042-serio-0"
	before, err := os.Lstat(filepath.Join(s.dir, stays))
	if err != nil {
		t.Fatal(err)
	}
	next := newLinks(s.log)
	next.input, next.dir = s.input, s.dir
	next.update([]control.Keyboard{s.keyboard(1, "event0"), s.keyboard(2, "event5")})
	s.want("by-id/usb-Maker_Scanner-event-if01 ../../kbd2", stays+" ../../kbd1")
	if after, err := os.Lstat(filepath.Join(s.dir, stays)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the link to the keyboard that stayed was made anew: %v", err)
	}
	next.update(nil)
	if _, err := os.Stat(s.dir); err == nil {
		t.Error("an empty folder is left")
	}
}

// TestLinkIsThereAtAllTimes has a link point from one device to another, and looks whether it is ever gone.
func TestLinkIsThereAtAllTimes(t *testing.T) {
	s := newShelf(t)
	path := filepath.Join(s.dir, "by-id/usb-Maker_Scanner")
	s.update([]control.Keyboard{s.keyboard(1, "event4")})
	stop, missing := make(chan bool), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				missing <- n
				return
			default:
			}
			if _, err := os.Readlink(path); err != nil {
				n++
			}
		}
	}()
	for i := range 1000 {
		s.update([]control.Keyboard{s.keyboard(1+i%2, "event4")})
	}
	stop <- true
	if n := <-missing; n > 0 {
		t.Errorf("the link was missing %d times", n)
	}
}

package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// wantConsole checks what the console and the reader were given, when no key is down any more.
func (k *killing) wantConsole() {
	k.Helper()
	k.consoleTypes()
	k.wantReader()
	from := k.typist.next - len(k.typed)
	if err := numbers(k.typed, from); err != nil {
		k.Errorf("tty%d: %v", k.tty, err)
	}
	if until := k.begun + len(k.stream.text); k.reader != nil && until > from {
		k.Errorf("the reader has read up to character %d, and tty%d has all from %d on", until, k.tty, from)
	}
	k.wantNoKeyStuck()
}

// wantReader checks what the reader has read.
func (k *killing) wantReader() {
	k.Helper()
	if err := numbers(k.stream.text, k.begun); err != nil {
		k.Errorf("the reader: %v", err)
	}
}

func (k *killing) wantNoKeyStuck() {
	k.Helper()
	if state := k.console.shiftState(); state != 0 {
		k.Errorf("the console takes modifiers %#x to be down", state)
	}
	k.wantNoKeyDown()
	k.typed = ""
	k.typist.keyboard.Type("aA")
	if k.consoleTypes(); k.typed != "aA" {
		k.Errorf("tty%d has %q for aA", k.tty, k.typed)
	}
	k.typed = ""
}

// wantNoKeyDown looks at all input devices. Their nodes stay open, for to close one takes the kernel long.
func (k *killing) wantNoKeyDown() {
	k.Helper()
	paths, _ := filepath.Glob("/dev/input/event*")
	for path, node := range k.nodes {
		if _, err := keysDown(node); err != nil { // the device is gone
			node.Close()
			delete(k.nodes, path)
		}
	}
	for _, path := range paths {
		if k.nodes[path] == nil {
			node, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				continue // it was that of a kbdd that has ended
			}
			k.nodes[path] = node
			k.t.Cleanup(func() { node.Close() })
		}
		if keys, err := keysDown(k.nodes[path]); err == nil && keys != [96]byte{} {
			k.Errorf("%s has a key down", path)
		}
	}
}

// keysDown is EVIOCGKEY.
func keysDown(node *os.File) (keys [96]byte, err error) {
	const eviocgkey = 0x80604518
	raw, err := node.SyscallConn()
	if err != nil {
		return keys, err
	}
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, eviocgkey, uintptr(unsafe.Pointer(&keys)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return keys, err
}

// wantNothingLeft checks, with no reader any more, that all is as before the first try.
func (k *killing) wantNothingLeft() {
	k.Helper()
	programs, devices := k.inUse, k.keyboards
	if k.kbdd != nil {
		programs, devices = slices.Sorted(slices.Values(append([]string{"kbdd"}, programs...))), devices+1
		pid := k.kbdd.pid()
		k.until("kbdd has the descriptors that it had before; it has %v", func() (any, bool) {
			links := descriptors(pid)
			return links, len(links) <= k.usual && !slices.ContainsFunc(links, isInputNode) && (k.unit == nil || hasInhibitor(links))
		})
		if k.unit != nil {
			k.unit.wantKept(k)
		}
		k.usual = len(descriptors(pid)) // at the start it may have had one more for a moment
		machine.WaitUntil(k, "no request is unanswered", func() bool { return waiting(k) == 0 })
	} else {
		k.until("the device is gone; looking for it says %v", func() (any, bool) {
			_, errNode := os.Lstat(kbd0)
			_, errClass := os.Lstat("/sys/class/cuse/kbd0")
			return []error{errNode, errClass}, os.IsNotExist(errNode) && os.IsNotExist(errClass)
		})
	}
	k.until(fmt.Sprintf("the programs run that ran before, %v; now run %%v", programs), func() (any, bool) {
		now := k.programs()
		return now, slices.Equal(now, programs)
	})
	k.until("there are as many input devices as before; now there are %v", func() (any, bool) {
		now := k.inputDevices()
		return now, now == devices
	})
}

// until waits until it is so, and fails with what is instead.
func (k *killing) until(what string, so func() (any, bool)) {
	k.Helper()
	var is any
	deadline := time.Now().Add(machine.Limit)
	for ok := false; !ok; time.Sleep(time.Millisecond) {
		if is, ok = so(); !ok && time.Now().After(deadline) {
			k.Fatalf("waited in vain until "+what, is)
		}
	}
}

// descriptors are what a process has open.
func descriptors(pid int) (targets []string) {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			targets = append(targets, target)
		}
	}
	return targets
}

func isInputNode(path string) bool { return strings.HasPrefix(path, "/dev/input/") }

// programs are the names of all processes that are not of the kernel's own, and of the dead that nobody has buried. Where
// kbdd is a unit they are those of its cgroup and the test's: systemd has others come and go as it likes.
func (s *killStage) programs() (names []string) {
	if s.kernelThreads == nil {
		s.kernelThreads = map[string]bool{}
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if s.kernelThreads[path] {
			continue
		}
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it is gone
		}
		name := stat[bytes.IndexByte(stat, '(')+1 : bytes.LastIndexByte(stat, ')')]
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		const state, parent, kthreadd = 0, 1, "2"
		if string(fields[parent]) == kthreadd || string(name) == "kthreadd" {
			s.kernelThreads[path] = true
			continue
		}
		if s.unit != nil && !s.isOurs(filepath.Dir(path)) {
			continue
		}
		if string(fields[state]) == "Z" {
			name = append(name, " (dead)"...)
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

// isOurs tells if a process, by its directory in /proc, is one of the test's or of kbdd's.
func (s *killStage) isOurs(process string) bool {
	cgroup, err := os.ReadFile(process + "/cgroup")
	return err == nil && (bytes.Equal(cgroup, s.ownCgroup) || bytes.Contains(cgroup, []byte("/kbdd.service")))
}

// inputDevices counts them.
func (s *killStage) inputDevices() int {
	nodes, _ := filepath.Glob("/sys/class/input/event*")
	return len(nodes)
}

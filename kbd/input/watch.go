package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Watcher knows the keyboards that are plugged in, and hears of those that come and go. It does not poll: the kernel
// tells (uevents, Documentation/ABI/stable/sysfs-devices and lib/kobject_uevent.c).
type Watcher struct {
	dir     string
	log     *slog.Logger
	socket  *os.File
	added   func(*Keyboard)
	removed func(*Keyboard)

	// Settled, if set before Run, is called when udev is done with an input device that has come or gone, or changed: the
	// links to it in dir stand then, or are gone.
	Settled func()

	mu    sync.Mutex
	rules Rules                // guarded by mu
	known map[string]*Keyboard // by node; guarded by mu
}

// Watch finds the keyboards among the nodes in dir (/dev/input), by the rules: added is called with each of them, before
// Watch returns and when one is plugged in later, while Run runs; removed with each that is unplugged.
func Watch(dir string, rules Rules, log *slog.Logger, added, removed func(*Keyboard)) (*Watcher, error) {
	w := &Watcher{dir: dir, log: log, rules: rules, known: make(map[string]*Keyboard), added: added, removed: removed}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("uevents: %w", os.NewSyscallError("socket", err))
	}
	const fromKernel, fromUdev = 1, 2 // the multicast groups, of which root alone may send to the second
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel | fromUdev}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("uevents: %w", os.NewSyscallError("bind", err))
	}
	w.socket = os.NewFile(uintptr(fd), "uevents")
	// From here on nothing is missed: what comes while the nodes are looked at waits in the socket.
	w.scan()
	return w, nil
}

// SetRules has other rules hold from now on. Keyboards that are none by them are as if unplugged, others as if plugged in.
func (w *Watcher) SetRules(rules Rules) {
	w.mu.Lock()
	w.rules = rules
	w.mu.Unlock()
	w.scan()
}

// Run tells of keyboards that come and go, until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { w.socket.Close() })()
	defer w.socket.Close()
	raw, err := w.socket.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10) // more than the kernel's UEVENT_BUFFER_SIZE
	for {
		var n int
		var from unix.Sockaddr
		var errRecv error
		err := raw.Read(func(fd uintptr) bool {
			n, from, errRecv = unix.Recvfrom(int(fd), buf, 0)
			return errRecv != unix.EAGAIN && errRecv != unix.EINTR
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("uevents: %w", err)
		case errRecv == unix.ENOBUFS: // more came than the socket holds
			w.scan()
		case errRecv != nil:
			return fmt.Errorf("uevents: %w", os.NewSyscallError("recvfrom", errRecv))
		case from.(*unix.SockaddrNetlink).Pid == 0: // the kernel
			w.take(buf[:n])
		case w.Settled != nil && bytes.Contains(buf[:n], []byte("\x00SUBSYSTEM=input\x00")):
			w.Settled()
		}
	}
}

// take follows one uevent: "add@/devices/...", then variables, each with a NUL behind it.
func (w *Watcher) take(msg []byte) {
	var action, subsystem, devname string
	for v := range bytes.SplitSeq(msg, []byte{0}) {
		name, value, _ := strings.Cut(string(v), "=")
		switch name {
		case "ACTION":
			action = value
		case "SUBSYSTEM":
			subsystem = value
		case "DEVNAME":
			devname = value
		}
	}
	if subsystem != "input" || !strings.HasPrefix(devname, "input/event") {
		return
	}
	path := filepath.Join(w.dir, filepath.Base(devname))
	w.mu.Lock()
	defer w.mu.Unlock()
	switch action {
	case "add":
		w.addLocked(path)
	case "remove":
		w.removeLocked(path)
	}
}

// scan compares what is known with what is there.
func (w *Watcher) scan() {
	paths, err := nodes(w.dir)
	if err != nil {
		w.log.Error("cannot list input devices", "err", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, k := range w.known {
		if info, err := look(path); err != nil || info != k.Info || !w.rules.keyboard(&info) {
			w.removeLocked(path)
		}
	}
	for _, path := range paths {
		w.addLocked(path)
	}
}

func (w *Watcher) addLocked(path string) {
	if w.known[path] != nil {
		return
	}
	info, err := look(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV): // it is gone again
	case err != nil:
		w.log.Warn("cannot tell whether this is a keyboard", "err", err)
	case w.rules.keyboard(&info):
		k := newKeyboard(info, w.log)
		w.known[path] = k
		k.attachPointer()
		w.added(k)
	}
}

func (w *Watcher) removeLocked(path string) {
	if k := w.known[path]; k != nil {
		delete(w.known, path)
		w.removed(k)
		k.detachPointer()
	}
}

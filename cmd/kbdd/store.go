package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"kbdd/cuse"
	"kbdd/kbd"
)

// What must outlive kbdd is kept by its parent, as descriptors: of each device that of /dev/cuse and that of the memory in
// which its open files are noted. The next kbdd goes on with them. The parent is systemd (FileDescriptorStoreMax=) or
// "kbdd -supervise", which speaks the same language: sd_notify(3), sd_listen_fds(3).
//
// No descriptor of a keyboard is ever kept: while no kbdd runs, the console has them.
const (
	deviceSuffix = "-device"
	recordSuffix = "-record"
	// stoppedPrefix stands before the number of a process that is stopped for a suspend: kept is its pidfd.
	stoppedPrefix = "stopped-"

	// keptFiles is how many open files of a device are kept: as many as the largest limit allows, and those that are just
	// being opened or closed.
	keptFiles = kbd.MaxFiles + 64
)

// A store is the parent's.
type store struct {
	socket string // where the parent listens; "" if it keeps nothing
	room   int    // how many descriptors it takes: of more it tells nobody but its own log
	log    *slog.Logger
	left   map[string]leftNode // by an earlier kbdd, and not gone on with yet; by name
	kept   map[string]bool     // the devices that the parent has, those that were left too; by name
}

// A leftNode is a device that an earlier kbdd has left.
type leftNode struct {
	conn   *os.File
	record *cuse.Record
	err    error // why it cannot be gone on with
}

// openStore finds what an earlier kbdd has left. It is called once.
func openStore(log *slog.Logger) *store {
	s := &store{log: log, left: make(map[string]leftNode), kept: make(map[string]bool)}
	// systemd 254 and later tell so; kbdd.service does it for older ones.
	if s.room, _ = strconv.Atoi(os.Getenv("FDSTORE")); s.room > 0 {
		s.socket = os.Getenv("NOTIFY_SOCKET")
	}
	if os.Getenv("LISTEN_PID") == "" { // see supervisor.start
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	files := make(map[string]*os.File)
	for _, f := range activation.Files(true) {
		if old := files[f.Name()]; old != nil {
			old.Close() // stored twice
		}
		files[f.Name()] = f
	}
	for fileName, conn := range files {
		if name, ok := strings.CutSuffix(fileName, deviceSuffix); ok {
			n := leftNode{}
			n.record, n.err = openRecord(files[name+recordSuffix])
			var err error
			n.conn, err = nonBlocking(conn)
			n.err = errors.Join(n.err, err)
			s.left[name], s.kept[name] = n, true
		}
		if strings.HasPrefix(fileName, stoppedPrefix) {
			goOn(fileName, conn, s.log)
			s.remove(fileName)
		}
	}
	return s
}

// goOn has a process go on that a kbdd has stopped and left, by what was kept of it. It closes pidfd.
func goOn(name string, pidfd *os.File, log *slog.Logger) {
	defer pidfd.Close()
	err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGCONT, nil, 0)
	switch process := strings.TrimPrefix(name, stoppedPrefix); err {
	case nil:
		log.Warn("a program goes on that an earlier kbdd has stopped for a suspend", "process", process)
	case unix.ESRCH: // it has ended
	default:
		log.Error("a program stays stopped that an earlier kbdd has stopped for a suspend", "process", process, "err", err)
	}
}

// keepStopped has the parent keep a process that is about to be stopped, so that the next kbdd has it go on if there must be one.
func (s *store) keepStopped(process int) {
	if s.socket == "" {
		return
	}
	fd, err := unix.PidfdOpen(process, 0)
	if err == nil {
		err = s.tell("FDSTORE=1\nFDNAME="+stoppedPrefix+strconv.Itoa(process), fd)
		unix.Close(fd)
	}
	if err != nil {
		s.log.Warn("a program stays stopped if kbdd ends before the machine resumes", "process", process, "err", err)
	}
}

// forgetStopped is to be called when it goes on.
func (s *store) forgetStopped(process int) { s.remove(stoppedPrefix + strconv.Itoa(process)) }

// nonBlocking is f for the poller. On the way here it may have lost that it does not block: see os.File.Fd.
func nonBlocking(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	return os.NewFile(uintptr(fd), "/dev/cuse"), err
}

// openRecord maps f, and closes it.
func openRecord(f *os.File) (*cuse.Record, error) {
	if f == nil {
		return nil, errors.New("its record is missing")
	}
	defer f.Close()
	mem, err := mapMemory(f)
	if err != nil {
		return nil, err
	}
	return cuse.OpenRecord(mem)
}

func mapMemory(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return mem, os.NewSyscallError("mmap", err)
}

// labels are those of the devices kbd1, kbd2 and so on that were left.
func (s *store) labels() (labels []string) {
	for n := 1; ; n++ {
		left, ok := s.left[fmt.Sprint("kbd", n)]
		if !ok || left.err != nil {
			return labels
		}
		labels = append(labels, left.record.Label())
	}
}

// resume goes on with a device that was left. It returns nil where there is none, or none that can be gone on with: then
// it is gone when resume returns.
func (s *store) resume(n kbd.Node) *cuse.Device {
	left, ok := s.left[n.Name]
	if !ok {
		return nil
	}
	delete(s.left, n.Name)
	dev, err := (*cuse.Device)(nil), left.err
	if err == nil {
		dev, err = cuse.Resume(left.conn, n.Name, left.record, n.Open, n.Restore)
	} else if left.conn != nil {
		left.conn.Close()
	}
	if err != nil {
		s.log.Error("programs have lost their keyboard: a device of an earlier kbdd cannot be gone on with",
			"device", n.Name, "err", err)
		s.forget(n.Name)
		awaitGone(n.Name)
		return nil
	}
	return dev
}

// giveUp ends the devices that were left and that nobody has gone on with: whoever has them open would wait for ever.
func (s *store) giveUp() {
	for name, left := range s.left {
		s.log.Error("programs have lost their keyboard: a device of an earlier kbdd is of no keyboard", "device", name, "err", left.err)
		if left.conn != nil {
			left.conn.Close()
		}
		s.forget(name)
		awaitGone(name)
	}
	clear(s.left)
}

// awaitGone waits, but not for long, until a device is gone that the parent closes.
func awaitGone(name string) {
	for range 200 {
		if _, err := os.Lstat(filepath.Join("/sys/class/cuse", name)); errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// keep has the parent keep a device that is new, and is not served yet.
func (s *store) keep(dev *cuse.Device, label string) error {
	if s.socket == "" {
		return nil
	}
	if 2*len(s.kept)+2 > s.room {
		return fmt.Errorf("what started kbdd takes %d descriptors, two for a device (FileDescriptorStoreMax= and FDSTORE= in kbdd.service)", s.room)
	}
	fd, err := unix.MemfdCreate(dev.Name(), unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	memory := os.NewFile(uintptr(fd), dev.Name())
	defer memory.Close()
	if err := memory.Truncate(int64(cuse.RecordSize(keptFiles))); err != nil {
		return err
	}
	mem, err := mapMemory(memory)
	if err != nil {
		return err
	}
	record, err := cuse.NewRecord(mem, label)
	if err != nil {
		return err
	}
	raw, err := dev.SyscallConn()
	if err != nil {
		return err
	}
	dev.Keep(record)
	s.kept[dev.Name()] = true
	if err := s.tell("FDSTORE=1\nFDNAME="+dev.Name()+recordSuffix, fd); err != nil {
		return err
	}
	errControl := raw.Control(func(fd uintptr) { err = s.tell("FDSTORE=1\nFDNAME="+dev.Name()+deviceSuffix, int(fd)) })
	return errors.Join(err, errControl)
}

// forget has the parent keep a device no longer.
func (s *store) forget(name string) {
	delete(s.kept, name)
	s.remove(name + deviceSuffix)
	s.remove(name + recordSuffix)
}

// remove has the parent keep a descriptor no longer.
func (s *store) remove(fileName string) {
	if err := s.tell("FDSTOREREMOVE=1\nFDNAME=" + fileName); err != nil {
		s.log.Warn("parent keeps what is of no use", "name", fileName, "err", err)
	}
}

// tell tells the parent, if it keeps anything.
func (s *store) tell(state string, fds ...int) error {
	if s.socket == "" {
		return nil
	}
	return notify(s.socket, state, fds...)
}

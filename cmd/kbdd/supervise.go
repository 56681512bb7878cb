package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A supervisor does for kbdd what systemd does for kbdd.service, and in the same language: it starts it again when it has
// ended, kills it when it hangs, and keeps its devices in between, so that programs that have one open notice nothing.
//
//	             READY, WATCHDOG, FDSTORE (sd_notify)
//	supervisor <------------------------------------- kbdd -----> /dev/cuse, keyboards
//	     |  ----------------------------------------->
//	     |     LISTEN_FDS (sd_listen_fds), signals
//	     keeps /dev/cuse and the record of each device; no keyboard
type supervisor struct {
	command []string
	log     *slog.Logger

	notify *net.UnixConn
	kept   map[string]*os.File // by their names

	worked bool // a child was ready once: so kbdd can start here
	child  *exec.Cmd
	ended  chan error // gets the child's end
	ready  bool
	dog    *time.Timer // fires when the child has been silent for too long
	limit  time.Duration
}

const (
	superviseWatchdog = 3 * time.Second
	superviseKeeps    = 256 // descriptors, and no more
	// A kbdd that ends is started again at once; one that ends as soon as it has started, after a while.
	restartDelay    = 100 * time.Millisecond
	maxRestartDelay = 5 * time.Second
	endLimit        = 5 * time.Second
)

// notice is a message of the child.
type notice struct {
	state string
	files []*os.File
}

// supervise runs kbdd with these arguments until a signal ends it. It returns kbdd's exit status.
func supervise(args []string, log *slog.Logger) int {
	program, err := os.Executable()
	if err != nil {
		log.Error("cannot find my own program", "err", err)
		return exitFailure
	}
	s, err := newSupervisor(append([]string{program}, args...), log)
	if err != nil {
		log.Error("cannot listen to kbdd", "err", err)
		return exitFailure
	}
	defer s.notify.Close()
	return s.run()
}

func newSupervisor(command []string, log *slog.Logger) (*supervisor, error) {
	s := &supervisor{command: command, log: log, kept: make(map[string]*os.File), dog: time.NewTimer(time.Hour)}
	s.dog.Stop()
	var err error
	s.notify, err = listenForNotices()
	return s, err
}

// listenForNotices is a socket of no file, which the kernel names.
func listenForNotices() (*net.UnixConn, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: fmt.Sprint("@kbdd/", os.Getpid()), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		errControl := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, errControl)
	}
	if err != nil {
		conn.Close()
	}
	return conn, err
}

func (s *supervisor) run() int {
	// The child is to end with its supervisor, that is, with the thread that starts it (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	notices := make(chan notice)
	go s.listen(notices)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR2)
	defer signal.Stop(signals)
	defer s.goOn()
	for delay := time.Duration(0); s.wait(delay, signals); delay = min(max(2*delay, restartDelay), maxRestartDelay) {
		began := time.Now()
		if err := s.start(); err != nil {
			s.log.Error("cannot start kbdd", "err", err)
			if !s.worked {
				return exitFailure
			}
			continue // for want of memory, say
		}
		status, last := s.attend(notices, signals)
		if last {
			return status
		}
		if time.Since(began) > maxRestartDelay {
			delay = 0
		}
	}
	return 0
}

// goOn has those go on that kbdd has stopped for a suspend, when there will be no next one that does.
func (s *supervisor) goOn() {
	for name, f := range s.kept {
		if strings.HasPrefix(name, stoppedPrefix) {
			goOn(name, f, s.log)
			delete(s.kept, name)
		}
	}
}

// wait is false where a signal says that it is not worth it.
func (s *supervisor) wait(delay time.Duration, signals <-chan os.Signal) bool {
	for deadline := time.After(delay); ; {
		select {
		case <-deadline:
			return true
		case sig := <-signals:
			if sig == unix.SIGTERM || sig == unix.SIGINT {
				return false
			}
		}
	}
}

// start starts kbdd, with what the last one left.
func (s *supervisor) start() error {
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	names := slices.Sorted(maps.Keys(s.kept))
	for _, name := range names {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.kept[name])
	}
	cmd.Env = append(os.Environ(),
		"NOTIFY_SOCKET="+s.notify.LocalAddr().String(), "FDSTORE="+strconv.Itoa(superviseKeeps),
		"WATCHDOG_PID=", "WATCHDOG_USEC="+strconv.FormatInt(superviseWatchdog.Microseconds(), 10),
		// Not LISTEN_PID, which nobody knows before the child is there.
		"LISTEN_PID=", "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	if err := cmd.Start(); err != nil {
		return err
	}
	s.child, s.ready, s.limit = cmd, false, superviseWatchdog
	s.ended = make(chan error, 1)
	go func(ended chan<- error) { ended <- cmd.Wait() }(s.ended)
	return nil
}

// attend serves kbdd until it has ended. It is the last one if that was to be, or if none ever started: one that starts no
// more, as with a configuration that went bad, may yet when that is mended, and its devices are kept until then.
func (s *supervisor) attend(notices <-chan notice, signals <-chan os.Signal) (status int, last bool) {
	var giveUp <-chan time.Time
	for {
		select {
		case n := <-notices:
			s.hear(n)
		case sig := <-signals:
			switch sig {
			case unix.SIGTERM, unix.SIGINT:
				last, sig = true, unix.SIGINT // which ends it, where SIGTERM has it hand over
				giveUp = time.After(endLimit)
			case unix.SIGUSR2:
				sig = unix.SIGTERM
			}
			_ = s.child.Process.Signal(sig)
		case <-s.dog.C:
			s.log.Error("kbdd hangs, and is killed", "silent_for", s.limit)
			_ = s.child.Process.Kill()
		case <-giveUp:
			_ = s.child.Process.Kill()
		case err := <-s.ended:
			s.hearOut(notices)
			s.dog.Stop()
			status = s.child.ProcessState.ExitCode()
			switch {
			case last:
				return max(status, 0), true
			case !s.worked && status > 0 && status != exitPanic:
				return status, true // and it has said why
			case err != nil || !s.child.ProcessState.Success():
				s.log.Warn("kbdd has ended, and is started again", "why", s.child.ProcessState.String())
			}
			return 0, false
		}
	}
}

// hearOut hears what a child that has ended said last: a message of our own comes behind it.
func (s *supervisor) hearOut(notices <-chan notice) {
	const last = "LAST=1"
	go func() { // which may have to wait until there is room, or memory
		for {
			_, err := s.notify.WriteTo([]byte(last), s.notify.LocalAddr())
			if err == nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(restartDelay)
		}
	}()
	for n := range notices {
		if n.state == last {
			return
		}
		s.hear(n)
	}
}

// hear does what kbdd asks for.
func (s *supervisor) hear(n notice) {
	name, store, remove := "", false, false
	for _, line := range strings.Split(n.state, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "READY":
			if !s.ready {
				s.ready, s.worked = true, true
				_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
			}
		case "WATCHDOG_USEC":
			us, _ := strconv.ParseInt(value, 10, 64)
			s.limit = time.Duration(us) * time.Microsecond
			if us == 0 {
				s.dog.Stop()
			}
		case "WATCHDOG":
			if s.limit > 0 {
				s.dog.Reset(s.limit)
			}
		case "FDSTORE":
			store = true
		case "FDSTOREREMOVE":
			remove = true
		case "FDNAME":
			name = value
		}
	}
	if remove || store {
		if f := s.kept[name]; f != nil {
			f.Close()
			delete(s.kept, name)
		}
	}
	for _, f := range n.files {
		if !store || s.kept[name] != nil || len(s.kept) == superviseKeeps || strings.ContainsAny(name, ":\x00") {
			s.log.Error("a descriptor of kbdd is not kept", "name", name, "kept", len(s.kept))
			f.Close()
			continue
		}
		s.kept[name] = f
	}
}

// listen passes on what the child says, and nobody else.
func (s *supervisor) listen(notices chan<- notice) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(64*4))
	for {
		n, oobn, _, _, err := s.notify.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for want of memory, say
			time.Sleep(restartDelay)
			continue
		}
		uid, files := parseControl(oob[:oobn])
		if uid != uint32(os.Getuid()) {
			for _, f := range files {
				f.Close()
			}
			continue
		}
		notices <- notice{state: string(buf[:n]), files: files}
	}
}

// parseControl is who sent a message, and the descriptors in it.
func parseControl(oob []byte) (uid uint32, files []*os.File) {
	uid = ^uint32(0)
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return uid, nil
	}
	for _, m := range messages {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			uid = cred.Uid
		}
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "kept"))
		}
	}
	return uid, files
}

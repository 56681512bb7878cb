package cuse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxTransfer bounds one read or write of a client, in bytes; the kernel splits larger ones.
const maxTransfer = 128 << 10

// ErrClosed is what a closed [Device] answers.
var ErrClosed = errors.New("cuse: device closed")

// OpenFunc is asked for each open(2) of the device. It may take its time; ctx ends when the client is interrupted or
// the device closes. With an error the client's open(2) fails; it must be an errno to be told apart (see Errors above).
type OpenFunc func(ctx context.Context, h *Handle) (File, error)

// A Device is one character device, served over one descriptor of /dev/cuse. It stands in /dev for as long as that
// descriptor is open in any process.
type Device struct {
	name string
	open OpenFunc
	conn *os.File // /dev/cuse; read by Serve alone

	// sending is held shared for the length of one reply: conn's descriptor is written to by its number, which must
	// not be closed and used anew meanwhile.
	sending sync.RWMutex
	fd      int // conn's descriptor, or -1 when closed; guarded by sending

	record *Record // what another server needs to go on; nil: nothing is kept; fixed while Serve runs

	// witness, if it is not nil, is a test: it is told of each message to the kernel, before it is sent and when it has
	// been. It may refuse it as the kernel would. Fixed while Serve runs.
	witness func(unique uint64, sent bool) error

	ctx    context.Context // ends with the device
	cancel context.CancelFunc
	calls  sync.WaitGroup // goroutines in OpenFunc, Ioctl and Close

	atRest atomic.Bool // Serve waits for the kernel, or is about to

	mu      sync.Mutex
	handles map[uint64]*Handle  // the open files, by fh; guarded by mu
	lastFh  uint64              // guarded by mu
	waiting map[uint64]underWay // opens and ioctls, by unique; guarded by mu
	checks  []chan struct{}     // closed when Serve comes round; guarded by mu
}

// Create makes the device /dev/NAME; a NAME of the form dir/name makes the folder too. The node stands when Create
// returns, owned by root with mode 0600 unless udev knows better. Clients wait until Serve runs.
//
// It needs root (or the right to read and write /dev/cuse) and the kernel's module cuse. An error says what is
// missing; errors.Is tells fs.ErrNotExist (no module), fs.ErrPermission and fs.ErrExist (the name is taken).
func Create(name string, open OpenFunc) (*Device, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/cuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("/dev/cuse: %w: load the module with \"modprobe cuse\"", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("/dev/cuse: %w: run as root", err)
	case err != nil:
		return nil, fmt.Errorf("/dev/cuse: %w", err)
	}
	conn := os.NewFile(uintptr(fd), "/dev/cuse")
	if err := checkFree(name); err != nil {
		conn.Close()
		return nil, err
	}
	d, err := New(conn, name, open)
	if err != nil {
		return nil, err
	}
	if err := d.checkNode(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// New is Create over a descriptor that is open already, in non-blocking mode: of /dev/cuse, or of a kernel made for
// tests (package cusetest). It owns conn from now on. It does not check that the node stands.
func New(conn *os.File, name string, open OpenFunc) (*Device, error) {
	d, err := newDevice(conn, name, open)
	if err == nil {
		err = d.handshake()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return d, nil
}

// newDevice is a device of which the kernel has not been heard.
func newDevice(conn *os.File, name string, open OpenFunc) (*Device, error) {
	d := &Device{
		name: name, open: open, conn: conn,
		handles: make(map[uint64]*Handle), waiting: make(map[uint64]underWay),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	// Not File.Fd: that would take the file out of non-blocking mode and so out of the poller.
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { d.fd = int(fd) })
	}
	return d, err
}

// Name is the device's name below /dev.
func (d *Device) Name() string { return d.name }

// SyscallConn gives the descriptor of /dev/cuse, to be handed to whoever keeps the device beyond this process.
func (d *Device) SyscallConn() (syscall.RawConn, error) { return d.conn.SyscallConn() }

// handshake answers the kernel's first message, CUSE_INIT. The kernel makes the device within the write of the answer.
func (d *Device) handshake() error {
	buf := make([]byte, minReadBuffer)
	n, err := d.conn.Read(buf)
	if err != nil {
		return fmt.Errorf("cuse: %s: reading the kernel's greeting: %w", d.name, err)
	}
	in := view[cuseInitIn](buf[:n])
	switch {
	case in == nil || in.Header.Opcode != opCuseInit:
		return fmt.Errorf("cuse: %s: the kernel's first message is not CUSE_INIT", d.name)
	case in.Major != fuseMajor || in.Minor < fuseMinorMin:
		return fmt.Errorf("cuse: %s: the kernel speaks version %d.%d of FUSE; %d.%d or a later %d.x is needed",
			d.name, in.Major, in.Minor, fuseMajor, fuseMinorMin, fuseMajor)
	}
	out := cuseInitOut{
		Major: fuseMajor, Minor: min(in.Minor, fuseMinorMax),
		// In restricted mode every ioctl from before _IOR and _IOW fails with EIO (fs/fuse/ioctl.c).
		InitFlags: fuse.CUSE_UNRESTRICTED_IOCTL,
		MaxRead:   maxTransfer, MaxWrite: maxTransfer,
	}
	msg := make([]byte, outHeaderSize, outHeaderSize+128)
	msg = append(msg, bytesOf(&out)...)
	msg = append(msg, "DEVNAME="+d.name+"\x00"...)
	if err := d.send(msg, in.Header.Unique, nil); err != nil {
		return fmt.Errorf("cuse: %s: answering the kernel's greeting: %w", d.name, err)
	}
	return nil
}

// Serve answers the kernel until Close is called, then returns nil, or until the kernel ends the connection, then
// returns why. All open files are closed when it returns; the device is to be closed still.
func (d *Device) Serve() error {
	if d.record != nil {
		defer time.AfterFunc(settleTime, d.record.settled).Stop()
	}
	err := d.serve()
	d.drop()
	switch {
	case errors.Is(err, ErrClosed):
		return nil
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("cuse: %s: the kernel ended the device (aborted in /sys/class/cuse/%s?): %w", d.name, sysName(d.name), err)
	}
	return fmt.Errorf("cuse: %s: %w", d.name, err)
}

// serve answers until the connection ends.
func (d *Device) serve() error {
	raw, err := d.conn.SyscallConn()
	if err != nil {
		return err
	}
	// One buffer, and one reader: with two, an INTERRUPT could overtake the request that it is about.
	buf := d.inbox()
	var n int
	receive := func(fd uintptr) (done bool) {
		n, err = readMessage(int(fd), buf)
		return err != unix.EAGAIN
	}
	defer d.atRest.Store(false)
	for {
		d.atRest.Store(true)
		errWait := raw.Read(receive)
		d.atRest.Store(false)
		switch {
		case errors.Is(errWait, os.ErrDeadlineExceeded): // Check's
			d.checked()
			continue
		case errWait != nil && d.closed(): // it is no os.ErrClosed then
			return ErrClosed
		case errWait != nil:
			return errWait
		case err != nil:
			return err
		}
		err = d.dispatch(buf[:n])
		if !d.seenThrough(buf) && err == nil {
			err = ErrClosed // and the request is left to another server
		}
		if err != nil {
			return err
		}
		Yield()
	}
}

// Yield has those run first who wait for this CPU, which may be clients that were answered: they are in more of a hurry than
// who answered them, with what is left to do. With nobody waiting it costs next to nothing.
func Yield() { _, _, _ = syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// drop ends what the kernel no longer asks for.
func (d *Device) drop() {
	d.cancel()
	d.calls.Wait() // Serve has ended: nothing starts a new one
	d.mu.Lock()
	left := d.handles
	d.handles = nil
	d.mu.Unlock()
	for _, h := range left {
		h.shut().Close()
	}
}

// Close takes the device away, and so ends Serve; the node is gone when it returns. Clients that wait get ECONNABORTED,
// later calls on their files ENOTCONN.
func (d *Device) Close() error {
	d.sending.Lock()
	defer d.sending.Unlock()
	if d.fd < 0 {
		return ErrClosed
	}
	// Nothing is sent at this moment, and so the record is frozen as it would be if the server had died.
	if d.record != nil {
		d.record.frozen.Store(true)
	}
	d.fd = -1
	return d.conn.Close()
}

func (d *Device) closed() bool {
	d.sending.RLock()
	defer d.sending.RUnlock()
	return d.fd < 0
}

// send completes msg, which has room for the header in front, and gives it to the kernel. It does not wait.
// ENOENT means that the kernel no longer wants this answer.
func (d *Device) send(msg []byte, unique uint64, err error) error {
	putOutHeader(msg, unique, status(err))
	return d.write(msg)
}

func (d *Device) write(msg []byte) error {
	d.sending.RLock()
	defer d.sending.RUnlock()
	if d.fd < 0 {
		return ErrClosed
	}
	if d.witness != nil {
		return d.writeBeforeWitness(msg)
	}
	return writeMessage(d.fd, msg)
}

func (d *Device) writeBeforeWitness(msg []byte) error {
	unique := view[fuse.OutHeader](msg).Unique
	if err := d.witness(unique, false); err != nil {
		return err
	}
	err := writeMessage(d.fd, msg)
	if err == nil {
		err = d.witness(unique, true)
	}
	return err
}

// reply answers a request with err alone. Where the answer does not go out the connection has ended, and Serve tells.
func (d *Device) reply(unique uint64, err error) {
	d.send(make([]byte, outHeaderSize), unique, err)
}

// replyWith answers a request with body.
func (d *Device) replyWith(unique uint64, body []byte) error {
	return d.send(append(make([]byte, outHeaderSize, outHeaderSize+len(body)), body...), unique, nil)
}

// checkName tells names that the kernel, which strips white space (in Latin-1), or devtmpfs would take for another.
func checkName(name string) error {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '=' || r == '!' }
	if !fs.ValidPath(name) || name == "." || strings.ContainsFunc(name, odd) || len(name) > 200 {
		return fmt.Errorf("cuse: %q is no device name: it takes letters and digits, and a / for a folder below /dev", name)
	}
	return nil
}

// sysName is the device's name in sysfs, where a slash cannot stand.
func sysName(name string) string { return strings.ReplaceAll(name, "/", "!") }

// checkFree looks for what would make the kernel refuse the name, or make the device come up without a node.
func checkFree(name string) error {
	if _, err := os.Lstat("/sys/class/cuse/" + sysName(name)); err == nil {
		return fmt.Errorf("/dev/%s: %w: another process serves this device; stop it first", name, fs.ErrExist)
	}
	path := filepath.Join("/dev", name)
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w: it is in the way of the device; remove it", path, fs.ErrExist)
	}
	return nil
}

// checkNode sees that the device came up. The write of a refused answer succeeds; only afterwards is the connection
// found dead (fs/fuse/cuse.c, cuse_process_init_reply). And a file that stands at the node's place keeps it without
// an error (drivers/base/devtmpfs.c).
func (d *Device) checkNode() error {
	fds := []unix.PollFd{{Fd: int32(d.fd)}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == nil {
			break
		}
		if err != unix.EINTR { // the runtime's own signals
			return fmt.Errorf("cuse: %s: poll: %w", d.name, err)
		}
	}
	if fds[0].Revents&unix.POLLERR != 0 {
		if err := checkFree(d.name); err != nil {
			return err
		}
		return fmt.Errorf("cuse: %s: the kernel refused the device; its log may say why", d.name)
	}
	devt, err := os.ReadFile(filepath.Join("/sys/class/cuse", sysName(d.name), "dev"))
	if err != nil {
		return fmt.Errorf("cuse: %s: %w: is sysfs mounted on /sys?", d.name, err)
	}
	path := filepath.Join("/dev", d.name)
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%w: the kernel made no node: is devtmpfs mounted on /dev?", err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	node := fmt.Sprintf("%d:%d", unix.Major(sys.Rdev), unix.Minor(sys.Rdev))
	if st.Mode()&fs.ModeCharDevice == 0 || node != strings.TrimSpace(string(devt)) {
		return fmt.Errorf("%s: %w: it is in the way of the device; remove it", path, fs.ErrExist)
	}
	return nil
}

package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/vm/job"
)

// qemu is a running machine.
//
// All that goes in and out goes through socket pairs: they need no names in the file system, work for a QEMU that runs as
// nobody, are connected before the machine starts, and end with QEMU.
type qemu struct {
	cmd      *exec.Cmd
	control  *os.File       // the port job.Control
	console  *lastBytes     // the serial console
	messages *lastBytes     // what QEMU itself has to say
	copying  sync.WaitGroup // the goroutines that copy output
	exited   chan struct{}  // closed when QEMU is gone and all its output copied
}

// startQEMU switches the machine on. dir is the run's own folder.
func (m *Machine) startQEMU(k *kernel, accel, dir, initrd string) (*qemu, error) {
	path, err := lookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	q := &qemu{console: &lastBytes{}, messages: &lastBytes{}, exited: make(chan struct{})}
	q.cmd = exec.Command(path)
	q.cmd.Dir = dir
	q.cmd.Stderr = q.messages
	if m.Person {
		q.cmd.Stdin, q.cmd.Stdout = os.Stdin, os.Stdout
	}
	if err := q.unprivileged(dir, initrd); err != nil {
		return nil, err
	}
	// QEMU must not outlive us, however we end.
	q.cmd.SysProcAttr.Pdeathsig = unix.SIGKILL

	image := k.Boot
	if m.Screen || m.Person {
		image = k.Packed
	}
	kernelFile, err := os.Open(filepath.Join(k.Dir, image))
	if err != nil {
		return nil, err
	}
	q.cmd.Args = append(q.cmd.Args, m.arguments(accel)...)
	// The cache may be in a folder that only its owner may enter; an open file can be handed over.
	q.cmd.Args = append(q.cmd.Args, "-kernel", fmt.Sprint("/dev/fd/", q.give(kernelFile)), "-initrd", initrd)
	if err := q.connect(m); err != nil {
		return nil, err
	}
	q.cmd.Args = append(q.cmd.Args, m.QEMUArgs...)

	if err := q.start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	return q, nil
}

// start starts QEMU from a thread that lives as long as it, since Pdeathsig comes when the thread ends.
func (q *qemu) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := q.cmd.Start()
		for _, f := range q.cmd.ExtraFiles {
			f.Close()
		}
		started <- err
		if err == nil {
			_ = q.cmd.Wait() // how it ended stands in ProcessState
		}
		q.copying.Wait()
		close(q.exited)
	}()
	return <-started
}

// unprivileged lets root's QEMU run as nobody: it needs nothing but its own folder, and perhaps /dev/kvm.
func (q *qemu) unprivileged(dir string, files ...string) error {
	q.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() != 0 {
		return nil
	}
	const nobody = 65534
	credential := &syscall.Credential{Uid: nobody, Gid: nobody}
	var kvm unix.Stat_t
	if unix.Stat("/dev/kvm", &kvm) == nil {
		credential.Groups = []uint32{kvm.Gid}
	}
	q.cmd.SysProcAttr.Credential = credential
	for _, file := range append(files, dir) {
		if err := os.Chown(file, nobody, nobody); err != nil {
			return err
		}
	}
	return nil
}

// kernelArgs are the kernel's: messages go to the host and never to a VT, a panic ends QEMU, and what takes an emulated CPU
// long at the start and is of no use here is left out.
var kernelArgs = []string{
	"console=ttyS0", "quiet", "panic=-1",
	"mitigations=off", "edd=off", "audit=0", "lsm=", "nowatchdog", "cryptomgr.notests=1", "rcupdate.rcu_expedited=1",
	"acpi=noirq", // interrupts are routed by the BIOS's old tables: ACPI's take a second to interpret
}

// arguments are those that concern the machine itself.
func (m *Machine) arguments(accel string) []string {
	cpus := m.CPUs
	switch {
	case m.Icount:
		cpus = 1 // they would take turns, and wait for each other by the clock
	case cpus == 0:
		cpus = 2
	}
	var args []string
	switch {
	case m.Icount:
		args = append(args, "-icount", "shift=0,sleep=off", "-accel", "tcg,thread=single", "-cpu", "max")
	case accel == "kvm":
		args = append(args, "-accel", "kvm", "-cpu", "host")
	default:
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", "max")
	}
	display, memory := "none", "512"
	if m.Debian {
		memory = "1536" // half of it can be files
	}
	if m.Person {
		display = "curses"
	}
	args = append(args,
		"-M", "pc", "-m", memory, "-smp", fmt.Sprintf("%d,sockets=%[1]d", cpus), "-nodefaults", "-no-user-config", "-no-reboot",
		"-vga", "std", "-display", display, "-nic", "none",
		"-append", strings.Join(slices.Concat(kernelArgs, m.KernelArgs), " "),
		"-device", "virtio-serial-pci,id=vs",
		"-device", "qemu-xhci,id=xhci")
	// QEMU sends a key to the keyboard that belongs to a display, else to any: so each USB keyboard needs a display of its own.
	for n := range job.USBKeyboards {
		args = append(args, "-device", "secondary-vga,vgamem_mb=1,id="+job.USBDisplay(n))
	}
	return args
}

// connect gives the machine its ports.
func (q *qemu) connect(m *Machine) error {
	console, err := q.chardev("con")
	if err != nil {
		return err
	}
	q.cmd.Args = append(q.cmd.Args, "-serial", "chardev:con")
	if m.Console != nil {
		q.copy(console, io.MultiWriter(q.console, m.Console))
	} else {
		q.copy(console, q.console)
	}
	stdout, err := q.port(job.Stdout)
	if err != nil {
		return err
	}
	q.copy(stdout, m.Stdout)
	stderr, err := q.port(job.Stderr)
	if err != nil {
		return err
	}
	q.copy(stderr, m.Stderr)
	if q.control, err = q.port(job.Control); err != nil {
		return err
	}

	// QEMU's monitor and the port to it are the two ends of one pair: QEMU talks to itself.
	a, b, err := socketPair()
	if err != nil {
		return err
	}
	q.cmd.Args = append(q.cmd.Args,
		"-chardev", fmt.Sprint("socket,id=monitor,fd=", q.give(a)), "-mon", "chardev=monitor,mode=control",
		"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", job.QMP, q.give(b)),
		"-device", "virtserialport,chardev="+job.QMP+",name="+job.QMP)
	return nil
}

// port makes a virtio-serial port and returns the host's end of it.
func (q *qemu) port(name string) (*os.File, error) {
	f, err := q.chardev(name)
	q.cmd.Args = append(q.cmd.Args, "-device", "virtserialport,chardev="+name+",name="+name)
	return f, err
}

func (q *qemu) chardev(id string) (*os.File, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	q.cmd.Args = append(q.cmd.Args, "-chardev", fmt.Sprintf("socket,id=%s,fd=%d", id, q.give(theirs)))
	return ours, nil
}

// give hands an open file to QEMU and returns its number there.
func (q *qemu) give(f *os.File) int {
	q.cmd.ExtraFiles = append(q.cmd.ExtraFiles, f)
	return 2 + len(q.cmd.ExtraFiles)
}

// copy copies until QEMU is gone.
func (q *qemu) copy(from *os.File, to io.Writer) {
	q.copying.Go(func() {
		defer from.Close()
		io.Copy(to, from)
	})
}

// stop switches the machine off, if it is on, and waits until all its output has been copied.
func (q *qemu) stop() {
	_ = q.cmd.Process.Kill() // it may be gone already
	<-q.exited
	q.control.Close()
}

// died is the error where the machine went away by itself.
func (q *qemu) died() error {
	select {
	case <-q.exited:
	case <-time.After(5 * time.Second):
	}
	q.stop()
	return fmt.Errorf("the machine died before the program ended (QEMU: %v)%s", q.cmd.ProcessState, q.lastWords())
}

// lastWords are what the machine and QEMU said last, for a person to see what happened.
func (q *qemu) lastWords() string {
	q.stop()
	said := q.messages.String() + q.console.String()
	if said == "" {
		return "; its console says nothing"
	}
	return "; its console says:\n" + strings.TrimSpace(said)
}

func socketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	// Ours is nonblocking so that the runtime waits for it, not a thread.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "host's end"), os.NewFile(uintptr(fds[1]), "QEMU's end"), nil
}

// lastBytes is a writer that keeps the end of what is written to it.
type lastBytes struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const keptBytes = 8 << 10

func (l *lastBytes) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if extra := len(l.text) - keptBytes; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
	return len(p), nil
}

func (l *lastBytes) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// Command vmrun runs a program in the test machine, a Linux of its own in QEMU, and exits with the program's status.
// It is made for "go test -exec vmrun", and runs any other static program as well.
//
//	vmrun [flags] PROGRAM [ARGUMENT ...]
//
// The program runs as a child of PID 1, as root, in a folder of the same name as the current one, with a copy of its
// testdata. Files that go test has a test write (profiles, coverage, findings of the fuzzer) are brought back.
//
// Words in the environment variable VMRUN_FLAGS stand before the flags of the command line. VM_KERNEL and VM_MODDIR name
// another kernel image and its folder of modules, VM_ACCEL another accelerator than what was seen to work (kvm or tcg).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/vm"
	"kbdd/test/vm/job"
	"kbdd/test/vminit"
)

// exitBroken is the exit status where there is none of the program: the machine failed, or time was up.
const exitBroken = 125

func main() {
	if os.Getpid() == 1 {
		vminit.Main() // the machine's PID 1 is this very program
	}
	if os.Args[0] == job.Program {
		vminit.Job() // what it has left to the system that it booted
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer stop()

	if o.fetch {
		err = o.machine.Prepare()
	} else {
		var result job.Result
		result, err = o.runProgram(ctx)
		if err == nil {
			return result.Status
		}
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, vm.ErrUnavailable) && os.Getenv("CI") != "true":
		fmt.Println("SKIP:", err)
		return 0
	}
	say("%v", err)
	return exitBroken
}

// options is what the command line says.
type options struct {
	machine vm.Machine
	fetch   bool
	env     []string
	program []string
}

func parse(args []string) (*options, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	o := &options{machine: vm.Machine{Init: self, Stdout: os.Stdout, Stderr: os.Stderr, Say: say}}
	m := &o.machine
	f := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	f.DurationVar(&m.Timeout, "timeout", 2*time.Minute, "switch the machine off after this `time`")
	f.IntVar(&m.CPUs, "smp", 2, "the `number` of CPUs")
	f.BoolVar(&m.Icount, "icount", false, "let the machine's clock count instructions, on one CPU: latencies without noise")
	f.Func("append", "add `words` to the kernel's command line", words(&m.KernelArgs))
	f.Func("qemu", "add `words` to QEMU's command line", words(&m.QEMUArgs))
	f.Func("file", "copy a file or folder, `HOST[:GUEST]`, by default to /usr/bin", func(s string) error {
		host, guest, named := strings.Cut(s, ":")
		if !named {
			guest = "/usr/bin/" + filepath.Base(host)
		}
		m.Files = append(m.Files, vm.File{Host: host, Guest: guest})
		return nil
	})
	f.Func("with", "copy a `program` of this host and its libraries, fetched from Debian if it is not here", words(&m.Programs))
	f.Func("env", "set `NAME=VALUE` for the program", words(&o.env))
	f.StringVar(&m.Shots, "shots", "", "keep screenshots in this `folder`")
	f.BoolVar(&m.Debian, "debian", false, "boot a whole Debian, with systemd, made by mmdebstrap; the program is a service there")
	f.BoolVar(&m.Screen, "screen", false, "have a text screen for screenshots to show; takes seconds longer to boot")
	f.BoolVar(&m.Person, "interactive", false, "give the machine to a person: this terminal is its screen and keyboard")
	f.BoolVar(&o.fetch, "fetch", false, "only fetch QEMU and a kernel, if they are not here")
	verbose := f.Bool("console", false, "show the kernel's messages")
	f.SetOutput(io.Discard) // run tells of errors
	err = f.Parse(append(strings.Fields(os.Getenv("VMRUN_FLAGS")), args...))
	if errors.Is(err, flag.ErrHelp) {
		f.SetOutput(os.Stdout)
		fmt.Println("usage: vmrun [flags] PROGRAM [ARGUMENT ...]\nFlags that add or copy may be given more than once.")
		f.PrintDefaults()
	}
	if err != nil {
		return nil, err
	}
	if *verbose {
		m.Console = os.Stderr
		m.KernelArgs = append(m.KernelArgs, "loglevel=7")
	}
	if m.Person {
		m.Timeout = 0
	}
	o.program = f.Args()
	if wants := !m.Person && !o.fetch; wants != (len(o.program) > 0) {
		return nil, errors.New("usage: vmrun [flags] PROGRAM [ARGUMENT ...]; -h lists the flags")
	}
	return o, nil
}

// words makes a flag that adds to a list, each time that it is given.
func words(list *[]string) func(string) error {
	return func(s string) error {
		*list = append(*list, strings.Fields(s)...)
		return nil
	}
}

func (o *options) runProgram(ctx context.Context) (job.Result, error) {
	dir, err := os.Getwd()
	if err != nil {
		return job.Result{}, err
	}
	j := job.Job{Dir: dir, Env: append(environment(), o.env...)}
	if len(o.program) > 0 {
		path := o.program[0]
		if strings.Contains(path, "/") { // else it is one of the machine's own, as -with brings them
			path = absolute(dir, path)
			o.machine.Files = append(o.machine.Files, vm.File{Host: path, Guest: path})
		}
		j.Args = slices.Concat([]string{path}, o.program[1:])
		var inputs []string
		inputs, j.Outputs = testFiles(dir, o.program[1:])
		for _, input := range inputs {
			if _, err := os.Stat(input); err == nil {
				o.machine.Files = append(o.machine.Files, vm.File{Host: input, Guest: input})
			}
		}
	}
	if o.machine.Person {
		say("booting; the command poweroff in the machine, or the end of this process, ends it")
	}
	result, err := o.machine.Run(ctx, j)
	if err != nil {
		return result, err
	}
	if result.Error != "" {
		say("%s", result.Error)
	}
	if result.Signal != "" {
		say("%s: %s", filepath.Base(j.Args[0]), result.Signal)
	}
	return result, nil
}

// environment is what of our own means something in the machine.
func environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=linux",
		"KBDD_VM=1",
	}
	if os.Getenv("GODEBUG") == "" {
		// Tests make raw system calls, which a signal of their own scheduler would end with EINTR.
		env = append(env, "GODEBUG=asyncpreemptoff=1")
	}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch {
		case strings.HasPrefix(name, "KBDD_") && name != "KBDD_VM":
		case slices.Contains([]string{"CI", "GOCOVERDIR", "GODEBUG", "GOMAXPROCS", "GOTRACEBACK"}, name):
		default:
			continue
		}
		env = append(env, variable)
	}
	return env
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "vmrun: "+format+"\n", args...)
}

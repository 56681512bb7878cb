// Package job is the contract between the host's side of the test machine (test/vm) and its PID 1 (test/vminit):
// what to run, where each side finds it, and what comes back.
package job

import "strconv"

// Path is where PID 1 finds its Job, as JSON.
const Path = "/job.json"

// Program is where a whole system finds what runs the job, and SystemPath where that finds the Job.
const (
	Program    = "/usr/lib/vm/job"
	SystemPath = "/usr/lib/vm/job.json"
)

// The machine's virtio-serial ports, by name. PID 1 makes /dev/virtio-ports/NAME for each of them.
const (
	Stdout  = "vm.out" // the program's standard output
	Stderr  = "vm.err" // the program's standard error
	Control = "vm.ctl" // down: orders, a line each; up: Messages, in JSON
	QMP     = "vm.qmp" // QEMU's own monitor, for the program inside
)

// PortDir holds a link for each virtio-serial port, by its name.
const PortDir = "/dev/virtio-ports"

// RunDir is where PID 1 tells the program about the machine.
const RunDir = "/run/vm"

// CtrlAltDel is a file with the number of times that Ctrl-Alt-Del reached PID 1, in decimal.
const CtrlAltDel = RunDir + "/ctrl-alt-del"

// Quit is the order, on the Control port, to send SIGQUIT to the program: a Go program then shows where it hangs.
const Quit = "quit"

// Job is one run of the machine.
type Job struct {
	// Args is the program, by its path in the machine, and its arguments.
	// Without a program the machine is for a person: shells on the first VTs until it is switched off.
	Args []string

	Env []string // the program's environment
	Dir string   // its working directory

	// Modules are the kernel modules to load first, in this order, by their path in the machine.
	Modules []string

	// Root is the folder of a whole system that the machine is to boot, with a PID 1 of its own, or empty. The job is run
	// by Program then, which that system starts.
	Root string

	// Outputs are the files that go back to the host, by their absolute path, which is the same on both sides.
	// Of a directory everything goes back that was written while the program ran.
	Outputs []string
}

// Message is what the machine sends when the program has ended: its files first, one a message, then the result.
type Message struct {
	File    string  `json:",omitempty"` // the path, on both sides
	Content []byte  `json:",omitempty"` // of the file
	Result  *Result `json:",omitempty"` // set in the last message
}

// Result is how a run ended.
type Result struct {
	Status int    // the program's exit status, 128+n after signal n
	Signal string // the signal that killed it, if one did
	Error  string // why the program could not be run, or its files not be sent
}

// USBKeyboards is how many USB keyboards can be plugged in at a time.
const USBKeyboards = 3

// USBDisplay is the display that stands for USB keyboard n: QEMU sends a key to the keyboard of the display that it is typed at.
func USBDisplay(n int) string { return "usb" + strconv.Itoa(n) }

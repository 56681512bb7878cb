package test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// The benchmarks of "make bench". What runs while time is taken is in C, in the folder bench, and kbdd itself; here the
// machine is set up for it, and figures are made of what was counted. Each runs once: b.N is not used.
//
// Where the machine's clock counts instructions, 1 µs is 1000 of them, whatever the host.

// A bench is one that runs the program keybench.
type bench struct {
	*testing.B
	keyboards []*machine.Uinput
}

func newBench(b *testing.B, keyboards int) *bench {
	machine.Require(b)
	b.ReportMetric(0, "ns/op") // which would be the time of the whole, and so is left out
	t := &bench{B: b}
	for i := range keyboards {
		t.keyboards = append(t.keyboards, machine.NewUinput(b, machine.UinputConfig{Name: fmt.Sprint("bench ", i)}))
	}
	return t
}

// deployed has kbdd run as systemd runs it: watched, and with all noted that the next kbdd needs to go on (kbdd.service).
func deployed(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "WATCHDOG_USEC=3000000", "FDSTORE=256") }

// A keybench is a run of that program. It ends with the benchmark at the latest.
type keybench struct {
	b   *bench
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start runs keybench, with the keyboards to type on.
func (b *bench) start(args ...any) *keybench {
	b.Helper()
	t := &keybench{b: b, cmd: exec.Command("keybench", strings.Fields(fmt.Sprintln(args...))...)}
	t.cmd.Stderr = os.Stderr
	for _, k := range b.keyboards {
		f := k.File()
		defer f.Close()
		t.cmd.ExtraFiles = append(t.cmd.ExtraFiles, f)
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	t.out = bufio.NewScanner(out)
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := t.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		t.cmd.Process.Kill()
		t.cmd.Wait()
	})
	return t
}

// line is the next line that the tool prints.
func (t *keybench) line() string {
	t.b.Helper()
	if !t.out.Scan() {
		t.b.Fatalf("%v ended early", t.cmd.Args)
	}
	return t.out.Text()
}

// tell gives the tool the line that it waits for.
func (t *keybench) tell() {
	t.b.Helper()
	if _, err := fmt.Fprintln(t.in); err != nil {
		t.b.Fatal(err)
	}
}

// BenchmarkMachine names the machine.
func BenchmarkMachine(b *testing.B) {
	newBench(b, 0)
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		b.Fatal(err)
	}
	fmt.Println("kernel:", unix.ByteSliceToString(name.Release[:]))
}

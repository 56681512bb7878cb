// Kbdd makes the devices /dev/kbdN, which give raw scancodes to whoever opens them and mute the console meanwhile.
// See kbdd(8).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "(unknown)"

const usage = `usage: kbdd [-h] [-version] [-check] [-supervise] [-config FILE]

kbdd makes /dev/kbd0. Whoever opens it reads the keyboard's scancodes; meanwhile the console hears nothing.
It runs in the foreground, logs to standard error, reads its configuration anew with SIGHUP, and ends with SIGTERM
or SIGINT.

  -check         check the configuration, and do nothing else
  -config FILE   the configuration (default ` + defaultConfig + `, which need not exist)
  -h             print this help
  -supervise     run kbdd as a child: start it again when it ends, kill it when it hangs, keep its devices meanwhile
  -version       print the version
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses: those of sysexits.h(3), so that none is 2, with which Go ends a program that panics. kbdd.service and the
// supervisor start kbdd again after a panic and a failure, and not after the others.
const (
	exitFailure = 1
	exitPanic   = 2  // Go's
	exitCannot  = 69 // EX_UNAVAILABLE: kbdd cannot work here, whoever starts it again
	exitConfig  = 78 // EX_CONFIG: the command line or the configuration is wrong
)

// unlessKept is the status for what only a person can mend, before there is a store. Where an earlier kbdd has left devices it is a
// plain failure, so that kbdd is started again until it is mended: programs have these devices open, and they are kept until then.
func unlessKept(status int, stderr io.Writer) int {
	if n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS")); n == 0 {
		return status
	}
	openStore(slog.New(slog.NewTextHandler(stderr, nil))) // with which programs go on that were stopped for a suspend
	time.Sleep(keptPause)
	return exitFailure
}

// keptPause is for the log's sake.
var keptPause = 2 * time.Second

// run is the program.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("kbdd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	showVersion := flags.Bool("version", false, "")
	check := flags.Bool("check", false, "")
	supervised := flags.Bool("supervise", false, "")
	path := flags.String("config", defaultConfig, "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "kbdd: %v; \"kbdd -h\" lists the options\n", err)
		return exitConfig
	case *showVersion:
		fmt.Fprintln(stdout, "kbdd", version)
		return 0
	}
	load := loadConfig
	if *check {
		load = loadStrictly
	}
	conf, err := load(*path)
	if err != nil {
		fmt.Fprintf(stderr, "kbdd: %v\n", err)
		if *check {
			return exitConfig
		}
		return unlessKept(exitConfig, stderr)
	}
	switch {
	case *check:
	case *supervised:
		return supervise([]string{"-config", *path}, slog.New(slog.NewTextHandler(stderr, nil)))
	default:
		log := newLogWriter(stderr)
		err = serve(*path, conf, slog.New(slog.NewTextHandler(log, nil)))
		log.close()
	}
	if err != nil {
		fmt.Fprintf(stderr, "kbdd: %v\n", err)
		if isLasting(err) {
			return exitCannot
		}
		return exitFailure
	}
	return 0
}

// isLasting tells if kbdd could not make its device for a reason that does not go away by itself: there is no CUSE, there are no
// rights, or a file has the device's place. Another kbdd, which has it, may end.
func isLasting(err error) bool {
	if _, ok := errors.AsType[noDeviceError](err); !ok {
		return false
	}
	if errors.Is(err, fs.ErrExist) {
		st, err := os.Lstat("/dev/kbd0")
		return err == nil && st.Mode()&fs.ModeCharDevice == 0
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}

// A noDeviceError is why there is no /dev/kbd0.
type noDeviceError struct{ error }

func (e noDeviceError) Unwrap() error { return e.error }

// Kbdd makes the devices /dev/kbdN, which give raw scancodes to whoever opens them and mute the console meanwhile.
// See kbdd(8).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
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

// exitConfig is the exit status where the command line or the configuration is wrong: EX_CONFIG of sysexits.h. It must not be 2,
// which is that of a panic: kbdd.service starts kbdd again after the one and not after the other.
const exitConfig = 78

// run is the program: 0 for success, 1 for failure, or exitConfig.
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
	conf, err := loadConfig(*path)
	if err != nil {
		fmt.Fprintf(stderr, "kbdd: %v\n", err)
		return exitConfig
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
		return 1
	}
	return 0
}

// Kbdctl looks at the devices of kbdd, and at what kbdd is doing. See kbdctl(1).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"kbdd/kbd/control"
)

// version is set by the linker.
var version = "(unknown)"

// Exit statuses.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills: what waits in the kernel hears of no context
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var understood bool // the command line was
	root := newRoot()
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) { understood = cmd.HasParent() }
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	refuseUnknown(root)
	err := root.ExecuteContext(ctx)
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return 0
	case !understood || usage:
		fmt.Fprintf(stderr, "kbdctl: %v; \"kbdctl -h\" lists the commands\n", err)
		return exitUsage
	case !errors.Is(err, errSaid):
		fmt.Fprintf(stderr, "kbdctl: %v\n", err)
	}
	return exitFailure
}

// errSaid is a failure of which all is said.
var errSaid = errors.New("said")

// A usageError is what is wrong with a command line, beyond what cobra finds.
type usageError string

func (e usageError) Error() string { return string(e) }

// newRoot is the command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "kbdctl",
		Short:         "Look at the devices of kbdd, and at what kbdd is doing",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(*cobra.Command, []string) error { return errors.New("no command given") },
	}
	socket := root.PersistentFlags().String("socket", control.Socket, "the `path` at which kbdd listens")
	kbdd := func() *control.Client { return control.NewClient(*socket) }
	root.AddCommand(listCommand(kbdd), statusCommand(kbdd), releaseCommand(kbdd), monitorCommand(), showCommand(), recordCommand(kbdd), playCommand(kbdd), doctorCommand(kbdd))
	return root
}

// refuseUnknown has cobra's own commands refuse what they do not know, as all others do. The output must be set.
func refuseUnknown(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Run, cmd.RunE = nil, help
		case "completion":
			cmd.Args, cmd.RunE = nil, func(*cobra.Command, []string) error { return usageError("name a shell: bash, fish, powershell or zsh") }
		}
	}
}

// help is that of cobra, but that of an unknown command is an error.
func help(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return usageError(fmt.Sprintf("there is no command %q", strings.Join(args, " ")))
	}
	about.InitDefaultHelpFlag()
	about.InitDefaultVersionFlag()
	return about.Help()
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"kbdd/kbd/control"
)

func releaseCommand(kbdd func() *control.Client) *cobra.Command {
	return &cobra.Command{
		Use:   "release [DEVICE]",
		Short: "Take a device from those who have it open, and give the keyboard back",
		Long: `Take a device, /dev/kbd0 unless given, from those who have it open: they read ENODEV from then on, and
the console has the keyboard back, unless another device's reader has it.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := nameOf(deviceOf(args))
			if err != nil {
				return err
			}
			return kbdd().Release(cmd.Context(), name)
		},
	}
}

var devicePath = regexp.MustCompile(`^/dev/(kbd[0-9]+)$`)

// nameOf is the name by which kbdd knows a device, which may be given by a link.
func nameOf(path string) (string, error) {
	given := path
	for range 8 {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	m := devicePath.FindStringSubmatch(filepath.Clean(path))
	if m == nil {
		return "", usageError(fmt.Sprintf("%s is none of kbdd's devices: these are /dev/kbd0, /dev/kbd1 and so on, and the links in /dev/kbd", given))
	}
	return m[1], nil
}

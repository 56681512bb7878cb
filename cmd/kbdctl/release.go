package main

import (
	"path/filepath"

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
			return kbdd().Release(cmd.Context(), filepath.Base(deviceOf(args)))
		},
	}
}

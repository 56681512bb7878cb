package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"kbdd/kbd/control"
)

func listCommand(kbdd func() *control.Client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the devices and the keyboards behind them",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print a JSON array")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		st, err := kbdd().Status(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), listed(st))
		}
		return writeList(cmd.OutOrStdout(), listed(st))
	}
	return cmd
}

// A line of the list is a device.
type line struct {
	Device  string `json:"device"` // "/dev/kbd1"
	Opens   int    `json:"opens"`
	HeardBy string `json:"heard_by,omitempty"`
	Node    string `json:"node,omitempty"`
	Name    string `json:"name"`
}

func listed(st control.Status) []line {
	lines := make([]line, 0, len(st.Devices))
	for _, d := range st.Devices {
		l := line{Device: "/dev/" + d.Name, Opens: len(d.Holders), Name: "all keyboards"}
		for _, k := range st.Keyboards {
			if k.Device == d.Name {
				l.HeardBy, l.Node, l.Name = k.HeardBy, k.Node, k.Name
			}
			if k.Device == d.Name && !k.Plugged {
				l.Node, l.Name = "", k.Name+" (unplugged)"
			}
		}
		lines = append(lines, l)
	}
	return lines
}

func writeList(out io.Writer, lines []line) error {
	var rows [][]string
	for _, l := range lines {
		rows = append(rows, []string{l.Device, strconv.Itoa(l.Opens), dash(l.HeardBy), dash(l.Node), plain(l.Name)})
	}
	return writeTable(out, []string{"DEVICE", "OPENS", "HEARD BY", "NODE", "KEYBOARD"}, rows)
}

// dash is what stands where there is nothing.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

package main

import (
	"strings"
	"testing"
)

func TestTablesFitTheTerminal(t *testing.T) {
	rows := [][]string{
		{"DEV", "PROGRAM", "PID", "LISTENS", "MODE", "LOST"},
		{"kbd0", "chocolate-doom", "1811", "no: write-only", "K_MEDIUMRAW", "12"},
		{"kbd0", "é", "4194304", "yes", "set 1", "0"},
	}
	for columns, want := range map[int]string{
		80: `DEV   PROGRAM         PID      LISTENS         MODE         LOST
kbd0  chocolate-doom  1811     no: write-only  K_MEDIUMRAW  12
kbd0  é               4194304  yes             set 1        0
`,
		// No column is lost: the widest are cut first, and none below its header.
		50: `DEV   PROGRAM   PID      LISTENS   MODE       LOST
kbd0  chocola…  1811     no: wri…  K_MEDIUM…  12
kbd0  é         4194304  yes       set 1      0
`,
		20: `DEV  PROGRAM  PID  L
kb…  chocol…  18…  n
kb…  é        41…  y
`,
	} {
		t.Setenv("LC_ALL", "C.UTF-8")
		if got := strings.Join(tabulate(rows, columns), ""); got != want {
			t.Errorf("in %d columns\n%s", columns, got)
		}
	}
}

package sample

import (
	"fmt"
	"os"
	"testing"
)

func TestSample(t *testing.T) {
	if Double(2) != 4 {
		t.Error("double")
	}
	text, err := os.ReadFile("testdata/input")
	if err != nil {
		t.Error(err)
	}
	fmt.Printf("parent %d, KBDD_VM=%s, input %q\n", os.Getppid(), os.Getenv("KBDD_VM"), text)
	t.Error("a failure for vmrun to report")
}

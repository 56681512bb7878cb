package main

import (
	"os"
	"path/filepath"
	"strings"
)

// testFiles gives what a test binary with these arguments, in the folder dir, reads from the host's files and what it
// leaves there. Folders are both: the program finds what is in them and may add to it.
func testFiles(dir string, args []string) (inputs, outputs []string) {
	testdata := filepath.Join(dir, "testdata")
	inputs = []string{testdata}
	outputs = []string{filepath.Join(testdata, "fuzz")} // where the fuzzer keeps its findings
	outputDir := dir
	var written []string
	for _, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		name, isTest := strings.CutPrefix(name, "test.")
		if !ok || !isTest || value == "" {
			continue
		}
		switch name {
		case "outputdir":
			outputDir = absolute(dir, value)
			outputs = append(outputs, filepath.Join(outputDir, "_artifacts"))
		case "gocoverdir", "fuzzcachedir":
			inputs = append(inputs, absolute(dir, value))
			outputs = append(outputs, absolute(dir, value))
		case "coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace":
			written = append(written, value)
		}
	}
	for _, file := range written {
		outputs = append(outputs, absolute(outputDir, file))
	}
	if cover := os.Getenv("GOCOVERDIR"); cover != "" {
		outputs = append(outputs, absolute(dir, cover))
	}
	return inputs, outputs
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

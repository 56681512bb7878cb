// Command benchtable makes a table of what the benchmarks have measured.
//
//	benchtable -json FILE INSTRUCTIONS [REAL]  # of the outputs of go test -bench in the two machines, and keeps it in FILE
//	benchtable -json FILE -check               # tells what in FILE is beyond its limit, or missing
//	benchtable -json FILE -readme README.md    # puts what FILE has into the README
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"kbdd/test/readme"
)

func main() {
	jsonFile := flag.String("json", "out/bench.json", "the `file` for programs to read")
	check := flag.Bool("check", false, "hold the figures against their limits")
	page := flag.String("readme", "", "the `file` to put the table into")
	flag.Parse()
	var err error
	switch {
	case *check:
		err = checkFile(*jsonFile)
	case *page != "":
		err = writeReadme(*jsonFile, *page)
	default:
		err = measured(*jsonFile, flag.Args())
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(os.Stderr, "benchtable:", strings.TrimSpace(line))
		}
		os.Exit(1)
	}
}

// measured keeps what outputs tell, and shows the table.
func measured(jsonFile string, outputs []string) error {
	if len(outputs) != 1 && len(outputs) != 2 {
		return errors.New("it takes the output of one machine or both")
	}
	r := results{Host: host()}
	var err error
	if r.Instructions, err = r.read(outputs[0]); err != nil {
		return err
	}
	if len(outputs) > 1 {
		if r.Real, err = r.read(outputs[1]); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(jsonFile, append(text, '\n'), 0o644); err != nil {
		return err
	}
	table, err := r.table()
	if err != nil {
		return err
	}
	fmt.Print(table)
	return nil
}

// results are all that was measured: by name and unit.
type results struct {
	Host         string  `json:"host"`
	Kernel       string  `json:"kernel"`
	Instructions figures `json:"instructions"` // by a clock that counts them, 1000 to the microsecond, on one CPU
	Real         figures `json:"real"`         // on two CPUs; nil where only instructions were counted
}

type figures map[string]map[string]float64

// load is what measured has kept.
func load(jsonFile string) (r results, err error) {
	text, err := os.ReadFile(jsonFile)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", jsonFile, err)
	}
	return r, nil
}

func checkFile(jsonFile string) error {
	r, err := load(jsonFile)
	if err != nil {
		return err
	}
	return r.check()
}

// read reads an output of go test -bench.
func (r *results) read(file string) (figures, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all := figures{}
	passed := false
	for line := range strings.Lines(string(text)) {
		if kernel, ok := strings.CutPrefix(line, "kernel: "); ok {
			r.Kernel = strings.TrimSpace(kernel)
		}
		passed = passed || line == "PASS\n"
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := cpus.ReplaceAllString(strings.TrimPrefix(words[0], "Benchmark"), "")
		all[name] = map[string]float64{}
		for i := 2; i+1 < len(words); i += 2 {
			if all[name][words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", file, line, err)
			}
		}
	}
	if !passed {
		return nil, fmt.Errorf("%s: the benchmarks did not run to their end, or failed", file)
	}
	return all, nil
}

// cpus is what go test puts behind a name on a machine of more than one CPU.
var cpus = regexp.MustCompile(`-\d+$`)

// host names QEMU and the CPU that it runs on.
func host() string {
	emulator := "QEMU"
	if out, err := exec.Command("qemu-system-x86_64", "--version").Output(); err == nil {
		if m := regexp.MustCompile(`version (\S+)`).FindSubmatch(out); m != nil {
			emulator += " " + string(m[1])
		}
	}
	model := "an unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(text); m != nil {
			model = string(m[1])
		}
	}
	return emulator + " (TCG) on " + model
}

func writeReadme(jsonFile, page string) error {
	r, err := load(jsonFile)
	if err != nil {
		return err
	}
	table, err := r.table()
	if err != nil {
		return err
	}
	return readme.Replace(page, "bench", table)
}

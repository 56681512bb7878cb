// Command killtable makes tables of what the kill matrix has printed.
//
//	killtable OUTPUT...                   # adds up what these runs have found
//	killtable -readme README.md OUTPUT... # and puts it into the README
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"

	"kbdd/test/kills"
	"kbdd/test/readme"
)

func main() {
	page := flag.String("readme", "", "the `file` to put the tables into")
	flag.Parse()
	if err := run(*page, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "killtable:", err)
		os.Exit(1)
	}
}

func run(page string, outputs []string) error {
	var all []kills.Tries
	for _, name := range outputs {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		tries, err := kills.Read(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, tries...)
	}
	if len(all) == 0 {
		return errors.New("there are no tries in what it was given")
	}
	alone := slices.DeleteFunc(kills.Sum(all), func(t kills.Tries) bool { return t.Systemd })
	service := slices.DeleteFunc(kills.Sum(all), func(t kills.Tries) bool { return !t.Systemd })
	for _, table := range []struct {
		maker string
		tries []kills.Tries
	}{{"kill-matrix", alone}, {"kill-matrix-systemd", service}} {
		if len(table.tries) == 0 {
			continue
		}
		text := kills.Table(table.tries)
		fmt.Printf("%s:\n%s", table.maker, text)
		if page == "" {
			continue
		}
		if err := readme.Replace(page, table.maker, text); err != nil {
			return err
		}
	}
	return nil
}

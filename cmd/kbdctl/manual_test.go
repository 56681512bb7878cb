package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// documented are the commands that the manual tells of, each with its options; "" has those of all.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("kbdctl.1")
	if err != nil {
		t.Fatal(err)
	}
	option := regexp.MustCompile(`(?:Fl|\|) (-?[a-z]+)`)
	found := make(map[string][]string)
	for line := range strings.Lines(string(page)) {
		item, ok := strings.CutPrefix(strings.TrimSpace(line), ".It ")
		command := ""
		if words := strings.Fields(item); ok && words[0] == "Ic" {
			command = words[1]
		} else if !ok || words[0] != "Fl" {
			continue
		}
		found[command] = append(found[command], []string{}...)
		if command == "completion" {
			continue // whose arguments look like options
		}
		for _, match := range option.FindAllStringSubmatch(item, -1) {
			found[command] = append(found[command], "-"+match[1])
		}
	}
	return found
}

// optionsOf are the options of a set of flags, as its usage has them.
func optionsOf(flags interface{ FlagUsages() string }) (options []string) {
	for _, match := range regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[\w-]+)`).FindAllStringSubmatch(flags.FlagUsages(), -1) {
		for _, option := range match[1:] {
			if option != "" {
				options = append(options, option)
			}
		}
	}
	return options
}

// existing are the commands that there are, in the same way.
func existing() map[string][]string {
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	all := map[string][]string{"": append(optionsOf(root.PersistentFlags()), optionsOf(root.Flags())...)}
	for _, c := range root.Commands() {
		all[c.Name()] = optionsOf(c.LocalNonPersistentFlags())
	}
	return all
}

func TestManualHasEachCommandAndOption(t *testing.T) {
	manual, program := documented(t), existing()
	for command, options := range program {
		if _, ok := manual[command]; !ok {
			t.Errorf("the manual has no command %q", command)
		}
		for _, option := range options {
			if !slices.Contains(manual[command], option) {
				t.Errorf("the manual has no option %s of %q", option, command)
			}
		}
	}
	for command, options := range manual {
		if _, ok := program[command]; !ok {
			t.Errorf("the manual has a command %q, which does not exist", command)
		}
		for _, option := range options {
			if !slices.Contains(program[command], option) {
				t.Errorf("the manual has an option %s of %q, which does not exist", option, command)
			}
		}
	}
}

func TestManualNamesTheShells(t *testing.T) {
	page, err := os.ReadFile("kbdctl.1")
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	root.InitDefaultCompletionCmd()
	var shells []string
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			for _, shell := range c.Commands() {
				shells = append(shells, shell.Name())
			}
		}
	}
	if want := ".It Ic completion Cm " + strings.Join(shells, " | ") + "\n"; len(shells) == 0 || !strings.Contains(string(page), want) {
		t.Errorf("the manual has no line %q", want)
	}
}

func TestEachCommandCompletes(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if status, out, _ := kbdctl("completion", shell); status != 0 || !strings.Contains(out, "kbdctl") {
			t.Errorf("%s: status %d, %s", shell, status, out)
		}
	}
	_, out, _ := kbdctl(cobra.ShellCompRequestCmd, "stat")
	if !strings.HasPrefix(out, "status\t") {
		t.Errorf("stat is completed to %s", out)
	}
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"kbdd/kbd"
	"kbdd/kbd/input"
)

// defaultConfig is where the configuration is looked for. It need not exist.
const defaultConfig = "/etc/kbdd.toml"

// config is the configuration file, kbdd.toml(5).
type config struct {
	StallTimeout duration    `toml:"stall-timeout"`
	Keyboards    input.Rules `toml:"keyboards"`
	Bypass       chords      `toml:"bypass"`
	Limits       limits      `toml:"limits"`
	Devices      []device    `toml:"device"`
}

// chords is kbd.Chords as the file has it.
type chords struct {
	VT         bool `toml:"vt"`
	SysRq      bool `toml:"sysrq"`
	CtrlAltDel bool `toml:"ctrl-alt-del"`
	Power      bool `toml:"power"`
}

// limits is kbd.Limits as the file has it.
type limits struct {
	Files        int `toml:"files"`
	FilesPerUser int `toml:"files-per-user"`
}

// duration is one that is written as in Go: 500ms, 2s, 1m30s.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no time: write it as 500ms, 2s or 1m30s", text)
	}
	*d = duration(v)
	return nil
}

// loadConfig reads the configuration. What it does not set is as it is without a file; without the default file all is.
// An error is one line, with the file's name and the line's number where there is one.
func loadConfig(path string) (config, error) {
	c := config{
		Bypass: chords(kbd.AllChords),
		Limits: limits(kbd.DefaultLimits),
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && path == defaultConfig {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	meta, err := toml.Decode(string(text), &c)
	if err != nil {
		return c, fmt.Errorf("%s:%s", path, explain(err))
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("%s:%d: unknown key %q; kbdd.toml(5) lists the keys", path, lineOf(string(text), unknown[0]), unknown[0].String())
	}
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *config) validate() error {
	switch {
	case c.Limits.Files < 1 || c.Limits.Files > kbd.MaxFiles:
		return fmt.Errorf("limits.files is %d; it can be from 1 to %d", c.Limits.Files, kbd.MaxFiles)
	case c.Limits.FilesPerUser < 1 || c.Limits.FilesPerUser > kbd.MaxFiles:
		return fmt.Errorf("limits.files-per-user is %d; it can be from 1 to %d", c.Limits.FilesPerUser, kbd.MaxFiles)
	}
	if err := c.Keyboards.Validate(); err != nil {
		return fmt.Errorf("keyboards.%w", err)
	}
	for i := range c.Devices {
		if err := c.Devices[i].resolve(); err != nil {
			return fmt.Errorf("device.%w", err)
		}
	}
	return nil
}

// settings is the part of the configuration that is the service's.
func (c *config) settings() kbd.Settings {
	return kbd.Settings{
		Chords: kbd.Chords(c.Bypass), Limits: kbd.Limits(c.Limits), StallTimeout: time.Duration(c.StallTimeout),
		Rules: c.rules(),
	}
}

// A mismatch is how the library tells of a value of the wrong type.
var mismatch = regexp.MustCompile(`^toml: line (\d+) \(last key "(.*)"\): (?:type mismatch for \S+: )?(.*)$`)

// explain is the library's error as LINE: REASON, without the excerpt of the file.
func explain(err error) string {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		reason := parse.Message
		if reason == "" { // an UnmarshalText's
			_, reason, _ = strings.Cut(parse.Error(), "): ")
		}
		if parse.LastKey != "" {
			reason = parse.LastKey + ": " + reason
		}
		return fmt.Sprintf("%d: %s", parse.Position.Line, reason)
	}
	if m := mismatch.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Sprintf("%s: %s: %s", m[1], m[2], m[3])
	}
	return " " + strings.TrimPrefix(err.Error(), "toml: ")
}

// lineOf finds the line where a key stands; the library does not tell it. A key of a table that is written twice is found
// where its name is first in a line that begins with it, below the table's header.
func lineOf(text string, key toml.Key) int {
	table, name := strings.Join(key[:len(key)-1], "."), key[len(key)-1]
	inTable := table == ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if header, ok := strings.CutPrefix(line, "["); ok {
			header, _, _ = strings.Cut(strings.TrimPrefix(header, "["), "]")
			if inTable = strings.TrimSpace(header) == table; strings.TrimSpace(header) == key.String() {
				return i + 1
			}
			continue
		}
		if left, _, ok := strings.Cut(line, "="); ok && inTable && strings.Trim(left, " \t\"'") == name {
			return i + 1
		}
	}
	// Inside an inline table, or under a dotted name: the first line that has it.
	for i, line := range strings.Split(text, "\n") {
		if strings.Contains(line, name) {
			return i + 1
		}
	}
	return 1
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
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

	strangers []string // the users and groups that nobody knows, each with its line
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
// An error is one line, with the file's name and the line's number. Users and groups that are not known are no error here.
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
	if _, err := toml.Decode(string(text), &c); err != nil {
		return c, fmt.Errorf("%s:%s", path, explain(err))
	}
	lines := make(map[string]int)
	for _, p := range places(string(text)) {
		// The library would take a key in capitals for one that it knows.
		if !slices.Contains(knownKeys, p.name()) {
			return c, fmt.Errorf("%s:%d: unknown key %q; kbdd.toml(5) lists the keys", path, p.line, p.name())
		}
		lines[p.path] = p.line
	}
	if f := c.fault(); f != nil {
		return c, fmt.Errorf("%s:%d: %s", path, lines[f.path], f.reason)
	}
	for i := range c.Devices {
		for _, f := range c.Devices[i].resolve(fmt.Sprintf("device[%d]", i)) {
			c.strangers = append(c.strangers, fmt.Sprintf("%s:%d: %s", path, lines[f.path], f.reason))
		}
	}
	return c, nil
}

// loadStrictly is loadConfig for a person who waits for the answer: nor may a user or a group be unknown.
func loadStrictly(path string) (config, error) {
	c, err := loadConfig(path)
	if err == nil && len(c.strangers) > 0 {
		err = errors.New(c.strangers[0])
	}
	return c, err
}

// knownKeys are the names of all keys and tables.
var knownKeys = keyNames("", reflect.TypeFor[config]())

func keyNames(table string, typ reflect.Type) (names []string) {
	for field := range typ.Fields() {
		key := field.Tag.Get("toml")
		if key == "" {
			continue
		}
		names = append(names, join(table, key))
		elem := field.Type
		if elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Struct {
			names = append(names, keyNames(join(table, key), elem)...)
		}
	}
	return names
}

// A fault is what is wrong, and the path of the place where it is.
type fault struct{ path, reason string }

// fault is what is wrong with the configuration; nil: nothing.
func (c *config) fault() *fault {
	for _, limit := range []struct {
		key   string
		value int
	}{{"limits.files", c.Limits.Files}, {"limits.files-per-user", c.Limits.FilesPerUser}} {
		if limit.value < 1 || limit.value > kbd.MaxFiles {
			return &fault{limit.key, fmt.Sprintf("%s is %d; it can be from 1 to %d", limit.key, limit.value, kbd.MaxFiles)}
		}
	}
	for _, list := range []struct {
		key       string
		selectors []input.Selector
	}{{"match", c.Keyboards.Match}, {"ignore", c.Keyboards.Ignore}, {"force", c.Keyboards.Force}} {
		for i, s := range list.selectors {
			if key, err := faultOf(s); err != nil {
				return &fault{fmt.Sprintf("keyboards.%s[%d]%s", list.key, i, key), fmt.Sprintf("keyboards.%s: %v", list.key, err)}
			}
		}
	}
	for i := range c.Devices {
		if key, err := c.Devices[i].fault(); err != nil {
			return &fault{fmt.Sprintf("device[%d]%s", i, key), fmt.Sprintf("device%s: %v", key, err)}
		}
	}
	return nil
}

// faultOf finds what is wrong with a selector, and the key in it, with a point before it; "" for all of it.
func faultOf(s input.Selector) (key string, err error) {
	for _, part := range []struct {
		key      string
		selector input.Selector
	}{{".name", input.Selector{Name: s.Name}}, {".phys", input.Selector{Phys: s.Phys}}, {".id", input.Selector{ID: s.ID}}, {"", s}} {
		if part.selector == (input.Selector{}) && part.key != "" {
			continue
		}
		rules := input.Rules{Match: []input.Selector{part.selector}}
		if err := rules.Validate(); err != nil {
			return part.key, errors.Unwrap(err) // which has the list's name before it
		}
	}
	return "", nil
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

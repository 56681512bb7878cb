package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"
)

// named finds what a manual page lists with a macro.
func named(t *testing.T, page, pattern string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestManualListsTheOptionsThatExist(t *testing.T) {
	want := named(t, "kbdd.8", `(?m)^\.It Fl (\S+)`)
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(usage, -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("kbdd -h lists %v, kbdd(8) %v", got, want)
	}
	var stdout, stderr nullWriter
	for _, option := range []string{"-h", "-version", "-check"} {
		if status := run([]string{option, "-config", os.DevNull}, &stdout, &stderr); status != 0 {
			t.Errorf("kbdd %s ends with %d", option, status)
		}
	}
}

type nullWriter struct{}

func (*nullWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestManualListsTheKeysThatExist(t *testing.T) {
	want := named(t, "kbdd.toml.5", `(?m)^\.It Ic (\S+)`)
	if got := keysOf(reflect.TypeFor[config]()); !slices.Equal(got, want) {
		t.Errorf("the configuration has %v, kbdd.toml(5) %v", got, want)
	}
}

// keysOf are the names of all keys that are no tables, in order.
func keysOf(typ reflect.Type) (keys []string) {
	seen := make(map[string]bool)
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for f := range typ.Fields() {
			elem := f.Type
			if elem.Kind() == reflect.Slice {
				elem = elem.Elem()
			}
			if elem.Kind() != reflect.Struct || f.Type.Kind() == reflect.Slice {
				// A list of tables at the top is [[device]], a table as well.
				if tag := f.Tag.Get("toml"); tag != "" && f.Type != reflect.TypeFor[[]device]() {
					seen[tag] = true
				}
			}
			if elem.Kind() == reflect.Struct {
				walk(elem)
			}
		}
	}
	walk(typ)
	for key := range seen {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestEverythingHasItsPlace(t *testing.T) {
	const text = `# limits.files = 1
a = 1 # b = 2
"q.r" . 's' = '''
c = [
'''
[keyboards]
ignore = [{ name = "x" }, # { id
  {
    id = "y",
    phys = "\"]" } ]
[[device]]
name = "a"
[[device]]
  users = [ "x",
	"""y
#"""", 3 ]
[device.more]
k = { l = { m = 1, n.o = 2 } }
[limits]
`
	want := `a 2
"q.r" 3
"q.r".s 3
keyboards 6
keyboards.ignore 7
keyboards.ignore[0] 7
keyboards.ignore[0].name 7
keyboards.ignore[1] 8
keyboards.ignore[1].id 9
keyboards.ignore[1].phys 10
device 11
device[0] 11
device[0].name 12
device[1] 13
device[1].users 14
device[1].users[0] 14
device[1].users[1] 15
device[1].users[2] 16
device[1].more 17
device[1].more.k 18
device[1].more.k.l 18
device[1].more.k.l.m 18
device[1].more.k.l.n 18
device[1].more.k.l.n.o 18
limits 19
`
	var got strings.Builder
	for _, p := range places(text) {
		fmt.Fprintln(&got, p.path, p.line)
	}
	if got.String() != want {
		t.Errorf("got\n%s", &got)
	}
}

// FuzzPlaces compares the keys of good texts with the library's, and checks that no text does harm.
func FuzzPlaces(f *testing.F) {
	examples, _ := filepath.Glob("examples/*.toml")
	for _, name := range examples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("a.b = [1, [2, {c = 3}]]\n[[d]]\ne=\"\"\"\"x\"\"\"\"\"\n[[d]]\n'f' = 1.5\n[d.g]")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 500 {
			return // for deep nesting takes the library a time that grows with the square of it
		}
		found := places(text)
		var any map[string]any
		meta, err := toml.Decode(text, &any)
		if err != nil {
			return
		}
		var names []string
		for _, p := range found {
			names = append(names, p.name())
		}
		for _, key := range meta.Keys() {
			// Quoted keys can have odd names, none of which kbdd knows.
			if name := strings.Join(key, "."); plainKey(key) && !slices.Contains(names, name) {
				t.Errorf("%q: %q is not among %q", text, name, names)
			}
		}
		for i, p := range found {
			if p.line < 1 || p.line > 1+strings.Count(text, "\n") || i > 0 && p.line < found[i-1].line {
				t.Errorf("%q: place %+v", text, p)
			}
		}
	})
}

func plainKey(key toml.Key) bool {
	return !slices.ContainsFunc(key, func(part string) bool {
		return part == "" || strings.ContainsAny(part, "[]'\"\\") || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r > '~' })
	})
}

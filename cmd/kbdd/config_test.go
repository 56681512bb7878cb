package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kbdd/kbd"
	"kbdd/kbd/input"
)

// load loads a configuration with this text.
func load(t *testing.T, text string) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kbdd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(path)
}

func TestConfigurationIsWhatItSays(t *testing.T) {
	c, err := load(t, `
stall-timeout = "1m30s"

[bypass]
vt = false

[limits]
files = 10

[keyboards]
ignore = [{ name = "Yubico*" }]

[[keyboards.force]]
id = "046d:*"
phys = "usb-*"
`)
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		StallTimeout: duration(90 * time.Second),
		Keyboards: input.Rules{
			Ignore: []input.Selector{{Name: "Yubico*"}},
			Force:  []input.Selector{{ID: "046d:*", Phys: "usb-*"}},
		},
		Bypass: chords{SysRq: true, CtrlAltDel: true, Power: true},
		Limits: limits{Files: 10, FilesPerUser: kbd.DefaultLimits.FilesPerUser},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestEmptyConfigurationIsTheDefault(t *testing.T) {
	c, err := load(t, "# nothing\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.settings(); !reflect.DeepEqual(got, kbd.DefaultSettings) {
		t.Errorf("got %+v, want %+v", got, kbd.DefaultSettings)
	}
}

func TestConfigurationThatWasAskedForMustExist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if _, err := loadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
}

// TestBadConfigurationIsOneLine checks that each names the file, the line where that can be known, and the reason.
func TestBadConfigurationIsOneLine(t *testing.T) {
	for _, tt := range []struct{ text, line, reason string }{
		{"stall-timeout = 5", "1", "stall-timeout"},
		{"stall-timeout = \"soon\"", "1", `"soon" is no time`},
		{"\nstall-timeout = \"-1s\"", "2", `"-1s" is no time`},
		{"stall-timout = \"1s\"", "1", `unknown key "stall-timout"`},
		{"[bypas]\nvt = true", "1", `unknown key "bypas"`},
		{"[bypass]\n\nvtt = true", "3", `unknown key "bypass.vtt"`},
		{"[bypass]\nvt = \"yes\"", "2", "vt"},
		{"[bypass]\nvt = maybe", "2", "maybe"},
		{"[bypass]\nvt = true\nvt = false", "3", "vt"},
		{"[bypass", "1", "expected"},
		{"bypass = 3", "1", "bypass"},
		{"[limits]\nfiles = 0", "", "limits.files is 0"},
		{"[limits]\nfiles = 1000000", "", "limits.files is 1000000"},
		{"[limits]\nfiles-per-user = -1", "", "limits.files-per-user is -1"},
		{"[limits]\nfiles = \"many\"", "2", "files"},
		{"[keyboards]\nignore = \"all\"", "2", "ignore"},
		{"[keyboards]\nignore = [{ nam = \"x\" }]", "2", `unknown key "keyboards.ignore.nam"`},
		{"[keyboards]\nignore = [{}]", "", "keyboards.ignore: an entry is empty"},
		{"[keyboards]\nforce = [{ id = \"46d\" }]", "", `id "46d" is not VENDOR:PRODUCT`},
		{"[[keyboards.match]]\nname = \"[\"", "", `name "[" is not a pattern`},
		{"[[keyboards.match]]\nname = 3", "2", "name"},
		{"[[device]]\nusers = []", "", "device.name: an entry needs a name"},
		{"[[device]]\nname = \"kbd[\"", "", `"kbd[" is not a pattern`},
		{"[[device]]\nname = \"kbd0\"\nusers = [\"no one\"]", "", `there is no user "no one"`},
		{"[[device]]\nname = \"kbd0\"\ngroups = [\"no one\"]", "", `there is no group "no one"`},
		{"[[device]]\nname = \"kbd0\"\nuser = \"root\"", "3", `unknown key "device.user"`},
		{"[[device]]\nname = \"kbd0\"\nmute = \"no\"", "3", "mute"},
		{"= 1", "1", "key"},
		{"a = \"\x00\"", "1", "NULL"},
	} {
		_, err := load(t, tt.text)
		if err == nil {
			t.Errorf("%q is taken", tt.text)
			continue
		}
		where := "kbdd.toml: "
		if tt.line != "" {
			where = "kbdd.toml:" + tt.line + ": "
		}
		if got := err.Error(); !strings.Contains(got, where) || !strings.Contains(got, tt.reason) || strings.Contains(got, "\n") {
			t.Errorf("%q: %q; want it to say %q and %q in one line", tt.text, got, where, tt.reason)
		}
	}
}

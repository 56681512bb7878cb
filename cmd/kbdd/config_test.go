package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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

// TestBadConfigurationIsOneLine checks that each names the file, the line and the reason.
func TestBadConfigurationIsOneLine(t *testing.T) {
	for _, tt := range []struct {
		text   string
		line   int
		reason string
	}{
		{"stall-timeout = 5", 1, "stall-timeout"},
		{"stall-timeout = \"soon\"", 1, `"soon" is no time`},
		{"\nstall-timeout = \"-1s\"", 2, `"-1s" is no time`},
		{"stall-timout = \"1s\"", 1, `unknown key "stall-timout"`},
		{"Stall-Timeout = \"1s\"", 1, `unknown key "Stall-Timeout"`},
		{"[bypas]\nvt = true", 1, `unknown key "bypas"`},
		{"[bypass]\n\nvtt = true", 3, `unknown key "bypass.vtt"`},
		{"[bypass]\nvt = true\nVt = false", 3, `unknown key "bypass.Vt"`},
		{"[Bypass]\nvt = true", 1, `unknown key "Bypass"`},
		{"[bypass]\nvt = \"yes\"", 2, "vt"},
		{"[bypass]\nvt = maybe", 2, "maybe"},
		{"[bypass]\nvt = true\nvt = false", 3, "vt"},
		{"[bypass", 1, "expected"},
		{"bypass = 3", 1, "bypass"},
		{"[limits]\nfiles = 0", 2, "limits.files is 0"},
		{"# limits.files\nlimits.files = 1000000", 2, "limits.files is 1000000"},
		{"limits = { files = 5,\n\tfiles-per-user = -1 }", 2, "limits.files-per-user is -1"},
		{"[limits]\nfiles = \"many\"", 2, "files"},
		{"[keyboards]\nignore = \"all\"", 2, "ignore"},
		{"[keyboards]\nignore = [{ nam = \"x\" }]", 2, `unknown key "keyboards.ignore.nam"`},
		{"# serial: not by that\n[keyboards]\nignore = [{ serial = \"x\" }]", 3, `unknown key "keyboards.ignore.serial"`},
		{"[keyboards]\nignore = [\n\t{ name = \"x\" },\n\t{},\n]", 4, "keyboards.ignore: an entry is empty"},
		{"[[keyboards.ignore]]\nname = \"x\"\n[[keyboards.ignore]]", 3, "keyboards.ignore: an entry is empty"},
		{"[keyboards]\nforce = [{ name = \"x\" },\n{ name = \"y\", id = \"46d\" }]", 3, `keyboards.force: id "46d" is not VENDOR:PRODUCT`},
		{"[[keyboards.match]]\nname = \"a\"\n[[keyboards.match]]\nid = \"1:2\"\nphys = \"[\"", 5, `phys "[" is not a pattern`},
		{"[[keyboards.match]]\nname = 3", 2, "name"},
		{"[[device]]\nname = \"kbd1\"\n\n[[device]]\nusers = []", 4, "device: an entry needs a name or a keyboard"},
		{"[[device]]\nname = \"kbd[\"", 2, `device.name: "kbd[" is not a pattern`},
		{"[[device]]\nkeyboard = \"[\"\nname = \"kbd1\"", 2, `device.keyboard: "[" is not a pattern`},
		{"[[device]]\nname = \"kbd0\"\nuser = \"root\"", 3, `unknown key "device.user"`},
		{"[[device]]\nname = \"kbd0\"\nmute = \"no\"", 3, "mute"},
		{"= 1", 1, "key"},
		{"a = \"\x00\"", 1, "NULL"},
		{"\n# \xff", 2, "UTF-8"},
	} {
		_, err := load(t, tt.text)
		if err == nil {
			t.Errorf("%q is taken", tt.text)
			continue
		}
		wantFault(t, tt.text, err.Error(), tt.line, tt.reason)
	}
}

func wantFault(t *testing.T, text, got string, line int, reason string) {
	t.Helper()
	where := fmt.Sprintf("kbdd.toml:%d: ", line)
	if !strings.Contains(got, where) || !strings.Contains(got, reason) || strings.Contains(got, "\n") {
		t.Errorf("%q: %q; want it to say %q and %q in one line", text, got, where, reason)
	}
}

// TestStrangersAreToldAndMatchNobody has kbdd start with names that nobody has: a user may have gone.
func TestStrangersAreToldAndMatchNobody(t *testing.T) {
	const text = "[[device]]\nname = \"kbd0\"\nusers = [\"root\",\n\"no one\"]\ngroups = [\"no group\", \"4711\"]"
	c, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if a := c.settings().Rules[0].Access; !slices.Equal(a.Users, []uint32{0}) || !slices.Equal(a.Groups, []uint32{4711}) {
		t.Errorf("access %+v", a)
	}
	if len(c.strangers) != 2 {
		t.Fatalf("strangers %q", c.strangers)
	}
	wantFault(t, text, c.strangers[0], 4, `device.users: there is no user "no one"`)
	wantFault(t, text, c.strangers[1], 5, `device.groups: there is no group "no group"`)

	path := filepath.Join(t.TempDir(), "kbdd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if status := run([]string{"-check", "-config", path}, io.Discard, &said); status != exitConfig {
		t.Errorf("kbdd -check ends with %d", status)
	}
	wantFault(t, text, strings.TrimSuffix(said.String(), "\n"), 4, `there is no user "no one"`)
}

func TestNumbersAreUsersToo(t *testing.T) {
	c, err := load(t, "[[device]]\nname = \"kbd0\"\nusers = [\"1000\", \"0\"]\n")
	if err != nil || len(c.strangers) > 0 {
		t.Fatal(err, c.strangers)
	}
	if a := c.settings().Rules[0].Access; !slices.Equal(a.Users, []uint32{1000, 0}) {
		t.Errorf("access %+v", a)
	}
	for _, no := range []string{"-1", "4294967295", "4294967296", "1x"} {
		if c, err := load(t, "[[device]]\nname = \"kbd0\"\nusers = [\""+no+"\"]"); err != nil || len(c.strangers) != 1 {
			t.Errorf("user %s: %v, %v", no, err, c.strangers)
		}
	}
}

package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCPIOIsUnpackedAsWritten(t *testing.T) {
	var archive bytes.Buffer
	c := newCPIO(&archive)
	c.file("/sub/folder/file", 0o755, 5, strings.NewReader("hello"))
	c.file("empty", 0o600, 0, strings.NewReader(""))
	c.dir("sub/folder", 0o700) // is there already
	c.symlink("folder/file", "sub/link")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}

	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	dir := t.TempDir()
	unpack := exec.Command(cpio, "--extract", "--quiet")
	unpack.Dir, unpack.Stdin = dir, &archive
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for path, want := range map[string]string{"sub/folder/file": "hello", "sub/link": "hello", "empty": ""} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", path, got, err)
		}
	}
	if stat, err := os.Stat(filepath.Join(dir, "sub/folder/file")); err != nil || stat.Mode().Perm() != 0o755 {
		t.Errorf("the mode of the file: %v, %v", stat, err)
	}
}

func TestCPIOTellsOfShortFiles(t *testing.T) {
	c := newCPIO(new(bytes.Buffer))
	c.file("file", 0o644, 10, strings.NewReader("short"))
	if err := c.close(); err == nil || !strings.Contains(err.Error(), "file") {
		t.Errorf("a file that ends early: %v", err)
	}
}

// bzImage makes the parts of a kernel image that matter here.
func bzImage(sectors byte, offset, length uint32, size int) []byte {
	bz := make([]byte, size)
	bz[0x1f1] = sectors
	copy(bz[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(bz[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(bz[0x248:], offset)
	binary.LittleEndian.PutUint32(bz[0x24c:], length)
	return bz
}

func TestPayloadOfABzImage(t *testing.T) {
	bz := bzImage(2, 100, 7, 4096)
	copy(bz[3*512+100:], "payload")
	if got, err := bzPayload(bz); err != nil || string(got) != "payload" {
		t.Errorf("payload %q, %v", got, err)
	}
	bz = bzImage(0, 0, 4, 4096) // stands for four sectors
	copy(bz[5*512:], "four")
	if got, err := bzPayload(bz); err != nil || string(got) != "four" {
		t.Errorf("payload %q, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"empty":         nil,
		"no kernel":     make([]byte, 4096),
		"cut off":       bzImage(2, 100, 7, 1024),
		"overflow":      bzImage(2, 0xffffffff, 0xffffffff, 4096),
		"empty payload": bzImage(2, 100, 0, 4096),
	} {
		if got, err := bzPayload(bad); err == nil {
			t.Errorf("%s: payload %q", name, got)
		}
	}
}

func TestModulesLoadAfterWhatTheyNeed(t *testing.T) {
	needs := map[string][]string{
		"cuse": {"fuse"}, "usbhid": {"hid", "usbcore"}, "usbcore": {"usb_common"}, "hid": nil, "fuse": nil, "usb_common": nil,
	}
	deps := func(name string) ([]string, error) {
		list, ok := needs[name]
		if !ok {
			return nil, fmt.Errorf("no module %s", name)
		}
		return list, nil
	}
	got, err := loadOrder([]string{"usbhid", "cuse", "hid"}, deps)
	if want := []string{"hid", "usb_common", "usbcore", "usbhid", "fuse", "cuse"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("order %v, %v", got, err)
	}
	needs["usb_common"] = []string{"lost"}
	_, err = loadOrder([]string{"usbhid"}, deps)
	if err == nil || !strings.Contains(err.Error(), "lost") || !strings.Contains(err.Error(), "usbhid") {
		t.Errorf("a module that is missing: %v", err)
	}
}

func TestModuleNames(t *testing.T) {
	for file, want := range map[string]string{
		"/lib/modules/6.1/kernel/hid-generic.ko": "hid_generic",
		"cuse.ko.xz":                             "cuse",
		"fuse.ko.zst":                            "fuse",
		"modules.dep":                            "",
		"notes.kotlin":                           "",
	} {
		if got, ok := moduleName(file); ok != (want != "") || ok && got != want {
			t.Errorf("%s is module %q, %v", file, got, ok)
		}
	}
}

func TestSignaturesAreTakenOff(t *testing.T) {
	signature := append(make([]byte, 9+8), 0, 0, 0, 9)
	signed := slices.Concat([]byte("module"), signature, []byte("~Module signature appended~\n"))
	if got := unsigned(signed); string(got) != "module" {
		t.Errorf("left is %q", got)
	}
	if got := unsigned([]byte("module")); string(got) != "module" {
		t.Errorf("left is %q", got)
	}
}

func TestLibrariesThatLddNames(t *testing.T) {
	const out = `	linux-vdso.so.1 (0x00007ffd2a5e6000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2c1c000000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f2c1c3a1000)
`
	got, err := parseLdd("showkey", out)
	if want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("libraries %q, %v", got, err)
	}
	_, err = parseLdd("showkey", "\tlibfoo.so.1 => not found\n")
	if err == nil || !strings.Contains(err.Error(), "libfoo.so.1") {
		t.Errorf("a library that is missing: %v", err)
	}
}

func TestDecompress(t *testing.T) {
	for _, tool := range []string{"gzip", "xz", "zstd", "bzip2"} {
		cmd := exec.Command(tool, "-c")
		cmd.Stdin = strings.NewReader("content")
		packed, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if got, err := decompress(packed); err != nil || string(got) != "content" {
			t.Errorf("%s: %q, %v", tool, got, err)
		}
	}
	if got, err := decompress([]byte("plain")); err != nil || string(got) != "plain" {
		t.Errorf("plain: %q, %v", got, err)
	}
}

// The machine is not trusted to name files of the host.
func TestOnlyFilesAskedForComeBack(t *testing.T) {
	dir := t.TempDir()
	outputs := []string{filepath.Join(dir, "folder"), filepath.Join(dir, "file")}
	for path, asked := range map[string]bool{
		dir + "/file":                  true,
		dir + "/folder/sub/file":       true,
		dir + "/other":                 false,
		dir + "/folder/../other":       false,
		dir + "/folder2":               false,
		"relative":                     false,
		dir + "/file/../../etc/passwd": false,
	} {
		err := keep(path, []byte("x"), outputs)
		if (err == nil) != asked {
			t.Errorf("%s: %v", path, err)
		}
		if _, statErr := os.Stat(path); asked != (statErr == nil) {
			t.Errorf("%s: %v", path, statErr)
		}
	}
}

// TestProgramsOfTheMakefileCanBeInstalled keeps a new machine from failing for a program that this one happens to have.
func TestProgramsOfTheMakefileCanBeInstalled(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	essential := []string{"dd", "timeout"} // of coreutils, which no Debian lacks
	found := 0
	for _, m := range regexp.MustCompile(`-with (\S+)`).FindAllStringSubmatch(string(makefile), -1) {
		found++
		if packages[m[1]] == "" && !slices.Contains(essential, m[1]) {
			t.Errorf("the package of %s is not known", m[1])
		}
	}
	if found == 0 {
		t.Error("the Makefile asks for no program")
	}
}

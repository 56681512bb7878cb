package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A tree is a machine's files, as rpm sees them: with a shell, and instead of the programs that the package's scripts call, such
// as note what they are called for.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) *tree {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil || os.Getuid() != 0 {
		t.Skip("this takes rpm, and root: ", err)
	}
	tr := &tree{t, t.TempDir()}
	// The shell, and the libraries that it is linked with: lines with a path, as "libc.so.6 => /lib/libc.so.6 (0x...)".
	libraries := run(t, ".", nil, "sh", "-c", `ldd "$(command -v sh)"`)
	for _, path := range append(regexp.MustCompile(`/\S+`).FindAllString(libraries, -1), "/bin/sh") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tr.write(path, string(content))
	}
	for _, name := range []string{"systemctl", "systemd-sysusers", "udevadm", "modprobe"} {
		tr.write("/usr/bin/"+name, "#!/bin/sh\necho "+name+" \"$@\" >>/calls\n")
	}
	tr.write("/run/systemd/system/.keep", "")
	return tr
}

func (tr *tree) write(path, text string) {
	tr.t.Helper()
	path = tr.root + path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		tr.t.Fatal(err)
	}
}

// rpm runs rpm, which must say nothing, and checks what its scripts have called.
func (tr *tree) rpm(calls string, args ...string) {
	tr.t.Helper()
	os.Remove(tr.root + "/calls")
	cmd := exec.Command("rpm", append([]string{"--root", tr.root, "--dbpath", "/var/lib/rpm", "--nodeps", "--nosignature"}, args...)...)
	said, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if !strings.HasPrefix(line, "rpm: RPM should not") && !strings.HasPrefix(line, "rpm: However") { // as Debian's says
			tr.t.Errorf("rpm %q says: %s", args, line)
		}
	}
	if err != nil {
		tr.t.Errorf("rpm %q: %v", args, err)
	}
	got, _ := os.ReadFile(tr.root + "/calls")
	if string(got) != calls {
		tr.t.Errorf("rpm %q calls\n%swant\n%s", args, got, calls)
	}
}

func (tr *tree) files() (files []string) {
	filepath.Walk(tr.root, func(path string, st os.FileInfo, err error) error {
		if err == nil && !strings.HasPrefix(path, tr.root+"/var/lib/rpm") && !strings.HasPrefix(path, tr.root+"/calls") {
			files = append(files, strings.TrimPrefix(path, tr.root))
		}
		return nil
	})
	return files
}

// TestRPMIsInstalledUpgradedAndRemoved runs the package's scripts. What systemd does then is tested with the .deb.
func TestRPMIsInstalledUpgradedAndRemoved(t *testing.T) {
	tr := newTree(t)
	t.Setenv("KBDD_VERSION", "1")
	first := build(t, "../..", "rpm")
	t.Setenv("KBDD_VERSION", "2")
	second := build(t, "../..", "rpm")
	before := tr.files()

	const begin = "systemd-sysusers kbdd.conf\nmodprobe -a cuse uinput\nudevadm control --reload\nsystemctl daemon-reload\n"
	const end = "systemctl daemon-reload\nudevadm control --reload\n"
	tr.rpm(begin+"systemctl enable --now kbdd.service\n", "-i", first)
	for _, name := range []string{"/usr/sbin/kbdd", "/usr/bin/kbdctl", "/usr/lib/systemd/system/kbdd.service", "/usr/lib/udev/rules.d/60-kbdd.rules"} {
		if !slices.Contains(tr.files(), name) {
			t.Errorf("%s is not installed", name)
		}
	}
	// The old one's scripts run after the new one's, and leave the service alone.
	tr.rpm(begin+"systemctl try-restart kbdd.service\n"+end, "-U", second)
	tr.rpm("systemctl disable --now kbdd.service\nudevadm settle --timeout=5\n"+end, "-e", "kbdd")
	var left []string
	for _, file := range tr.files() {
		st, err := os.Stat(tr.root + file)
		if !slices.Contains(before, file) && err == nil && !st.IsDir() {
			left = append(left, file)
		}
	}
	if len(left) > 0 {
		t.Errorf("removed, it leaves %q", left)
	}
	// A machine that is being made has no systemd yet.
	os.RemoveAll(tr.root + "/run/systemd")
	tr.rpm("systemd-sysusers kbdd.conf\n", "-i", second)
	tr.rpm("", "-e", "kbdd")
}

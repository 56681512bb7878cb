// Package packages checks the packages that make deb and make rpm make, on the host; see make test-debian.
package packages

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const script = "../../cmd/kbdd/package/build"

// build makes a package in a folder of its own, from the source in root.
func build(t *testing.T, root, kind string) (file string) {
	t.Helper()
	if os.Getenv("KBDD_PACKAGE_TESTS") == "" {
		t.Skip("this takes long: run make test-debian")
	}
	dir := t.TempDir()
	run(t, root, nil, "./cmd/kbdd/package/build", kind, dir)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("it leaves %q, %v", files, err)
	}
	return files[0]
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

func TestEqualSourceMakesEqualPackages(t *testing.T) {
	for _, kind := range []string{"deb", "rpm"} {
		var sums [2][32]byte
		for i := range sums {
			content, err := os.ReadFile(build(t, "../..", kind))
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = sha256.Sum256(content)
		}
		if sums[0] != sums[1] {
			t.Errorf("two times %s: %x and %x", kind, sums[0], sums[1])
		}
	}
}

func TestLintianFindsNoError(t *testing.T) {
	lintian, err := exec.LookPath("lintian")
	if err != nil {
		t.Skip("there is no lintian here")
	}
	deb := build(t, "../..", "deb")
	out, err := exec.Command(lintian, "--allow-root", deb).Output()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBothHaveTheSameFiles compares what the packages hold, in the places that each of them has for it.
func TestBothHaveTheSameFiles(t *testing.T) {
	for _, tool := range []string{"rpm", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	places := strings.NewReplacer("/zsh/vendor-completions/", "/zsh/site-functions/")
	var deb []string
	for line := range strings.Lines(run(t, ".", nil, "dpkg-deb", "-c", build(t, "../..", "deb"))) {
		fields := strings.Fields(line)
		name := places.Replace(strings.TrimPrefix(fields[5], "."))
		if strings.HasPrefix(name, "/lib/") {
			name = "/usr" + name
		}
		if !strings.HasPrefix(line, "d") && !strings.Contains(name, "lintian") {
			deb = append(deb, name)
		}
	}
	rpm := strings.Fields(run(t, ".", nil, "rpm", "-qlp", build(t, "../..", "rpm")))
	slices.Sort(deb)
	slices.Sort(rpm)
	if !slices.Equal(deb, rpm) || len(deb) < 15 {
		t.Errorf("the .deb has %q,\nthe .rpm %q", deb, rpm)
	}
}

func TestPackageIsMadeFromATreeWithoutGit(t *testing.T) {
	tree := t.TempDir()
	run(t, tree, nil, "sh", "-c", "cd "+repository(t)+" && git ls-files -z | xargs -0 cp --parents -t "+tree)
	if deb := build(t, tree, "deb"); !strings.Contains(deb, "kbdd_0~unknown_") {
		t.Errorf("it is %s", deb)
	}
}

func repository(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("../../.git"); err != nil {
		t.Skip("this is no checkout")
	}
	return run(t, "../..", nil, "pwd")
}

// TestVersionsSortAsTheyShould asks dpkg about the versions of a history: with no tag, with one, and on.
func TestVersionsSortAsTheyShould(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip(err)
	}
	tree := t.TempDir()
	where := filepath.Join(tree, "cmd/kbdd/package")
	if err := os.MkdirAll(where, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(where, "build"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	version := func() string { return run(t, tree, nil, filepath.Join(where, "build"), "version") }
	versions := []string{version()}
	date := "2026-01-01T00:00:00Z"
	env := []string{
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
		"GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date, "GIT_CONFIG_GLOBAL=/dev/null",
	}
	for _, step := range []string{
		"git init -q && git add go.mod && git commit -qm one", "git tag v1.2-rc1", "git tag -d v1.2-rc1 && git tag v1.2",
		"git commit -qm two --allow-empty", "git tag v1.10",
	} {
		run(t, tree, env, "sh", "-c", step)
		versions = append(versions, version())
	}
	t.Log(versions)
	want := map[int]string{0: "0~unknown", 2: "1.2~rc1", 3: "1.2", 5: "1.10"}
	for i, v := range versions {
		if want[i] != "" && v != want[i] {
			t.Errorf("version %d is %s, want %s", i, v, want[i])
		}
		if i > 1 {
			run(t, ".", nil, "dpkg", "--compare-versions", versions[i-1], "lt", v)
		}
	}
}

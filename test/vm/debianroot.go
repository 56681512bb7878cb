package vm

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"kbdd/test/vm/job"
)

// A whole Debian can be the machine's system: with systemd, udev, logind, and a getty on tty1. It is made by mmdebstrap, kept
// in the cache as a cpio archive, and stands in a folder of the initramfs, which vminit makes the root before it hands over
// to systemd. The program to run is a service then.

// debianRoot is the folder.
const debianRoot = "/debian"

const debianSuite = "bookworm"

// debianPackages are what the system has besides those that every Debian has.
var debianPackages = []string{"systemd-sysv", "udev", "kbd", "dbus", "libpam-systemd", "kmod", "login", "passwd", "acl"}

// debianOptions leave out what nobody reads there.
var debianOptions = []string{
	"--variant=minbase",
	"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
}

// debianServices are what is added to make it a test machine: the job's service, and rest from what is of no use.
var debianServices = map[string]string{
	"vm-job.service": `[Unit]
Description=the program that vmrun runs
After=getty@tty1.service systemd-logind.service
[Service]
ExecStart=` + job.Program + `
`,
	"serial-getty@.service": "", "apt-daily.timer": "", "apt-daily-upgrade.timer": "", "dpkg-db-backup.timer": "",
	"e2scrub_all.timer": "", "fstrim.timer": "", "systemd-update-utmp.service": "", "systemd-update-utmp-runlevel.service": "",
}

// debian gives the archive of the system, made if it is not in the cache.
func debian(c *cache) (archive string, err error) {
	recipe := strings.Join(append(append([]string{"1", debianSuite}, debianPackages...), debianOptions...), " ")
	name := fmt.Sprintf("debian-%s-%.4x", debianSuite, sha256.Sum256([]byte(recipe)))
	archive = c.path(name, "root.cpio")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	if !isDebian() {
		return "", fmt.Errorf("%w: a Debian can be made on a Debian only", ErrUnavailable)
	}
	if err := install(c, "mmdebstrap"); err != nil {
		return "", err
	}
	c.say("making a Debian %s (some 40 s, once)", debianSuite)
	return archive, c.make(name, makeDebian)
}

func makeDebian(dir string) error {
	args := append([]string{"--quiet", "--include=" + strings.Join(debianPackages, ",")}, debianOptions...)
	if os.Geteuid() == 0 {
		args = append(args, "--mode=root") // the first that it would try, unshare, fails in containers
	}
	cmd := exec.Command("mmdebstrap", append(args, debianSuite, "-")...)
	var said bytes.Buffer
	cmd.Stderr = &said
	files, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "root.cpio"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	archive := newCPIO(f)
	errCopy := archive.tar(files, debianRoot)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("mmdebstrap: %w: %s", err, tail(said.Bytes(), 5))
	}
	return errors.Join(errCopy, archive.close())
}

// tar adds what is in a tar archive, below root. Device nodes are left out: the kernel makes them.
func (c *cpioWriter) tar(r io.Reader, root string) error {
	files := tar.NewReader(r)
	for {
		h, err := files.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, r) // the padding, which the writer must be rid of
			return errors.Join(c.err, err)
		}
		if err != nil {
			return err
		}
		e := cpioEntry{
			name: path.Join(root, h.Name), mode: uint32(h.Mode & 0o7777),
			uid: h.Uid, gid: h.Gid, mtime: h.ModTime.Unix(),
		}
		switch h.Typeflag {
		case tar.TypeDir:
			c.dirs[clean(e.name)] = true
			e.mode |= cpioDir
			c.entry(e)
		case tar.TypeReg:
			e.mode, e.size = e.mode|cpioFile, h.Size
			c.entry(e)
			c.content(e.name, h.Size, files)
		case tar.TypeLink: // which a symbolic link serves for as well
			c.symlink(path.Join("/", h.Linkname), e.name)
		case tar.TypeSymlink:
			c.symlink(h.Linkname, e.name)
		}
	}
}

// addDebian puts the system into the image, and what makes it a test machine.
func (im image) addDebian(archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(im.w, f); err != nil { // the kernel takes several archives, one behind the other
		return err
	}
	im.text(debianRoot+"/etc/machine-id", "6b62646400000000000000000000cafe\n") // with none it would be a first boot, and slow
	im.text(debianRoot+"/etc/hostname", "vm\n")
	im.text(debianRoot+"/etc/tmpfiles.d/tmp.conf", "d /tmp 1777 root root -\n") // the host's files may be there
	units := debianRoot + "/etc/systemd/system/"
	for name, text := range debianServices {
		if text == "" {
			im.symlink("/dev/null", units+name)
			continue
		}
		im.text(units+name, text)
		im.symlink("../"+name, units+"multi-user.target.wants/"+name)
	}
	return im.err
}

func (im image) text(name, text string) {
	im.file(name, 0o644, int64(len(text)), strings.NewReader(text))
}

package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kbdd/test/vm/job"
)

// image is the machine's root file system as it is put together: what the kernel unpacks into memory at the start.
type image struct {
	*cpioWriter
}

// buildImage writes the root file system of one run to f. It completes the job with the modules.
func (m *Machine) buildImage(f *os.File, k *kernel, j job.Job) error {
	im := image{newCPIO(f)}
	root := ""
	if m.root != "" {
		root = debianRoot
		if err := im.addDebian(m.root); err != nil {
			return err
		}
		j.Root = debianRoot
	} else if err := im.busybox(); err != nil {
		return err
	}
	im.dir("tmp", 0o777)
	im.dir("root", 0o700)
	im.dir(root+j.Dir, 0o755)
	if err := im.add(m.Init, "/init"); err != nil {
		return err
	}
	for _, name := range k.Modules {
		place := "/lib/modules/" + name
		if err := im.add(filepath.Join(k.Dir, name), place); err != nil {
			return err
		}
		j.Modules = append(j.Modules, place)
	}
	for _, name := range m.Programs {
		path, err := lookPath(name)
		if err != nil {
			return err
		}
		if err := im.program(path, root+"/usr/bin/"+filepath.Base(name)); err != nil {
			return err
		}
	}
	for _, file := range m.Files {
		if err := im.program(file.Host, root+file.Guest); err != nil {
			return err
		}
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	im.file(job.Path, 0o644, int64(len(text)), bytes.NewReader(text))
	return im.close()
}

// add puts a file, or a folder with all that is in it, in its place.
func (im image) add(host, guest string) error {
	return filepath.WalkDir(host, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		place := guest + strings.TrimPrefix(path, host)
		stat, err := os.Stat(path) // what a link points to, not the link
		if err != nil {
			return err
		}
		if stat.IsDir() {
			im.dir(place, stat.Mode())
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		im.file(place, stat.Mode(), stat.Size(), f)
		return im.err
	})
}

// program puts a program in its place, and the shared libraries and modules that it needs in theirs.
func (im image) program(host, guest string) error {
	if err := im.add(host, guest); err != nil {
		return err
	}
	modules, err := pythonModules(host)
	if err != nil {
		return err
	}
	for _, module := range modules {
		if err := im.program(module, module); err != nil {
			return err
		}
	}
	files, err := libraries(host)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := im.add(file, file); err != nil {
			return err
		}
	}
	return nil
}

// busybox gives the machine a shell and the usual commands. Only a person at the machine cannot do without.
// It must not give it another init: the kernel would try that where ours fails, and wait for ever.
func (im image) busybox() error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil
	}
	if err := im.program(path, "/bin/busybox"); err != nil {
		return err
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", path, err)
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" && applet != "init" && applet != "linuxrc" {
			im.symlink("busybox", "/bin/"+applet)
		}
	}
	return nil
}

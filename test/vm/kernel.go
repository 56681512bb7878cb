package vm

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel is a kernel in the cache, unpacked, with the modules that the machine needs.
type kernel struct {
	Dir     string   `json:"-"`
	Boot    string   // the image that starts fastest
	Packed  string   // the bzImage, which has a text screen of its own and so something to look at
	Modules []string // files below Dir, in the order in which they load
}

// findKernel gives a kernel from, in this order, VM_KERNEL and VM_MODDIR, the cache, Debian's archive, and this host itself.
func findKernel(c *cache) (*kernel, error) {
	if image := os.Getenv("VM_KERNEL"); image != "" {
		return ownKernel(c, image, os.Getenv("VM_MODDIR"))
	}
	if k, err := cachedKernel(c, "debian-*"); err == nil {
		return k, nil
	}
	var tried []error
	if isDebian() {
		k, err := debianKernel(c)
		if err == nil {
			return k, nil
		}
		tried = append(tried, err)
	}
	k, err := hostKernel(c)
	if err == nil {
		return k, nil
	}
	tried = append(tried, err)
	return nil, fmt.Errorf("%w: no kernel to boot: %w; name one with VM_KERNEL=image VM_MODDIR=/lib/modules/VERSION",
		ErrUnavailable, errors.Join(tried...))
}

// ownKernel is the one that the user names. Its entry in the cache is for these very files.
func ownKernel(c *cache, image, modules string) (*kernel, error) {
	stat, err := os.Stat(image)
	if err != nil {
		return nil, fmt.Errorf("VM_KERNEL: %w", err)
	}
	if modules == "" {
		return nil, errors.New("VM_KERNEL is set without VM_MODDIR, the folder of the kernel's modules")
	}
	id := fmt.Sprint(image, stat.Size(), stat.ModTime(), modules)
	return makeKernel(c, fmt.Sprintf("own-%.6x", sha256.Sum256([]byte(id))), image, modules)
}

// hostKernel is the one that runs here, as far as its image may be read.
func hostKernel(c *cache) (*kernel, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	release := unix.ByteSliceToString(name.Release[:])
	modules := "/usr/lib/modules/" + release
	if _, err := os.Stat(modules); err != nil {
		modules = "/lib/modules/" + release
	}
	var tried []error
	for _, image := range []string{filepath.Join(modules, "vmlinuz"), "/boot/vmlinuz-" + release} {
		k, err := makeKernel(c, "host-"+release, image, modules)
		if err == nil {
			return k, nil
		}
		tried = append(tried, err)
	}
	return nil, errors.Join(tried...)
}

// kernelSuffix marks what an entry in the cache was made for, so that a change of the list makes new ones.
var kernelSuffix = fmt.Sprintf("-%.4x", sha256.Sum256([]byte("2 "+strings.Join(wanted, " "))))

// cachedKernel reads the newest entry that matches.
func cachedKernel(c *cache, pattern string) (*kernel, error) {
	manifests, err := filepath.Glob(c.path("kernels", pattern+kernelSuffix, "kernel.json"))
	if err != nil {
		return nil, err
	}
	if len(manifests) == 0 {
		return nil, fs.ErrNotExist
	}
	newest := slices.MaxFunc(manifests, func(a, b string) int { return modTime(a).Compare(modTime(b)) })
	text, err := os.ReadFile(newest)
	if err != nil {
		return nil, err
	}
	k := &kernel{Dir: filepath.Dir(newest)}
	return k, json.Unmarshal(text, k)
}

// makeKernel gives the cache's entry of that name, made from an image and a folder of modules if it is not there.
func makeKernel(c *cache, name, image, modules string) (*kernel, error) {
	if k, err := cachedKernel(c, name); err == nil {
		return k, nil
	}
	err := c.make(filepath.Join("kernels", name+kernelSuffix), func(dir string) error {
		return unpackKernel(dir, image, modules)
	})
	if err != nil {
		return nil, err
	}
	return cachedKernel(c, name)
}

func unpackKernel(dir, image, moduleDir string) error {
	packed, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	tree, err := readModuleTree(moduleDir)
	if err != nil {
		return err
	}
	modules, err := tree.load(wanted)
	if err != nil {
		return fmt.Errorf("%s: %w", moduleDir, err)
	}

	k := kernel{Boot: "vmlinuz", Packed: "vmlinuz"}
	files := map[string][]byte{"vmlinuz": packed}
	if unpacked, err := vmlinux(packed); err == nil {
		k.Boot = "vmlinux"
		files[k.Boot] = unpacked
	}
	for _, m := range modules {
		k.Modules = append(k.Modules, m.name+".ko")
		files[m.name+".ko"] = m.ko
	}
	if files["kernel.json"], err = json.Marshal(k); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

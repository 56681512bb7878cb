package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// wanted are the modules that the machine needs, what each depends on aside. Some are built into some kernels.
var wanted = []string{
	"virtio_pci", "virtio_console", // the ports to the host
	"i8042", "atkbd", "serio_raw", // the PS/2 keyboard
	"xhci_pci", "usbhid", "hid_generic", // USB keyboards
	"evdev", "uinput", // keyboards as programs see and make them
	"cuse",
}

// moduleTree is a kernel's folder of modules, as in /lib/modules/VERSION.
type moduleTree struct {
	files   map[string]string // the path of each module, by name
	builtin map[string]bool   // modules that are part of the kernel itself
}

// moduleName gives a module's name from its file's: underscores for dashes, as the kernel has it, without endings.
func moduleName(file string) (name string, ok bool) {
	name, compression, ok := strings.Cut(filepath.Base(file), ".ko")
	if !ok || compression != "" && !strings.HasPrefix(compression, ".") {
		return "", false
	}
	return strings.ReplaceAll(name, "-", "_"), true
}

func readModuleTree(dir string) (*moduleTree, error) {
	t := &moduleTree{files: map[string]string{}, builtin: map[string]bool{}}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Fields(string(builtin)) {
		if name, ok := moduleName(line); ok {
			t.builtin[name] = true
		}
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if name, ok := moduleName(path); ok {
				t.files[name] = path
			}
		}
		return err
	})
	return t, err
}

// module is one to load: its name, and its file's content without compression.
type module struct {
	name string
	ko   []byte
}

// load reads the modules named, each after those that it depends on. What is built into the kernel is left out.
func (t *moduleTree) load(names []string) ([]module, error) {
	content := map[string][]byte{}
	order, err := loadOrder(names, func(name string) ([]string, error) {
		if t.builtin[name] {
			return nil, nil
		}
		ko, err := t.read(name)
		if err != nil {
			return nil, err
		}
		content[name] = ko
		return dependencies(ko)
	})
	if err != nil {
		return nil, err
	}
	var modules []module
	for _, name := range order {
		if ko := content[name]; ko != nil {
			modules = append(modules, module{name, ko})
		}
	}
	return modules, nil
}

func (t *moduleTree) read(name string) ([]byte, error) {
	file, ok := t.files[name]
	if !ok {
		return nil, fmt.Errorf("the kernel has no module %s", name)
	}
	packed, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	ko, err := decompress(packed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return unsigned(ko), nil
}

// unsigned takes a module's signature away, whose check costs an emulated CPU more than all else about loading it. The kernel
// loads such modules too, and notes that it did.
func unsigned(ko []byte) []byte {
	const magic, trailer = "~Module signature appended~\n", 12 // struct module_signature, with the length at its end
	body, signed := bytes.CutSuffix(ko, []byte(magic))
	if !signed || len(body) < trailer {
		return ko
	}
	length := int(binary.BigEndian.Uint32(body[len(body)-4:]))
	if length > len(body)-trailer {
		return ko
	}
	return body[:len(body)-trailer-length]
}

// loadOrder gives names and all that they depend on, each once and after what it depends on.
func loadOrder(names []string, deps func(name string) ([]string, error)) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		needs, err := deps(name)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return fmt.Errorf("%w (%s needs it)", err, name)
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// dependencies reads the "depends=" line of a module's .modinfo section.
func dependencies(ko []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var names []string
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			for name := range strings.SplitSeq(list, ",") {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names, nil
}

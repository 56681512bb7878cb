package vm

import (
	"debug/elf"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// libraries gives the shared libraries that a program needs, the loader included; none for a static one or a script.
func libraries(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	dynamic := false
	for _, p := range f.Progs {
		dynamic = dynamic || p.Type == elf.PT_INTERP
	}
	if !dynamic {
		return nil, nil
	}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	return parseLdd(program, string(out))
}

// parseLdd reads what ldd prints: "libc.so.6 => /lib/libc.so.6 (0x...)", "/lib64/ld-linux-x86-64.so.2 (0x...)" for the loader,
// and "linux-vdso.so.1 (0x...)" for what the kernel brings.
func parseLdd(program, out string) ([]string, error) {
	var files []string
	for line := range strings.Lines(out) {
		name, place, found := strings.Cut(strings.TrimSpace(line), " => ")
		if !found {
			place = name
		}
		if strings.HasPrefix(place, "not found") {
			return nil, fmt.Errorf("%s needs %s, which is not found", program, name)
		}
		file, _, _ := strings.Cut(place, " (")
		if strings.HasPrefix(file, "/") {
			files = append(files, file)
		}
	}
	return files, nil
}

// pythonModules gives the files of what a Python imports at its start and for the tests' programs, and none for any other program.
// All of its library would be 50 MB.
func pythonModules(program string) ([]string, error) {
	if filepath.Base(program) != "python3" {
		return nil, nil
	}
	const list = "import os, selectors, sys; print(*filter(None, (getattr(m, '__file__', 0) for m in sys.modules.values())), sep='\\n')"
	out, err := exec.Command(program, "-I", "-S", "-c", list).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -c %q: %w", program, list, err)
	}
	return strings.Fields(string(out)), nil
}

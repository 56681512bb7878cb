package control

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// programOf is the process of a thread, and the name of its program: empty if it is gone (proc_pid_status(5)).
func programOf(thread uint32) (pid uint32, command string) {
	pid = thread
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return pid, ""
	}
	for line := range strings.Lines(string(text)) {
		if tgid, ok := strings.CutPrefix(line, "Tgid:"); ok {
			if n, err := strconv.ParseUint(strings.TrimSpace(tgid), 10, 32); err == nil {
				pid = uint32(n)
			}
			break
		}
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return pid, ""
	}
	return pid, strings.TrimSuffix(string(comm), "\n")
}

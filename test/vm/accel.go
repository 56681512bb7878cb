package vm

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/vm/job"
)

// chooseAccelerator gives "kvm" or "tcg": what VM_ACCEL says, else KVM where a machine was seen to boot with it. There are hosts
// where /dev/kvm opens and the machine then hangs in its first instructions, so the only test is to try, once, with a
// limit.
func chooseAccelerator(ctx context.Context, c *cache, k *kernel, m *Machine) string {
	if accel := os.Getenv("VM_ACCEL"); accel != "" {
		return accel
	}
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil || m.Icount {
		return "tcg"
	}
	var host unix.Utsname
	if unix.Uname(&host) != nil {
		return "tcg"
	}
	verdict := c.path("accel-" + unix.ByteSliceToString(host.Release[:]))
	if accel, err := os.ReadFile(verdict); err == nil {
		return string(accel)
	}
	unlock, err := c.lock()
	if err != nil {
		return "tcg"
	}
	defer unlock()
	if accel, err := os.ReadFile(verdict); err == nil {
		return string(accel) // of another process, while this one waited
	}
	c.say("trying KVM (once, 10 s at most)")
	accel := "kvm"
	trial := &Machine{Init: m.Init, Timeout: 10 * time.Second, Stdout: io.Discard, Stderr: io.Discard}
	if _, err := trial.boot(ctx, k, accel, job.Job{Args: []string{"/init"}, Dir: "/"}); err != nil {
		accel = "tcg"
	}
	if ctx.Err() == nil {
		_ = os.WriteFile(verdict, []byte(accel), 0o644) // else it is tried again
	}
	return accel
}

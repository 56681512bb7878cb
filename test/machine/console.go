package machine

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Console is a virtual terminal that no one reads but the test: what is typed there is echoed on its screen, and that is all.
type Console struct {
	t  testing.TB
	n  int
	fd int
}

// OpenConsole opens /dev/ttyN until the test ends, with an empty screen. Lines typed there are read and dropped: have no other
// program read them meanwhile, and use Screen where one does.
func OpenConsole(t testing.TB, n int) *Console {
	t.Helper()
	fd, err := unix.Open(fmt.Sprint("/dev/tty", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open tty%d: %v", n, err)
	}
	c := &Console{t, n, fd}
	t.Cleanup(func() {
		c.Clear()
		unix.Close(fd)
	})
	c.Clear()
	return c
}

// Text is what stands on the screen, without blanks at the ends of lines and empty lines at the end. All keys are in it that
// reached the terminal before the call.
func (c *Console) Text() string {
	c.t.Helper()
	c.settle()
	text, err := Screen(c.n)
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// Wait waits until the screen shows a text, among others.
func (c *Console) Wait(text string) {
	c.t.Helper()
	if !poll(func() bool { return strings.Contains(c.Text(), text) }) {
		c.t.Fatalf("tty%d does not show %q but %q", c.n, text, c.Text())
	}
}

// Clear empties the screen, and forgets a line that was typed in part.
func (c *Console) Clear() {
	c.t.Helper()
	c.settle()
	if err := unix.IoctlSetInt(c.fd, unix.TCFLSH, unix.TCIFLUSH); err != nil {
		c.t.Fatalf("flush tty%d: %v", c.n, err)
	}
	const home, clear, plain = "\x1b[H", "\x1b[2J", "\x1b[0m"
	if _, err := unix.Write(c.fd, []byte(plain+home+clear)); err != nil {
		c.t.Fatalf("clear tty%d: %v", c.n, err)
	}
}

// Activate switches to the terminal and waits until it has the screen and the keyboards.
func (c *Console) Activate() {
	c.t.Helper()
	SwitchVT(c.t, c.n)
}

// settle waits until the line discipline has all that the keyboard's part of the kernel gave the terminal, and has echoed
// it. poll(2) does that work itself if there is nothing to read yet (drivers/tty/n_tty.c, n_tty_poll); so lines that are
// complete are read first.
func (c *Console) settle() {
	c.t.Helper()
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	line := make([]byte, 4096)
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			c.t.Fatalf("poll tty%d: %v", c.n, err)
		}
		if n == 0 {
			return
		}
		if _, err := unix.Read(c.fd, line); err != nil && err != unix.EAGAIN && err != unix.EINTR {
			c.t.Fatalf("read tty%d: %v", c.n, err)
		}
	}
}

// Screen is what stands on the screen of terminal n at this moment, as Console.Text has it, but without any waiting.
func Screen(n int) (string, error) {
	// The first four bytes are lines, columns, and the cursor's place; each character has an attribute behind it.
	screen, err := os.ReadFile(fmt.Sprint("/dev/vcsa", n))
	if err != nil {
		return "", err
	}
	if len(screen) < 4 {
		return "", fmt.Errorf("/dev/vcsa%d gives %d bytes", n, len(screen))
	}
	columns := int(screen[1])
	cells := screen[4:]
	var lines []string
	for len(cells) >= 2*columns {
		line := make([]byte, columns)
		for i := range line {
			line[i] = cells[2*i]
		}
		lines = append(lines, strings.TrimRight(string(line), " "))
		cells = cells[2*columns:]
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n"), nil
}

// ActiveVT is the number of the terminal that has the screen.
func ActiveVT() (int, error) {
	const file = "/sys/class/tty/tty0/active"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscanf(string(text), "tty%d", &n); err != nil {
		return 0, fmt.Errorf("%s: %q: %w", file, text, err)
	}
	return n, nil
}

// SwitchVT switches to terminal n, as chvt does, and waits until that is done.
func SwitchVT(t testing.TB, n int) {
	t.Helper()
	const activate = 0x5606 // VT_ACTIVATE
	fd, err := unix.Open("/dev/tty0", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open tty0: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetInt(fd, activate, n); err != nil {
		t.Fatalf("switch to tty%d: %v", n, err)
	}
	WaitVT(t, n)
}

// WaitVT waits until terminal n has the screen.
func WaitVT(t testing.TB, n int) {
	t.Helper()
	WaitUntil(t, fmt.Sprintf("tty%d has the screen", n), func() bool {
		active, err := ActiveVT()
		return err == nil && active == n
	})
}

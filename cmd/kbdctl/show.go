package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kbdd/scancode"
)

func showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [DEVICE]",
		Short: "Draw the keyboard, with the keys lit that are pressed: a keyboard tester",
		Long: `Draw the keyboard in the terminal, with the keys lit that are pressed, the LEDs, and how fast it goes.
DEVICE is /dev/kbd0 unless given. The lock keys switch their LEDs. While show runs the console does not hear the
keyboard. To end it type Ctrl-C on that very keyboard, or send it a signal.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if !isTerminal(out) {
				return usageError("show draws on a terminal; monitor is for pipes and files")
			}
			d, err := openDevice(deviceOf(args), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer d.close()
			return show(cmd.Context(), d, out.(*os.File))
		},
	}
}

// show draws on the terminal until ctx ends or Ctrl-C is typed on the device. The terminal's own settings are not touched:
// whatever becomes of us, there is nothing to be put right but the cursor.
func show(ctx context.Context, d *device, terminal *os.File) error {
	// To be stopped would leave the keyboard muted, with no way to say fg.
	signal.Ignore(syscall.SIGTSTP)
	s := &screen{terminal: terminal, device: d, tester: newTester(d.file.Name())}
	s.tester.ascii = !hasUTF8()
	s.tester.leds = s.askLEDs()
	fmt.Fprint(terminal, "\x1b[?1049h\x1b[?25l") // a screen of our own, and no cursor
	defer fmt.Fprint(terminal, "\x1b[H\x1b[J\x1b[?25h\x1b[?1049l")

	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-resized:
				s.draw()
			case <-ended:
				return
			}
		}
	}()

	s.draw()
	for stroke, err := range d.strokes(ctx) {
		if err != nil {
			return err
		}
		if err := s.take(stroke); err != nil {
			return err
		}
	}
	return nil
}

// A screen shows a tester on a terminal, and asks the keyboard what it does not say by itself.
type screen struct {
	terminal *os.File
	device   *device

	mu      sync.Mutex
	tester  *tester   // guarded by mu
	askedAt time.Time // when the echo was asked for that is still to come; guarded by mu
}

func (s *screen) draw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drawLocked()
}

func (s *screen) drawLocked() error {
	columns, rows, _ := sizeOf(s.terminal)
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range s.tester.frame(columns, rows) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, err := s.terminal.WriteString(b.String())
	return err
}

// take takes a stroke, draws, and asks for an echo: in this order, so that the drawing is not in the time that it takes.
func (s *screen) take(k stroke) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Kind == scancode.Answer {
		if k.Byte == echo && !s.askedAt.IsZero() {
			s.tester.echo(k.at.Sub(s.askedAt))
			s.askedAt = time.Time{}
			return s.drawLocked()
		}
		return nil
	}
	s.tester.take(k)
	if led, is := lockLEDs[k.Key]; is && k.Kind == scancode.Press && s.tester.leds >= 0 {
		s.tester.leds ^= led
		if err := s.command(setLEDs, byte(s.tester.leds)); err != nil {
			return err
		}
	}
	if err := s.drawLocked(); err != nil {
		return err
	}
	if k.Kind == scancode.Press && s.askedAt.IsZero() {
		s.askedAt = time.Now()
		return s.command(echo)
	}
	return nil
}

// lockLEDs are the LEDs of the keys that have one, in the bits of the command.
var lockLEDs = map[scancode.Key]int{scancode.KeyScrollLock: 1, scancode.KeyNumLock: 2, scancode.KeyCapsLock: 4}

// command gives the keyboard a host command. That it is gone the next read tells better.
func (s *screen) command(b ...byte) error {
	if _, err := s.device.file.Write(b); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// askLEDs are the LEDs that are lit (ioctl_console(2), KDGETLED, a char), or -1 where the device does not tell.
func (s *screen) askLEDs() int {
	const kdGetLED = 0x4b31
	leds := -1
	raw, err := s.device.file.SyscallConn()
	if err != nil {
		return leds
	}
	_ = raw.Control(func(fd uintptr) {
		if v, err := unix.IoctlGetInt(int(fd), kdGetLED); err == nil {
			leds = int(binary.NativeEndian.AppendUint64(nil, uint64(v))[0])
		}
	})
	return leds
}

// hasUTF8 tells if the terminal is said to take UTF-8 (locale(7)).
func hasUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

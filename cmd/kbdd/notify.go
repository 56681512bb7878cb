package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// notify is sd_notify(3), with descriptors. Package daemon of go-systemd sends none; and it has the runtime's poller in it, which
// is much to wake for the word that all is well, each second that a device is open.
func notify(socket, state string, fds ...int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(fd, []byte(state), rights, &unix.SockaddrUnix{Name: socket}, 0))
}

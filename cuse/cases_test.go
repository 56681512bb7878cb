package cuse_test

// cases are what any client may expect of a device that this package serves, as scripts. Each goes the same way on
// cusetest and on Linux.
var cases = []struct{ name, script string }{
	{"a read returns what is there", `
		open r => 0x8000
		put hello
		read 3 => "hel"
		read 100 => "lo"
	`},
	{"a read waits for data", `
		open r => 0x8000
		a: read 10
		put abc
		a => "abc"
	`},
	{"reads of all sizes, from 1 byte to 1 MiB", `
		open r => 0x8000
		put #1
		read 1 => #1
		put #1000
		read 1 => #1
		read 998 => #998
		read 4096 => #1
		put #4096
		read 4096 => #4096
		put #1048576
		read 1048576 => #1048576
		put #1048576
		read 131072 => #131072
		read 131073 => #131073
		read 1048576 => #786431
	`},
	{"a read ends where the data ends, at the end of a piece too", `
		open r => 0x8000
		put #131072
		read 1048576 => #131072
		put #262145
		read 1048576 => #262145
		a: read 1048576
		put #200000
		a => #200000
	`},
	{"threads that wait are served in their order", `
		open r => 0x8000
		a: read 2
		b: read 2
		c: read 2
		put abc
		a => "ab"
		b => "c"
		d: read 2
		put de
		c => "de"
		put f
		d => "f"
	`},
	{"O_NONBLOCK is the flag of each read", `
		open r nonblock => 0x8800
		read 1 => EAGAIN
		put a
		read 1 => "a"
		nonblock off
		a: read 1
		nonblock on
		read 1 => EAGAIN
		put b
		a => "b"
		fionbio 0
		a: read 1
		fionbio 1
		read 1 => EAGAIN
		put c
		a => "c"
	`},
	{"a signal ends a read, and nothing is lost", `
		open r => 0x8000
		a: read 10
		signal a
		a => EINTR
		put abc
		read 10 => "abc"
	`},
	{"a signal ends the read of its thread alone", `
		open r => 0x8000
		a: read 10
		b: read 10
		c: read 10
		signal b
		b => EINTR
		put x
		a => "x"
		put y
		c => "y"
	`},
	{"the end of the file is told each time", `
		open r => 0x8000
		a: read 10
		end EOF
		a => ""
		read 10 => ""
		put late
		read 10 => "late"
		read 10 => ""
	`},
	{"an error is told to all who wait, behind the data", `
		open r => 0x8000
		a: read 1
		b: read 1
		end ENODEV
		a => ENODEV
		b => ENODEV
		put z
		read 10 => "z"
		read 10 => ENODEV
		poll in => err hup
	`},
	{"a write is taken whole, in part, or not at all", `
		open rw => 0x8002
		write abc => 3
		write bad => EINVAL
		write half-half => 4
		told => write "abc", write "half"
	`},
	{"a write of 1 MiB comes in pieces", `
		open w => 0x8001
		write #131072 => 131072
		told => write #131072
		write #131073 => 131073
		told => write #131072, write "\xf3"
		write #1048576 => 1048576
	`},
	{"writes and ioctls go on while a read waits", `
		open rw => 0x8002
		a: read 10
		write abc => 3
		ioctl value 7 => 7
		look in out => out
		put x
		a => "x"
	`},
	{"poll waits for what it asks for", `
		open rw => 0x8002
		look in =>
		look in out => out
		poll in out => out
		a: poll in
		put x
		a => in
		poll in => in
		look in out rdnorm => in out rdnorm
		read 10 => "x"
		look in =>
		a: poll rdnorm
		put y
		a => rdnorm
	`},
	{"all who poll one file are woken, whatever each asks for", `
		open rw => 0x8002
		a: poll in
		b: poll in pri
		c: poll pri
		look out => out
		put x
		a => in
		b => in
		end ENODEV
		c => err hup
	`},
	{"poll and read wait side by side", `
		open r => 0x8000
		a: read 1
		b: poll in
		put xy
		a => "x"
		b => in
	`},
	{"a signal ends poll", `
		open r => 0x8000
		a: poll in
		signal a
		a => EINTR
		put x
		poll in => in
	`},
	{"poll hears of the end", `
		open r => 0x8000
		a: poll in
		end EOF
		a => in
		end ENODEV
		poll in => err hup
		look  => err hup
	`},
	{"a file without Poll is always ready, and one beside it is not", `
		opens plain
		open rw => 0x8002
		poll in out pri => in out
		look rdnorm => rdnorm
		close =>
		opens
		open r => 0x8000
		look in out => out
		a: poll in
		put x
		a => in
	`},
	{"an ioctl gets its argument by value", `
		open r => 0x8000
		ioctl value 7 => 7
		ioctl value 0x7fffffff => 2147483647
		told => ioctl value, ioctl value
	`},
	{"an ioctl reads, writes, or does both", `
		open r => 0x8000
		ioctl get ____ => 4 "pong"
		ioctl set ping => 0 "ping"
		ioctl turn abcdefgh => 0 "hgfedcba"
		ioctl widen ab____ => 6 "ababab"
		ioctl page #4096 => 4096 #4096
		told => ioctl get, ioctl set "ping", ioctl turn "abcdefgh", ioctl widen "ab", ioctl page
	`},
	{"an ioctl that fails writes nothing", `
		open r => 0x8000
		ioctl refuse kept => EBUSY "kept"
		told => ioctl refuse "kept"
	`},
	{"an ioctl that is not known is ENOTTY", `
		open r => 0x8000
		ioctl nosuch 0 => ENOTTY
		ioctl nosuch text => ENOTTY "text"
		told =>
	`},
	{"to a file without ioctls all are ENOTTY", `
		opens plain
		open r => 0x8000
		ioctl value 7 => ENOTTY
		told =>
	`},
	{"an ioctl that asks for too much is EINVAL", `
		open r => 0x8000
		ioctl beyond 0 => EINVAL
		told =>
	`},
	{"an argument that is no address is EFAULT, before the ioctl where it reads and after it where it writes", `
		open r => 0x8000
		ioctl set 1 => EFAULT
		ioctl turn 1 => EFAULT
		told =>
		ioctl get 1 => EFAULT
		told => ioctl get
	`},
	{"a signal ends an ioctl", `
		open r => 0x8000
		a: ioctl wait 0
		b: ioctl wait 0
		ioctl value 1 => 1
		signal a
		a => EINTR
		signal b
		b => EINTR
	`},
	{"open tells its flags, but for those that are about opening", `
		open rw excl noctty trunc cloexec append nonblock => 0x8c02
	`},
	{"open is refused with the file's errno", `
		opens EBUSY
		open r => EBUSY
		opens EMFILE
		open r => EMFILE
	`},
	{"open that is refused with ENOSYS is no open of all files", `
		opens ENOSYS
		open r => EIO
		opens
		open r => 0x8000
		put x
		read 1 => "x"
		close =>
		opens EBUSY
		open r => EBUSY
	`},
	{"open may wait, and a signal ends it", `
		opens wait
		a: open r
		b: open r
		signal b
		b => EINTR
		signal a
		a => EINTR
	`},
	{"close returns when the file is closed", `
		open r => 0x8000
		put unread
		close =>
		open r => 0x8000
		a: read 10
		put new
		a => "new"
	`},
}

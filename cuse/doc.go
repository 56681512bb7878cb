// Package cuse serves a character device from user space: one [Device] is one node in /dev, and each open(2) of it
// is a [File] of yours. It knows nothing of what the device is.
//
//	open(2) ──────► OpenFunc ──► File     its own goroutine, may wait
//	read(2) ──────► File.Read             never waits: ErrWouldBlock parks the read
//	                  ▲
//	  Handle.Wake ────┘                   answers parked reads, wakes poll(2)
//	write(2) ─────► File.Write            never waits
//	ioctl(2) ─────► Ioctler.Ioctl         its own goroutine, may wait
//	poll(2) ──────► Poller.Poll           never waits
//	last close(2) ► File.Close            its own goroutine, may wait; close(2) returns after it
//
// A File is written like a driver in the kernel: it says what it has now, and calls [Handle.Wake] when that changes.
// That one call serves reads that block, reads that do not, and poll(2). All waiting is done here.
//
// # Waiting
//
// CUSE makes no client wait: a read(2) lasts until the server answers it. So a read on a file whose Read answers
// [ErrWouldBlock] is parked, without a goroutine of its own. Wake asks Read again, for one parked read after the other in
// the order in which they came, and sends the answer from the caller's own thread: the thread that has the data is the one
// that wakes the reader.
//
// Where O_NONBLOCK is set the client gets EAGAIN at once. The flag comes with each read as it stands then, so fcntl(2)
// and FIONBIO work on an open file; reads that are parked already stay so.
//
// The kernel cuts a large read into several, of 128 KiB at most here. Only the first is ever parked, so that the client gets
// what there is. What Read gave and the kernel did not take goes to the next read.
//
// Of one file, 256 reads and 64 ioctls wait at most. The next is ENOBUFS: with EAGAIN, a client that blocks would try again at
// once, and for ever.
//
// A write(2) is never parked. If Write takes a part, that is what the client is told; ErrWouldBlock is EAGAIN for it,
// with O_NONBLOCK or without.
//
// # Polling
//
// Each poll(2), select(2) and epoll_wait(2) asks Poll what holds. If a client is going to sleep, the kernel wants to hear
// of a change, once for all who poll that file. Wake asks Poll again and, if any of what they wait for holds, has the
// kernel wake them; each then asks anew. So a Wake with nothing to tell costs no one's sleep, and epoll works by level,
// by edge (each Wake with data is an edge) and one-shot. POLLERR and POLLHUP are waited for always.
//
// A File that is no [Poller] is always ready to read and to write.
//
// # Interrupting
//
// A signal to a client that waits in read(2) takes its read out of the queue and gives it EINTR. No data is lost, since
// none was taken. Any signal does that which is not blocked or ignored, and also being stopped and continued, traced, or
// frozen with the machine. SA_RESTART does not hide it: the kernel's restart codes are not for servers (fs/fuse/dev.c,
// fuse_dev_do_write), so clients of any CUSE device must be ready for EINTR.
//
// In OpenFunc and Ioctl the context is cancelled, and they should return its error soon: the client waits until they do,
// and cannot even be killed (fs/fuse/dev.c, request_wait_answer). Neither can it while Close runs, which is not
// interrupted. A signal to a client in poll(2) stays between it and the kernel.
//
// A machine cannot be suspended while clients wait; see [Device.Waiters].
//
// # Changing servers
//
// A client of a server that ends gets ECONNABORTED, and has to open the device again. It need not be so: [Device.Keep] has a
// device noted in memory that outlives the server, and [Resume] goes on with it in the next, after a restart, a crash or a
// kill -9 alike. What was waiting waits on. New requests wait in the kernel meanwhile. A File whose state can be kept is an
// [encoding.BinaryAppender].
//
// # Errors
//
// A [syscall.Errno] anywhere in the chain of an error is what the client gets, [context.Canceled] is EINTR, and
// io.EOF from Read is the end of the file. Anything else is EIO. So is ENOSYS from OpenFunc: to the kernel it would mean
// that this device has no use for OPEN and RELEASE, for as long as it stands (fs/fuse/file.c, fuse_file_open).
package cuse

// The floor: the least that a CUSE server in C can be that does what kbdd does for one reader. One thread reads the
// keyboard and answers the read(2) that waits, the other serves the device. It knows the keys that have one byte in
// scancode set 1, whose codes are the kernel's own, and one open file.

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int cuse;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
// Guarded by mutex:
static uint8_t queue[1024];
static size_t queued;
static uint64_t reader, poller; // the read(2) that waits, and who is to be told that there is something to read
static uint32_t readerSize;
static bool reads, armed;

static void reply(uint64_t unique, int error, const void *body, size_t size) {
	struct fuse_out_header header = {.len = sizeof header + size, .error = error, .unique = unique};
	struct iovec iov[] = {{&header, sizeof header}, {(void *)body, size}};
	check("write /dev/cuse", writev(cuse, iov, size > 0 ? 2 : 1));
}

// answerLocked gives the reader what is queued.
static void answerLocked(void) {
	size_t n = queued < readerSize ? queued : readerSize;
	reads = false;
	reply(reader, 0, queue, n);
	memmove(queue, queue + n, queued -= n);
}

// keyboard is the thread that reads the keyboard.
static void *keyboard(void *node) {
	int fd = grab(node);
	for (;;) {
		struct input_event events[64];
		size_t n = readEvents(fd, events, sizeof events);
		pthread_mutex_lock(&mutex);
		for (size_t i = 0; i < n; i++)
			if (events[i].type == EV_KEY && events[i].value < 2 && events[i].code <= KEY_F10 && queued < sizeof queue)
				queue[queued++] = events[i].code | (events[i].value ? 0 : 0x80);
		if (queued > 0 && reads)
			answerLocked();
		if (queued > 0 && armed) {
			armed = false;
			struct fuse_notify_poll_wakeup_out out = {.kh = poller};
			reply(0, FUSE_NOTIFY_POLL, &out, sizeof out);
		}
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void readRequest(uint64_t unique, const struct fuse_read_in *in) {
	reader = unique;
	readerSize = in->size;
	if (queued > 0)
		answerLocked();
	else if (in->flags & O_NONBLOCK)
		reply(unique, -EAGAIN, NULL, 0);
	else
		reads = true;
}

static void pollRequest(uint64_t unique, const struct fuse_poll_in *in) {
	if (in->flags & FUSE_POLL_SCHEDULE_NOTIFY) {
		armed = true;
		poller = in->kh;
	}
	struct fuse_poll_out out = {.revents = POLLOUT | POLLWRNORM | (queued > 0 ? POLLIN | POLLRDNORM : 0)};
	reply(unique, 0, &out, sizeof out);
}

static void serve(const struct fuse_in_header *in) {
	const void *body = in + 1;
	pthread_mutex_lock(&mutex);
	switch (in->opcode) {
	case FUSE_OPEN:
		reply(in->unique, 0, &(struct fuse_open_out){.fh = 1}, sizeof(struct fuse_open_out));
		break;
	case FUSE_READ:
		readRequest(in->unique, body);
		break;
	case FUSE_POLL:
		pollRequest(in->unique, body);
		break;
	case FUSE_RELEASE:
		reply(in->unique, 0, NULL, 0);
		break;
	case FUSE_INTERRUPT:
		if (reads && reader == ((const struct fuse_interrupt_in *)body)->unique) {
			reads = false;
			reply(reader, -EINTR, NULL, 0);
		}
		break;
	default:
		reply(in->unique, -ENOSYS, NULL, 0);
	}
	pthread_mutex_unlock(&mutex);
}

// greet makes the device.
static void greet(const struct fuse_in_header *in, const char *name) {
	struct {
		struct cuse_init_out out;
		char info[64];
	} hello = {.out = {
		.major = FUSE_KERNEL_VERSION, .minor = 31, .flags = CUSE_UNRESTRICTED_IOCTL, .max_read = 4096, .max_write = 4096,
	}};
	int n = snprintf(hello.info, sizeof hello.info, "DEVNAME=%s", name);
	reply(in->unique, 0, &hello, sizeof hello.out + n + 1);
}

// server NODE NAME makes /dev/NAME of the keyboard, says so on its standard output, and serves it until it is killed.
int server_main(int argc, char **argv) {
	if (argc != 3)
		return 2;
	union {
		struct fuse_in_header header;
		char buf[1 << 14];
	} in;
	cuse = check("/dev/cuse", open("/dev/cuse", O_RDWR | O_CLOEXEC));
	check("read /dev/cuse", read(cuse, &in, sizeof in));
	greet(&in.header, argv[2]);
	pthread_t thread;
	check("pthread_create", -pthread_create(&thread, NULL, keyboard, argv[1]));
	printf("/dev/%s\n", argv[2]);
	fflush(stdout);
	for (;;) {
		long n = read(cuse, &in, sizeof in);
		if (n < 0 && (errno == EINTR || errno == ENOENT)) // the client took the request back
			continue;
		check("read /dev/cuse", n);
		serve(&in.header);
	}
}

// How long a key takes from the write on uinput to the return of the reader's read(2).
//
// The typist and the reader are two processes, which stand for the hardware and for a game. Before each key the typist
// waits until the reader has said that it has the last one, and then lets time pass, so that all is asleep as it is
// between the keys of a person. The typist has the policy SCHED_IDLE: what its key wakes runs at once also where
// there is one CPU, as if an interrupt had brought the key.

#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <linux/kd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct shared {
	uint32_t wanted; // how many events the reader waits for, in all
	uint64_t typed;  // when the last one was typed
};

static void typist(struct shared *shared, uint32_t count, uint64_t pause) {
	check("prctl", prctl(PR_SET_PDEATHSIG, SIGKILL));
	check("SCHED_IDLE", sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}));
	struct timespec ts = {pause / 1000000000, pause % 1000000000};
	for (uint32_t i = 0; i < count; i++) {
		waitWhile(&shared->wanted, i);
		check("nanosleep", nanosleep(&ts, NULL));
		shared->typed = now();
		type(firstKeyboard, KEY_A, !(i & 1));
	}
	exit(0);
}

// How the reader waits, other than in read(2).
static int epoll = -1;
static bool polls;

static void await(int fd) {
	if (polls) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		check("poll", poll(&p, 1, -1));
	} else if (epoll >= 0) {
		struct epoll_event event;
		check("epoll_wait", epoll_wait(epoll, &event, 1, -1));
	}
}

// mediumRaw makes a virtual terminal one that gives key codes as they are.
static void mediumRaw(int fd) {
	struct termios t;
	check("tcgetattr", tcgetattr(fd, &t));
	cfmakeraw(&t);
	check("tcsetattr", tcsetattr(fd, TCSANOW, &t));
	check("KDSKBMODE", ioctl(fd, KDSKBMODE, K_MEDIUMRAW));
}

// latency HOW DEVICE EVENTS PAUSE prints the nanoseconds of each event.
int latency_main(int argc, char **argv) {
	if (argc != 5)
		return 2;
	const char *how = argv[1];
	uint32_t count = atoi(argv[3]);
	uint64_t pause = strtoull(argv[4], NULL, 10);
	struct shared *shared = share(sizeof *shared);
	uint64_t *took = share(count * sizeof *took);

	int fd = check(argv[2], open(argv[2], O_RDWR | O_NOCTTY | O_CLOEXEC));
	int mode = -1;
	if (!strcmp(how, "vt")) {
		check("KDGKBMODE", ioctl(fd, KDGKBMODE, &mode));
		mediumRaw(fd);
	} else if (!strcmp(how, "evdev")) {
		check("EVIOCGRAB", ioctl(fd, EVIOCGRAB, 1)); // the console would take its time for each key
	} else if (!strcmp(how, "poll")) {
		polls = true;
	} else if (!strcmp(how, "epoll")) {
		epoll = check("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
		check("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}));
	}

	if (check("fork", fork()) == 0)
		typist(shared, count, pause);
	// In one page: a server of FUSE has those pinned that it fills, and the stack begins where chance has it.
	static _Alignas(4096) char buf[64 * sizeof(struct input_event)];
	for (uint32_t i = 0; i < count; i++) {
		__atomic_store_n(&shared->wanted, i + 1, __ATOMIC_RELEASE);
		wakeAll(&shared->wanted);
		await(fd);
		check("read", read(fd, buf, sizeof buf));
		took[i] = now() - shared->typed;
	}
	wait(NULL);
	if (mode >= 0)
		check("KDSKBMODE", ioctl(fd, KDSKBMODE, mode));
	for (uint32_t i = 0; i < count; i++)
		printf("%llu\n", (unsigned long long)took[i]);
	return 0;
}

// How many keys go through when there are many readers, or many keyboards.
//
// The keyboards are typed on by turns, as fast as may be without loss: a burst that fits into the kernel's buffer of each
// keyboard, and the next when every reader has the last. A byte that is missing is waited for in vain: a loss is not
// overlooked, and ends the program.

#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

// burst is how many keys are typed on each keyboard at once: 16 events, where the kernel keeps 32.
enum { burst = 8, limit = 60 };

struct shared {
	uint32_t ready, done; // how many readers have opened the device, and have had how many bursts in all
};

// reader reads until it is killed. A key is two bytes in scancode set 1.
static void reader(const char *device, struct shared *shared, int keyboards, int readers) {
	check("prctl", prctl(PR_SET_PDEATHSIG, SIGKILL));
	int fd = check(device, open(device, O_RDONLY | O_CLOEXEC));
	__atomic_add_fetch(&shared->ready, 1, __ATOMIC_RELEASE);
	wakeAll(&shared->ready);
	for (long got = 0;;) {
		char buf[4096];
		got += check("read", read(fd, buf, sizeof buf));
		if (got < 2 * burst * keyboards)
			continue;
		got -= 2 * burst * keyboards;
		if (__atomic_add_fetch(&shared->done, 1, __ATOMIC_ACQ_REL) % readers == 0)
			wakeAll(&shared->done);
	}
}

static void waitUntil(uint32_t *word, uint32_t value) {
	for (uint32_t is; (is = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != value;)
		waitWhile(word, is);
}

// startReaders returns when there are so many readers, each with the device open.
static struct shared *startReaders(const char *device, int keyboards, int readers) {
	struct shared *shared = share(sizeof *shared);
	for (int i = 0; i < readers; i++)
		if (check("fork", fork()) == 0)
			reader(device, shared, keyboards, readers);
	waitUntil(&shared->ready, readers);
	puts("ready");
	fflush(stdout);
	return shared;
}

// readers DEVICE READERS has that many wait for keys, until it is killed.
int readers_main(int argc, char **argv) {
	if (argc != 3)
		return 2;
	startReaders(argv[1], 1, atoi(argv[2]));
	for (;;)
		pause();
}

// load DEVICE KEYBOARDS READERS BURSTS says that the readers are there, waits for a line, types, and prints the keys
// typed and the nanoseconds that it took.
int load_main(int argc, char **argv) {
	if (argc != 5)
		return 2;
	int keyboards = atoi(argv[2]), readers = atoi(argv[3]), bursts = atoi(argv[4]);
	struct shared *shared = startReaders(argv[1], keyboards, readers);
	getchar();

	alarm(limit);
	uint64_t begin = now();
	for (int b = 1; b <= bursts; b++) {
		for (int key = 0; key < burst; key++)
			for (int i = 0; i < keyboards; i++) {
				// Each keyboard has keys of its own: those that are down on two keyboards are one key.
				type(firstKeyboard + i, KEY_1 + i, 1);
				type(firstKeyboard + i, KEY_1 + i, 0);
			}
		waitUntil(&shared->done, b * readers);
	}
	printf("%d %llu\n", bursts * burst * keyboards, (unsigned long long)(now() - begin));
	fflush(stdout);
	getchar(); // the readers stay while the cost is read
	return 0;
}

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
	static const struct {
		const char *name;
		int (*main)(int argc, char **argv);
	} programs[] = {
		{"latency", latency_main},
		{"load", load_main},
		{"readers", readers_main},
		{"server", server_main},
		{"remap", remap_main},
	};
	for (size_t i = 0; argc > 1 && i < sizeof programs / sizeof *programs; i++)
		if (!strcmp(argv[1], programs[i].name))
			return programs[i].main(argc - 1, argv + 1);
	fprintf(stderr, "usage: keybench latency|load|readers|server|remap ...\n");
	return 2;
}

long check(const char *what, long result) {
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void type(int keyboard, uint16_t code, int32_t value) {
	struct input_event events[] = {
		{.type = EV_KEY, .code = code, .value = value},
		{.type = EV_SYN, .code = SYN_REPORT},
	};
	check("write uinput", write(keyboard, events, sizeof events));
}

int grab(const char *node) {
	int fd = check(node, open(node, O_RDONLY | O_CLOEXEC));
	check("EVIOCGRAB", ioctl(fd, EVIOCGRAB, 1));
	return fd;
}

size_t readEvents(int node, struct input_event *events, size_t size) {
	return check("read evdev", read(node, events, size)) / sizeof *events;
}

void waitWhile(uint32_t *word, uint32_t value) {
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
		syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

void wakeAll(uint32_t *word) {
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void *share(size_t size) {
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check("mmap", p == MAP_FAILED ? -1 : 0);
	return memset(p, 0, size); // no page fault is to be measured
}

// The least that a remapper can be, as keyd and its kin are: it takes a keyboard for itself and types on one of its own.

#include "bench.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/uinput.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int newKeyboard(void) {
	int fd = check("/dev/uinput", open("/dev/uinput", O_WRONLY | O_CLOEXEC));
	check("UI_SET_EVBIT", ioctl(fd, UI_SET_EVBIT, EV_KEY));
	for (int key = 1; key < 256; key++)
		check("UI_SET_KEYBIT", ioctl(fd, UI_SET_KEYBIT, key));
	struct uinput_setup setup = {.id = {.bustype = BUS_VIRTUAL}, .name = "remapped"};
	check("UI_DEV_SETUP", ioctl(fd, UI_DEV_SETUP, &setup));
	check("UI_DEV_CREATE", ioctl(fd, UI_DEV_CREATE));
	return fd;
}

// tellNode prints the name of the evdev node of the new keyboard.
static void tellNode(int keyboard) {
	char name[64], pattern[128];
	check("UI_GET_SYSNAME", ioctl(keyboard, UI_GET_SYSNAME(sizeof name), name));
	snprintf(pattern, sizeof pattern, "/sys/devices/virtual/input/%s/event*", name);
	glob_t found;
	check(pattern, glob(pattern, 0, NULL, &found) == 0 ? 0 : -1);
	printf("/dev/input/%s\n", strrchr(found.gl_pathv[0], '/') + 1);
	fflush(stdout);
}

// remap NODE prints the node of the keyboard that it makes of NODE, and remaps until it is killed.
int remap_main(int argc, char **argv) {
	if (argc != 2)
		return 2;
	uint16_t map[KEY_CNT];
	for (int i = 0; i < KEY_CNT; i++)
		map[i] = i;
	map[KEY_CAPSLOCK] = KEY_ESC;
	int in = grab(argv[1]), out = newKeyboard();
	tellNode(out);
	for (;;) {
		struct input_event events[64];
		size_t n = readEvents(in, events, sizeof events);
		for (size_t i = 0; i < n; i++)
			if (events[i].type == EV_KEY)
				events[i].code = map[events[i].code];
		check("write uinput", write(out, events, n * sizeof *events));
	}
}

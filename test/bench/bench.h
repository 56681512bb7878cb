// The programs of the benchmark, in C, so that what is measured is the path of a key and not the measuring. They are one
// binary, and each is named by the first argument.

#include <linux/input.h>
#include <stddef.h>
#include <stdint.h>

int latency_main(int argc, char **argv);
int load_main(int argc, char **argv);
int readers_main(int argc, char **argv);
int server_main(int argc, char **argv);
int remap_main(int argc, char **argv);

// firstKeyboard is the descriptor of the first uinput keyboard that a program was given to type on.
enum { firstKeyboard = 3 };

// check ends the program with the name of what failed if result is negative.
long check(const char *what, long result);

// now is the time in nanoseconds.
uint64_t now(void);

// type presses or releases a key, and returns when the kernel has given it to its listeners.
void type(int keyboard, uint16_t code, int32_t value);

// grab opens an evdev node and keeps its events from everybody else.
int grab(const char *node);

// readEvents waits for events and returns their number.
size_t readEvents(int node, struct input_event *events, size_t size);

// wait and wake use a word of memory, which processes may share: wait returns when the word is no longer value.
void waitWhile(uint32_t *word, uint32_t value);
void wakeAll(uint32_t *word);

// share gives memory that a process and its children have in common.
void *share(size_t size);

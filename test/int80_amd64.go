package test

// int80 makes a system call as a 32-bit program does. Numbers are those of i386, and addresses must be below 4 GiB. The
// result is -errno where it fails.
func int80(number, a, b, c uintptr) (result uintptr)

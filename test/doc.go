// Package test holds the tests that run kbdd as a whole, in the QEMU machine: the real kernel, its CUSE, evdev and
// virtual terminals, kbdd as a process of its own, and keyboards that are typed on. "make test" runs them.
//
//	test/vmrun    runs a program in the machine; for go test -exec
//	test/machine  drives the machine from inside: keyboards, terminals
//	test/demo     what kbdd does, step by step, to look at
//	test/tools    the linters, in a module of their own
package test

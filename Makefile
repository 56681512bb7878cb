# kbdd: raw keyboards for programs, in user space. "make help" lists what can be made.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL     = $(GO) tool -modfile=test/tools/go.mod

# Static, so that the programs run in an initramfs with no libc. The event library is cgo: gcc links.
# The tag noforcedgc lets an idle kbdd sleep for good, and needs the linker's leave (cmd/kbdd/idle.go).
TAGS     = netgo,osusergo,noforcedgc
STATIC   = -tags $(TAGS) -ldflags '-checklinkname=0 -linkmode external -extldflags -static -w -X main.version=$(VERSION)'

# Packages whose tests touch the kernel, and so run in the QEMU machine.
MACHINE  = ./cuse ./kbd/input ./test ./test/machine
VMRUN    = $(CURDIR)/bin/vmrun
IN_MACHINE = -timeout 9m30s -file $(CURDIR)/bin/kbdd -file $(CURDIR)/bin/kbdctl
# Debian's programs that the tests run there.
PROGRAMS = -with dbus-daemon -with showkey -with kbd_mode -with setleds -with kbdrate -with dd -with hexdump -with timeout \
	-with /usr/bin/python3

# For the tests that are named TestDirect: the controller gives the PS/2 keyboard's bytes as they are, in set 2.
DIRECT   = -append i8042.direct

.PHONY: all kbdd kbdctl vmrun keybench check unit test test-debian bench figures kill-matrix kill-matrix-systemd soak stress fuzz deb rpm demo vm clean help

all: kbdd kbdctl ## build bin/kbdd and bin/kbdctl, both static

kbdd kbdctl:
	$(GO) build $(STATIC) -o bin/$@ ./cmd/$@

vmrun:
	CGO_ENABLED=0 $(GO) build -o bin/$@ ./test/$@

keybench:
	@mkdir -p bin
	$(CC) -O2 -Wall -Wextra -Werror -static -pthread -o bin/$@ test/bench/*.c

check: ## vet, staticcheck, gofumpt and the unit tests
	$(GO) vet ./...
	$(GO) vet -tags $(TAGS) ./cmd/kbdd
	$(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags $(TAGS) ./cmd/kbdd
	@unformatted=$$($(TOOL) gofumpt -l cmd kbd cuse scancode test) && if [ -n "$$unformatted" ]; then \
		echo "not formatted by gofumpt:"; echo "$$unformatted"; exit 1; fi
	$(MAKE) --no-print-directory unit

unit:
	$(GO) test -race ./...

test: check all vmrun ## all tests: the unit tests, and those in the QEMU machine
	KBDD_VM_TESTS=1 VMRUN_FLAGS="$(IN_MACHINE) $(PROGRAMS)" $(GO) test -count=1 -p 1 $(STATIC) -exec $(VMRUN) -skip TestKillMatrix $(MACHINE)
	KBDD_VM_TESTS=1 VMRUN_FLAGS="$(IN_MACHINE) $(DIRECT)" $(GO) test -count=1 $(STATIC) -exec $(VMRUN) -run TestDirect ./test
	KBDD_VM_TESTS=1 VMRUN_FLAGS="$(IN_MACHINE) $(PROGRAMS)" $(GO) test -count=1 $(STATIC) -exec $(VMRUN) -run TestKillMatrix ./test

DEBS = $(CURDIR)/bin/test-debian
test-debian: vmrun ## the packages: install, use, upgrade and remove the .deb on a whole Debian in QEMU, about 8 minutes
	rm -rf $(DEBS)
	KBDD_VERSION=1 cmd/kbdd/package/build deb $(DEBS)
	KBDD_VERSION=2 cmd/kbdd/package/build deb $(DEBS)
	KBDD_PACKAGE_TESTS=1 $(GO) test -count=1 ./test/packages
	KBDD_VM_TESTS=1 VMRUN_FLAGS="-debian -timeout 15m -file $(DEBS)/kbdd_1_amd64.deb:/root/kbdd-1.deb -file $(DEBS)/kbdd_2_amd64.deb:/root/kbdd-2.deb" \
		$(GO) test -count=1 -timeout 15m $(STATIC) -exec $(VMRUN) ./test/debian

# BENCH measures into a file, and shows each figure when it is there.
BENCH    = KBDD_VM_TESTS=1 VMRUN_FLAGS="$(IN_MACHINE) -timeout 40m -file $(CURDIR)/bin/keybench $(2)" \
	$(GO) test -count=1 -timeout 40m $(STATIC) -exec $(VMRUN) -run '^$$' -benchtime 1x -bench '$(3)' ./test 2>&1 | tee $(1) && grep -q '^PASS$$' $(1)

# Once by a clock that counts instructions, on one CPU, and once in real time. Idle is idle by either, and takes a minute in
# the second.
bench: all vmrun keybench ## measure latency, throughput and idleness in the machine, about 10 minutes, and hold that against the limits
	@mkdir -p out
	@rm -f out/bench.json
	$(call BENCH,out/bench-instructions.txt,-icount,.)
	$(call BENCH,out/bench-real.txt,-append tsc=reliable,Machine|Latency|Load|Start)
	$(GO) run ./test/benchtable -json out/bench.json out/bench-instructions.txt out/bench-real.txt
	$(GO) run ./test/benchtable -json out/bench.json -check

figures: ## put into the README what make bench and all runs of the kill matrix in out/ have measured
	$(if $(wildcard out/bench.json out/kill-matrix-*.txt),,$(error nothing was measured yet: make bench, make kill-matrix))
	$(if $(wildcard out/bench.json),$(GO) run ./test/benchtable -json out/bench.json -readme README.md)
	$(if $(wildcard out/kill-matrix-*.txt),$(GO) run ./test/killtable -readme README.md out/kill-matrix-*.txt)

# KILLS tries each case of the kill matrix, shows how it goes, and keeps that for make figures.
define KILLS
	@mkdir -p out
	KBDD_VM_TESTS=1 KBDD_KILLS=$(or $(TIMES),200) VMRUN_FLAGS="$(1) -timeout 24h" \
		$(GO) test -count=1 -timeout 24h -v $(STATIC) -exec $(VMRUN) -run '$(2)' ./test 2>&1 | \
		tee $(KILLS_FILE) && grep -q '^PASS$$' $(KILLS_FILE)
endef
KILLS_FILE := out/kill-matrix-$(shell date +%Y%m%d-%H%M%S).txt

kill-matrix: all vmrun ## have everything die while keys are typed, each in 200 tries or TIMES=n, and print how long it took: 3 hours
	$(call KILLS,$(IN_MACHINE) $(PROGRAMS),TestKillMatrix|TestSupervisorKeepsNothing)

# kbdd as its package has it, but with its symbols, on a whole Debian.
UNIT     = -file $(CURDIR)/bin/kbdd:/usr/sbin/kbdd -file $(CURDIR)/bin/kbdctl \
	-file $(CURDIR)/cmd/kbdd/kbdd.service:/usr/lib/systemd/system/kbdd.service \
	-file $(CURDIR)/cmd/kbdd/60-kbdd.rules:/usr/lib/udev/rules.d/60-kbdd.rules \
	-file $(CURDIR)/cmd/kbdd/kbdd.modules-load:/usr/lib/modules-load.d/kbdd.conf \
	-file $(CURDIR)/cmd/kbdd/kbdd.sysusers:/usr/lib/sysusers.d/kbdd.conf
kill-matrix-systemd: all vmrun ## the same, with kbdd as a service of systemd on a whole Debian in QEMU: longer still
	$(call KILLS,-debian $(UNIT),TestKillMatrix)

soak: all vmrun ## 10,000 random steps at three keyboards in the machine, about 20 minutes; SEED=n STEPS=n play some again, TIME=1h goes on for an hour
	KBDD_VM_TESTS=1 KBDD_SOAK_SEED=$(or $(SEED),$(shell date +%s)) KBDD_SOAK_STEPS=$(or $(STEPS),$(if $(TIME),,10000)) KBDD_SOAK_TIME=$(TIME) \
		VMRUN_FLAGS="$(IN_MACHINE) -timeout 24h" $(GO) test -count=1 -timeout 24h -v $(STATIC) -exec $(VMRUN) -run TestSoak ./test

# By a clock that counts instructions: two emulated CPUs are too slow for it in real time.
stress: all vmrun ## 65 readers, killed and restarted, while two keyboards type 200 keys a second each for a minute: about 25 minutes; TIME=10s RATE=100 for less
	KBDD_VM_TESTS=1 KBDD_STRESS=$(or $(TIME),60s) KBDD_STRESS_RATE=$(or $(RATE),200) VMRUN_FLAGS="$(IN_MACHINE) -icount -timeout 2h" \
		$(GO) test -count=1 -timeout 2h -v $(STATIC) -exec $(VMRUN) -run TestStreamsAreCompleteUnderStress ./test

FUZZTIME ?= 10m
fuzz: ## run each fuzzer, one after the other, for 10 minutes or FUZZTIME=1m
	@grep -rEo '^func Fuzz[A-Za-z0-9]+' --include=*_test.go cmd cuse kbd scancode test | sed 's,/[^/]*:func , ,' | \
	while read -r dir fuzzer; do \
		echo "$$dir: $$fuzzer"; \
		$(GO) test -run '^$$' -fuzz "^$$fuzzer\$$" -fuzztime $(FUZZTIME) "./$$dir" || exit 1; \
	done

deb rpm: ## a package in bin, the same byte for byte from the same source
	cmd/kbdd/package/build $@ bin

demo: all vmrun ## watch it work, step by step, in the QEMU machine
	$(GO) build $(STATIC) -o bin/demo ./test/demo
	$(VMRUN) $(IN_MACHINE) bin/demo

vm: all vmrun ## the QEMU machine, for you to type in
	$(VMRUN) $(IN_MACHINE) -interactive

clean: ## remove what was built
	rm -rf bin

help:
	@sed -n 's/^\([a-z -]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

# A small front to meson and ninja. `make` lists the targets.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

PREFIX       ?= /usr/local
DESTDIR      ?=
FUZZ_SECONDS ?= 60
CHECK_ARGS   ?=
BENCH_ARGS   ?=
POWERCUT_ARGS ?=

.PHONY: help build demo demo-kernel check bench fuzz powercut format install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 24

build: ## build/release: the program, optimised
	@tools/install-deps build
	@tools/configure release
	@ninja -C build/release

demo: ## boot Debian from a disk on the software engine
	@tools/install-deps build demo
	@tools/configure release
	@ninja --quiet -C build/release src/cli/partita src/agent/partita-agent
	@demo/run

demo-kernel: ## boot Debian's kernel alone, which takes seconds
	@tools/install-deps build demo
	@tools/configure release
	@ninja --quiet -C build/release src/cli/partita src/agent/partita-agent
	@demo/run kernel

check: ## every test; the last line counts them
	@tools/install-deps build check
	@tools/check $(CHECK_ARGS)

bench: ## compare with QEMU's TCG, the processor and a disk; BENCH_ARGS=--quick for a tenth of the work
	@tools/install-deps build bench
	@tools/configure release
	@ninja --quiet -C build/release src/cli/partita
	@bench/run $(BENCH_ARGS)
	@bench/guest-io $(filter --quick,$(BENCH_ARGS))
	@bench/programs $(filter --quick,$(BENCH_ARGS))

fuzz: ## fuzz every target for FUZZ_SECONDS (60)
	@tools/install-deps build check
	@tools/configure fuzz
	@ninja --quiet -C build/fuzz
	@tools/fuzz $(FUZZ_SECONDS)

powercut: ## cut the power at every change of a disk image, in twelve ways
	@tools/install-deps build
	@tools/configure release
	@ninja --quiet -C build/release tests/powercut/partita-powercut
	@build/release/tests/powercut/partita-powercut --all $(POWERCUT_ARGS)

format: ## reformat the sources
	@tools/install-deps check
	@find src tests -name '*.[ch]' -print0 | xargs -0 clang-format -i

install: ## install below PREFIX (/usr/local), under DESTDIR
	@tools/install-deps build
	@tools/configure release
	@meson configure build/release -Dprefix=$(PREFIX)
	@ninja --quiet -C build/release
	@DESTDIR=$(DESTDIR) meson install --no-rebuild -C build/release

clean: ## remove the builds; the fetched guest kernels stay
	@rm -rf build/release build/asan build/clang build/fuzz build/bench build/check

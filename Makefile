# SPDX-License-Identifier: MIT
# ebbfs: `make help` lists the targets.  Sources are found by directory; see "Sources" below.

VERSION := 0.1.0

# --- Variants: make BUILD=asan|tsan|clang|debug builds in build/<variant>, without it in build ---

BUILD :=
B := build$(if $(BUILD),/$(BUILD))
DEPS := build/deps

ifneq ($(filter-out asan tsan clang debug,$(BUILD)),)
$(error BUILD=$(BUILD): one of asan, tsan, clang, debug, or nothing)
endif
ifeq ($(origin CC),default)
CC := $(if $(filter clang,$(BUILD)),clang,gcc)
endif

# --- Flags ---

WARN := -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wshadow \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wformat=2 \
	-Wundef -Wvla -Wwrite-strings
OPT := -O2 -g
HARDEN := -fPIE -fstack-protector-strong
FORTIFY := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2

ifeq ($(BUILD),debug)
OPT := -Og -g3
endif
# What a sanitizer adds to the code makes gcc's flow warnings guess.
ifeq ($(BUILD),asan)
OPT := -O1 -g -fno-omit-frame-pointer
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
endif
ifeq ($(BUILD),tsan)
OPT := -O1 -g -fno-omit-frame-pointer
SANITIZE := -fsanitize=thread
endif
ifdef SANITIZE
FORTIFY :=
WARN += -Wno-error=maybe-uninitialized -Wno-error=stringop-overflow -Wno-error=format-truncation
endif
ifneq ($(filter asan tsan debug,$(BUILD)),)
DEBUG := -DEBB_DEBUG_LOCKS=1
endif
# clang has names of its own for warnings, and it alone checks REQUIRES() and the like.
ifneq ($(findstring clang,$(CC)),)
WARN += -Wthread-safety -Wno-unknown-warning-option
endif

# Looked up when first needed, so that `make setup` and `make clean` work on a bare machine.
PKGS := sqlite3 json-c libcurl zlib libisal inih libsystemd fuse3
PKG_CONFIG = PKG_CONFIG_PATH=$(CURDIR)/$(DEPS)/lib/pkgconfig:$$PKG_CONFIG_PATH pkg-config
pkg = $(or $(shell $(PKG_CONFIG) $(1) || $(PKG_CONFIG) --print-errors --exists $(PKGS)),$(error \
	something to build from is missing (named above): run `make setup`))
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(call pkg,--cflags "fuse3 >= 3.18" $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(call pkg,--libs "fuse3 >= 3.18" $(PKGS)))$(PKG_LIBS)
# Replies from any thread are safe over io_uring in build/deps and after 3.18 (build-aux/libfuse).
RING_SAFE = $(eval RING_SAFE := $$(shell test "`$(PKG_CONFIG) --variable=ebb_ring_lock fuse3`" = yes || \
	$(PKG_CONFIG) --atleast-version=3.19 fuse3; echo $$$$(($$$$? == 0))))$(RING_SAFE)

# CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS stay the user's.
EBB_CPPFLAGS = -I. -D_GNU_SOURCE -DFUSE_USE_VERSION=318 -DEBB_FUSE_RING_SAFE=$(RING_SAFE) \
	-DSQLITE_ENABLE_SESSION -DSQLITE_ENABLE_PREUPDATE_HOOK \
	-DEBB_VERSION='"$(VERSION)"' $(FORTIFY) $(DEBUG) $(PKG_CFLAGS) $(CPPFLAGS)
EBB_CFLAGS = -std=gnu17 -pthread $(OPT) $(WARN) $(HARDEN) $(SANITIZE) $(CFLAGS)
EBB_LDFLAGS = -pie -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
EBB_LDLIBS = $(PKG_LIBS) -lrados $(LDLIBS)

V := 0
Q := $(if $(filter 0,$(V)),@)
show = $(if $(Q),@printf '  %-5s %s\n' $(1) $(2))

# --- Sources ---
#
# lib meta backend tier	-> libebb.a, which every program and every unit test links
# fs			-> ebbfs alone
# tools/ebbX.c		-> the main of program ebbX
# tools/mount_*.c	-> ebbfs alone;  tools/ctl_*.c -> ebbctl alone
# tests/unit/t_X.c	-> one cmocka program; t_fs_X.c links fs too
# tests/unit/*.c	-> (the others) what unit tests share
# tests/tools/*.c	-> one program each, for the tests in Python
# tools/mk*.c		-> the same: what makes data for tests and the benchmark
# bench/load.c stream.c	-> build/bench/load, stream, the clients of the benchmarks; bench/*.c is shared

LAYERS := lib meta backend tier fs tools
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))

LIB_SRC := $(wildcard lib/*.c meta/*.c backend/*.c tier/*.c)
FS_SRC := $(wildcard fs/*.c)
MAIN_SRC := $(wildcard tools/ebb*.c)
MOUNT_SRC := $(wildcard tools/mount_*.c)
CTL_SRC := $(wildcard tools/ctl_*.c)
UNIT_SRC := $(wildcard tests/unit/t_*.c)
UNITLIB_SRC := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
HELPER_SRC := $(wildcard tests/tools/*.c tools/mk*.c)
BENCH_SRC := $(wildcard bench/*.c)
ALL_SRC := $(LIB_SRC) $(FS_SRC) $(MAIN_SRC) $(MOUNT_SRC) $(CTL_SRC) $(UNIT_SRC) $(UNITLIB_SRC) \
	$(HELPER_SRC) $(BENCH_SRC)
HEADERS := $(wildcard $(addsuffix /*.h,$(LAYERS) tests/unit bench))

PROGRAMS := $(patsubst tools/%.c,$(B)/%,$(MAIN_SRC))
UNITS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SRC))
HELPERS := $(patsubst %.c,$(B)/tests/%,$(notdir $(HELPER_SRC)))
LOAD := $(B)/bench/load $(B)/bench/stream

.PHONY: all
all: $(PROGRAMS) $(B)/libebb.a

# --- Rules ---

# Written anew only when what it says changes; then what depends on it is made again.
define keep
@mkdir -p $(@D)
@printf '%s\n' $(1) | cmp -s - $@ || printf '%s\n' $(1) >$@
endef

.PHONY: FORCE
$(B)/.flags: FORCE
	$(call keep,'$(subst ','\'',$(CC) $(EBB_CPPFLAGS) $(EBB_CFLAGS))' '$(EBB_LDFLAGS) $(EBB_LDLIBS)')
$(B)/.sources: FORCE
	$(call keep,$(LIB_SRC) $(FS_SRC) $(MOUNT_SRC) $(CTL_SRC) $(UNITLIB_SRC))

$(B)/obj/%.o: %.c $(B)/.flags
	$(call show,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(EBB_CPPFLAGS) $(EBB_CFLAGS) -MMD -MP -c -o $@ $<

# Made from nothing each time: an archive keeps members whose source is gone.
$(B)/libebb.a: $(call obj,$(LIB_SRC))
$(B)/libebbfs.a: $(call obj,$(FS_SRC))
$(B)/libunit.a: $(call obj,$(UNITLIB_SRC))
$(B)/%.a: $(B)/.sources
	$(call show,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $(filter %.o,$^)

define link
$(call show,LD,$@)
@mkdir -p $(@D)
$(Q)$(CC) $(EBB_CFLAGS) $(EBB_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(1) $(EBB_LDLIBS)
endef

$(B)/ebbfs: $(call obj,$(MOUNT_SRC) $(FS_SRC))
$(B)/ebbctl: $(call obj,$(CTL_SRC))
$(PROGRAMS): $(B)/%: $(B)/obj/tools/%.o $(B)/libebb.a $(B)/.sources
	$(call link)

$(B)/tests/t_fs_%: $(B)/obj/tests/unit/t_fs_%.o $(B)/libunit.a $(B)/libebbfs.a $(B)/libebb.a
	$(call link,-lcmocka)
$(B)/tests/t_%: $(B)/obj/tests/unit/t_%.o $(B)/libunit.a $(B)/libebb.a
	$(call link,-lcmocka)
$(filter $(B)/tests/mk%,$(HELPERS)): $(B)/tests/%: $(B)/obj/tools/%.o $(B)/libebb.a
	$(call link)
$(filter-out $(B)/tests/mk%,$(HELPERS)): $(B)/tests/%: $(B)/obj/tests/tools/%.o $(B)/libebb.a
	$(call link)
$(LOAD): $(B)/bench/%: $(B)/obj/bench/%.o $(B)/obj/bench/hist.o
	$(call link)

.SECONDARY:
-include $(patsubst %.o,%.d,$(call obj,$(ALL_SRC)))

.PHONY: units helpers bench-load
units: $(UNITS)
helpers: $(HELPERS) $(LOAD)
bench-load: $(LOAD)

# --- Set-up ---

.PHONY: setup setup-test
setup:
	@build-aux/setup build
setup-test:
	@build-aux/setup build test

# --- Checks ---

RUN_TESTS := build-aux/run-tests
root = @[ "`id -u`" = 0 ] || { \
	echo "$(1) mounts file systems and installs packages: run it as root (sudo $(1))" >&2; exit 1; }

.PHONY: check check-fast check-unit check-pytest check-layers check-headers check-format check-man \
	format
check:
	$(call root,make check)
	@build-aux/setup build test
	@$(RUN_TESTS) fast san long
check-fast:
	@$(RUN_TESTS) fast
check-unit:
	@$(RUN_TESTS) unit$(if $(BUILD),:$(BUILD))
check-pytest:
	$(call root,make check-pytest)
	@$(RUN_TESTS) pytest$(if $(BUILD),:$(BUILD)) $(if $(ARGS),-- $(ARGS))
check-layers:
	@build-aux/check-layers

# Each header alone, with nothing included before it.
check-headers: $(patsubst %,$(B)/headers/%.ok,$(HEADERS))
$(B)/headers/%.ok: % $(B)/.flags
	@mkdir -p $(@D)
	$(Q)printf '#include "%s"\n' $< | \
		$(CC) $(EBB_CPPFLAGS) $(EBB_CFLAGS) -fsyntax-only -MMD -MP -MF $(@:.ok=.d) -MT $@ -x c -
	@touch $@
-include $(patsubst %,$(B)/headers/%.d,$(HEADERS))

check-format:
	@build-aux/format --check
format:
	@build-aux/format

check-man:
	@$(if $(MAN_ALL),mandoc -T lint -W warning $(MAN_ALL))

# --- Benchmark ---

define measure
$(call root,make $@)
@build-aux/setup build bench
@$(MAKE) --no-print-directory -j`nproc` all bench-load
@build-aux/passthrough_hp
@bench/bench $(1) $(ARGS)
endef

.PHONY: bench bench-quick bench-together bench-size
bench:
	$(call measure)
bench-quick:
	$(call measure,--quick)
bench-together:
	$(call root,make $@)
	@build-aux/setup build bench
	@$(MAKE) --no-print-directory -j`nproc` all bench-load
	@bench/together $(ARGS)
bench-size:
	$(call root,make $@)
	@$(MAKE) --no-print-directory -j`nproc` all helpers
	@bench/size $(ARGS)

# --- Demo ---

.PHONY: demo demo-stop
demo:
	$(call root,make demo)
	@build-aux/setup build demo
	@$(MAKE) --no-print-directory -j`nproc` all
	@demo/demo
demo-stop:
	@demo/demo-stop

# --- Installation ---

DESTDIR :=
PREFIX := /usr/local
SYSCONFDIR := $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
SBINDIR := $(PREFIX)/sbin
BINDIR := $(PREFIX)/bin
MANDIR := $(PREFIX)/share/man
UNITDIR := $(PREFIX)/lib/systemd/system
COMPLETIONDIR := $(PREFIX)/share/bash-completion/completions
# mount(8) looks for helpers in one place, wherever the programs are.
HELPERDIR := $(if $(filter /usr /usr/local,$(PREFIX)),/usr/sbin,$(SBINDIR))

MAN_ALL := $(wildcard man/*.5 man/*.7 man/*.8)
INSTALL := install
# Installed files name the places that were chosen.
PLACED = sed -e 's|/usr/sbin/ebbfs|$(SBINDIR)/ebbfs|g' -e 's|/etc/ebbfs|$(SYSCONFDIR)/ebbfs|g'

.PHONY: install uninstall
install: all
	$(INSTALL) -d $(addprefix $(DESTDIR),$(SBINDIR) $(BINDIR) $(UNITDIR) $(HELPERDIR)) \
		$(DESTDIR)$(SYSCONFDIR)/ebbfs
	$(INSTALL) -m 755 $(filter-out %/ebbctl,$(PROGRAMS)) $(DESTDIR)$(SBINDIR)
	$(if $(filter %/ebbctl,$(PROGRAMS)),$(INSTALL) -m 755 $(B)/ebbctl $(DESTDIR)$(BINDIR))
	$(PLACED) dist/mount.fuse.ebbfs >$(DESTDIR)$(HELPERDIR)/mount.fuse.ebbfs
	chmod 755 $(DESTDIR)$(HELPERDIR)/mount.fuse.ebbfs
	$(PLACED) dist/ebbfs@.service >$(DESTDIR)$(UNITDIR)/ebbfs@.service
	chmod 644 $(DESTDIR)$(UNITDIR)/ebbfs@.service
	$(foreach page,$(MAN_ALL),$(INSTALL) -D -m 644 $(page) \
		$(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix $(page)))/$(notdir $(page)) &&) :
	$(if $(wildcard dist/ebbctl.bash),$(INSTALL) -D -m 644 dist/ebbctl.bash \
		$(DESTDIR)$(COMPLETIONDIR)/ebbctl)

uninstall:
	rm -f $(addprefix $(DESTDIR)$(SBINDIR)/,$(filter-out ebbctl,$(notdir $(PROGRAMS)))) \
		$(DESTDIR)$(BINDIR)/ebbctl $(DESTDIR)$(HELPERDIR)/mount.fuse.ebbfs \
		$(DESTDIR)$(UNITDIR)/ebbfs@.service $(DESTDIR)$(COMPLETIONDIR)/ebbctl \
		$(foreach page,$(MAN_ALL),$(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix \
			$(page)))/$(notdir $(page)))
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(SYSCONFDIR)/ebbfs 2>/dev/null

# --- Cleaning ---

.PHONY: clean distclean
# What was fetched and built for the tests and for libfuse stays in build/deps.
clean:
	$(if $(wildcard build),find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +)
distclean: clean
	rm -rf build

define HELP
build     all             the programs, into build/ (the default)
          clean           remove what was built; distclean also build/deps
          format          lay out the sources with clang-format
          BUILD=asan|tsan|clang|debug     a variant, into build/<variant>/; CC=, CFLAGS=, V=1 as usual
set-up    setup           packages and libfuse to build with; setup-test: also what the tests need (root)
try       demo            set up, build, mount, and show it at work (root); demo-stop
check     check           everything: sets up, then all tests (root)
          check-fast      without servers and without root, under a minute
          check-unit      unit tests (BUILD=asan: of that variant)
          check-pytest    mount and server tests (root); ARGS="-k name" is handed to pytest
          check-layers check-headers check-format check-man
measure   bench           side by side with others, into build/bench/report.html (root; an hour or two)
          bench-quick     the same in five minutes
          bench-together  ingest, archiving and cold reading at once, for an hour (ARGS="--minutes 10")
          bench-size      what 1, 10, 100 million released paths cost (root; half an hour, 20 GB)
install   install         into PREFIX=$(PREFIX), below DESTDIR=; uninstall
endef

.PHONY: help
help:
	$(info $(HELP))
	@:

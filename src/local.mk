# SPDX-License-Identifier: MIT
pmdincludedir = $(includedir)/pmdalloc
pmdinclude_HEADERS = include/pmdalloc/pmdalloc.h

lib_LTLIBRARIES = libpmdalloc.la

PMD_COMMON_SOURCES = \
	src/base/base.h src/base/text.h src/base/text.c src/base/errno_name.h src/base/errno_name.c \
	src/os/asan.h src/os/asan.c src/os/os.h src/os/os.c src/os/syscall.h src/os/lock.h src/os/lock.c \
	src/os/pressure.h src/os/pressure.c src/os/anchor.h src/os/anchor.c src/os/process.h src/os/process.c src/os/writer.h src/os/writer.c \
	src/conf/options.h src/conf/options.c src/conf/options.def \
	src/release/release.h src/release/release.c src/release/backends.h src/release/backends.c \
	src/release/advice.h src/release/advice.c src/release/probe.h src/release/probe.c src/release/uring.h src/release/uring.c \
	src/heap/slice.h src/heap/heap.h src/heap/heap.c src/heap/pool.h src/heap/pool.c \
	src/heap/limit.h src/heap/limit.c src/heap/bins.h src/heap/bins.c src/heap/arena.h src/heap/arena.c src/heap/waiting.h src/heap/waiting.c \
	src/heap/huge.h src/heap/huge.c \
	src/cache/classes.h src/cache/slab.h src/cache/slab.c src/cache/seal.h src/cache/seal.c src/cache/memcheck.h src/cache/cache.h src/cache/cache.c \
	src/cache/states.h src/cache/held.h src/cache/held.c src/cache/remote.h src/cache/remote.c \
	src/cache/thread.c \
	src/cache/large.h src/cache/large.c src/cache/scavenger.h src/cache/scavenger.c src/cache/relief.h src/cache/relief.c \
	src/check/strict.h src/check/strict.c src/check/quarantine.h src/check/quarantine.c src/check/none.h src/check/none.c \
	src/check/report.h src/check/report.c src/check/misuse.c src/check/final.c \
	src/check/stack.h src/check/stack.c \
	src/check/guard.h src/check/guard.c src/check/check.h src/check/check.c src/check/fault.c \
	src/exit/handoff.h src/exit/handoff.c src/exit/helper.h src/exit/helper.c src/exit/conditions.h src/exit/conditions.c \
	src/exit/shorten.h src/exit/shorten.c src/exit/cgroup.h src/exit/cgroup.c src/exit/armed.h src/exit/armed.c \
	src/api/alloc.h src/api/alloc.c src/api/marks.h src/api/marks.c src/api/fast.h src/api/malloc.c \
	src/api/override.h src/api/control.c src/api/stats.h src/api/stats.c \
	src/api/report.h src/api/report.c src/api/report_text.c src/api/report_json.c src/api/report_openmetrics.c \
	src/api/sections.c
if SANITIZED
PMD_CORE_SOURCES = $(PMD_COMMON_SOURCES) src/os/thread_pthread.c
else
PMD_CORE_SOURCES = $(PMD_COMMON_SOURCES) src/os/thread_clone.c
endif
PMD_SOURCES = $(PMD_CORE_SOURCES)
PMD_CPPFLAGS_LIB = $(AM_CPPFLAGS)
PMD_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden -fexceptions -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc \
	-fno-builtin-free -ffunction-sections
if OVERRIDE
PMD_CPPFLAGS_LIB += -DPMD_OVERRIDE
PMD_SOURCES += src/api/compat.c src/api/cxx.c src/api/runtime.h src/exit/override.c LD_PRELOAD/sandbox.c
RUNTIME_DYNAMIC = src/exit/at_exit.c src/api/runtime_dynamic.c LD_PRELOAD/identity.c LD_PRELOAD/deepbind.c
RUNTIME_STATIC = src/api/runtime_static.c
else
PMD_SOURCES += src/exit/at_exit.c
endif
EXTRA_DIST += src/README.md src/start.ld src/os/thread_clone.c src/os/thread_pthread.c src/api/compat.c src/api/cxx.c src/api/runtime.h \
	src/api/runtime_dynamic.c src/api/runtime_static.c src/exit/at_exit.c src/exit/override.c LD_PRELOAD/sandbox.c LD_PRELOAD/identity.c LD_PRELOAD/deepbind.c

libpmdalloc_la_SOURCES = $(PMD_SOURCES) $(RUNTIME_DYNAMIC)
libpmdalloc_la_CPPFLAGS = $(PMD_CPPFLAGS_LIB)
libpmdalloc_la_CFLAGS = $(PMD_CFLAGS)
libpmdalloc_la_LDFLAGS = $(AM_LDFLAGS) -version-info $(PMDALLOC_SOVERSION) -shared \
	-Wl,-z,now -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,noseparate-code -Wl,-Bsymbolic-functions -Wl,--no-undefined \
	-Wl,--exclude-libs,liburing.a
if START_SCRIPT
libpmdalloc_la_LDFLAGS += -Wl,-T,$(top_srcdir)/src/start.ld
endif
EXTRA_libpmdalloc_la_DEPENDENCIES = src/start.ld
libpmdalloc_la_LIBADD = $(LIBURING)

# The static forms: one relocatable object in which only the public names are global, so that a program's own arena_get() or
# heap_init() does not collide, and the archive that holds it.
# In a program that binds lazily the first call of a function goes through the dynamic loader, which may use thread-local
# variables and locks: not for a background thread that has none of the former and may not wait for the latter.
PMD_STATIC_CFLAGS = $(PMD_CFLAGS) -fno-plt

noinst_LIBRARIES = libpmdalloc-parts.a
libpmdalloc_parts_a_SOURCES = $(PMD_SOURCES) $(RUNTIME_STATIC)
libpmdalloc_parts_a_CPPFLAGS = $(PMD_CPPFLAGS_LIB)
libpmdalloc_parts_a_CFLAGS = $(PMD_STATIC_CFLAGS)

pmdobjdir = $(libdir)
pmdobj_DATA = pmdalloc.o libpmdalloc.a
CLEANFILES += pmdalloc.o libpmdalloc.a

pmdalloc.o: libpmdalloc-parts.a
	$(AM_V_GEN)$(CC) $(CFLAGS) $(SANITIZER_FLAGS) -r -nostdlib $(NOLTO_REL) -o $@.tmp -Wl,--whole-archive libpmdalloc-parts.a -Wl,--no-whole-archive $(LIBURING) \
		&& $(OBJCOPY) $(LOCALIZE_HIDDEN) --wildcard --localize-symbol='io_uring_*' --localize-symbol='__io_uring_*' $@.tmp $@ && rm -f $@.tmp

libpmdalloc.a: pmdalloc.o
	$(AM_V_AR)rm -f $@ && $(AR) cr $@ pmdalloc.o && $(RANLIB) $@

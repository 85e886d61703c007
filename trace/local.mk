# SPDX-License-Identifier: MIT
# Traces of programs' calls: what records them, stands in front of malloc, so only where the library does.
TRACE_FORMAT = trace/format.h

if OVERRIDE
lib_LTLIBRARIES += libpmdalloc-trace.la
libpmdalloc_trace_la_SOURCES = $(TRACE_FORMAT) trace/recorder.h trace/calls.c trace/next.c trace/file.c trace/process.c \
	src/os/os.c src/os/lock.c src/base/text.c src/base/errno_name.c
libpmdalloc_trace_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
libpmdalloc_trace_la_CFLAGS = $(AM_CFLAGS) -O2 -fvisibility=hidden -fno-builtin-malloc -fno-builtin-calloc \
	-fno-builtin-realloc -fno-builtin-free
libpmdalloc_trace_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -Wl,-z,now -Wl,-z,nodelete \
	-Wl,-Bsymbolic-functions -Wl,--no-undefined

bin_PROGRAMS += trace/pmdalloc-trace
TRACE_RECORDER = trace/pmdalloc-trace$(EXEEXT) libpmdalloc-trace.la
trace_pmdalloc_trace_SOURCES = $(TRACE_FORMAT) trace/launcher.c
trace_pmdalloc_trace_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DLIBDIR='"$(libdir)"' -DVERSION='"$(VERSION)"'
endif

# What plays them: in every build, as it needs nothing of the library.
bin_PROGRAMS += trace/pmdalloc-replay
trace_pmdalloc_replay_SOURCES = $(TRACE_FORMAT) trace/tool.h trace/tool.c trace/reader.h trace/reader.c \
	trace/plan.h trace/plan.c trace/play.h trace/play.c trace/replay.c
trace_pmdalloc_replay_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DVERSION='"$(VERSION)"'
trace_pmdalloc_replay_CFLAGS = $(AM_CFLAGS) -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc \
	-fno-builtin-free -fno-builtin-posix_memalign

# SPDX-License-Identifier: MIT
# Fuzzers: with --enable-sanitizer=...,fuzzer-no-link (clang) for libFuzzer, else with a main() of their own.
FUZZERS = test/fuzz/calls test/fuzz/options test/fuzz/trace
check_PROGRAMS += $(FUZZERS)

test_fuzz_calls_SOURCES = test/fuzz/input.h test/fuzz/operators.h test/fuzz/calls.c
test_fuzz_calls_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/test
test_fuzz_options_SOURCES = test/fuzz/options.c
test_fuzz_options_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/test
test_fuzz_options_LDADD = libpmdalloc-parts.a $(LIBURING)
test_fuzz_trace_SOURCES = test/fuzz/trace.c trace/reader.c
test_fuzz_trace_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/test -I$(top_srcdir)

if FUZZER
test_fuzz_calls_SOURCES += test/fuzz/operators.c
test_fuzz_calls_CPPFLAGS += -DFUZZ_OPERATORS
test_fuzz_calls_LDADD = libpmdalloc-parts.a $(LIBURING)
test_fuzz_calls_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
test_fuzz_options_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
test_fuzz_trace_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
AM_TESTS_ENVIRONMENT += PMD_FUZZER=yes; export PMD_FUZZER;
else
test_fuzz_calls_LDADD = $(LINK_LIBRARY)
test_fuzz_calls_LDFLAGS = $(LINK_IN_PLACE)
test_fuzz_options_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_fuzz_calls_SOURCES += test/fuzz/main.c
test_fuzz_options_SOURCES += test/fuzz/main.c
test_fuzz_trace_SOURCES += test/fuzz/main.c
AM_TESTS_ENVIRONMENT += PMD_FUZZER=no; export PMD_FUZZER;
endif

TESTS += test/fuzz.sh
EXTRA_DIST += test/fuzz.sh test/fuzz/corpus

# Ten minutes for each, unless FUZZ_SECONDS says something else. What was found lies in fuzz/ then.
check-fuzz:
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} bash $(top_srcdir)/test/configs.sh $(top_srcdir) fuzz
.PHONY: check-fuzz

# SPDX-License-Identifier: MIT
# The tests: one program a behaviour, run by `make check`. Each prints why it failed, and ends with 77 when it was skipped.

if !OVERRIDE
AM_CPPFLAGS += -DPMD_PREFIXED=1
endif

# Real programs at these paths, not libtool's wrapper scripts: tests start themselves again and clear the environment.
LINK_LIBRARY = libpmdalloc.la
LINK_IN_PLACE = $(AM_LDFLAGS) -no-install

# What waits or works longest comes first, so that the others fill the time beside it.
COMPILED_TESTS = \
	test/t_release \
	test/t_fork \
	test/t_api \
	test/t_calloc \
	test/t_check \
	test/t_calls_denied \
	test/t_compat \
	test/t_dirty \
	test/t_cxx \
	test/t_dlopen \
	test/t_exit \
	test/t_exit_armed \
	test/t_exit_matrix \
	test/t_exit_triggers \
	test/t_exhausted \
	test/t_fork_kinds \
	test/t_fortify \
	test/t_free_null \
	test/t_glibc \
	test/t_heaps \
	test/t_interposed \
	test/t_limit \
	test/t_lifecycle \
	test/t_limits \
	test/t_lookalike \
	test/t_misuse \
	test/t_mlock \
	test/t_options \
	test/t_overcommit \
	test/t_pressure_cgroup \
	test/t_pressure_wait \
	test/t_random \
	test/t_random_threads \
	test/t_realloc \
	test/t_seccomp \
	test/t_signals \
	test/t_shared \
	test/t_sparse \
	test/t_stack \
	test/t_start \
	test/t_stats \
	test/t_stats_report \
	test/t_tails \
	test/t_thp \
	test/t_thread_exit \
	test/t_threads \
	test/t_trace_damage \
	test/t_turns \
	test/t_vmas

# No static program with a sanitizer: its run-time library is shared.
if !SANITIZED
COMPILED_TESTS += test/t_exit_matrix_static test/t_lifecycle_static test/t_static_archive test/t_static_cxx test/t_static_object
STATIC_UNLESS_SANITIZED = -all-static
endif

# A sanitizer's run-time library has operators of its own.
if OVERRIDE
if !SANITIZED
COMPILED_TESTS += test/t_cxx_runtime test/t_deepbind
endif
endif

# With the library's sources built a second time, so that a test stands between them and the kernel: test/inject.h. Static, so
# that they run in a machine of their own too: kernel/check-kernel.
INJECTED_TESTS = \
	test/t_answers \
	test/t_exit_armed_errors \
	test/t_exit_armed_turns \
	test/t_exit_cgroup \
	test/t_exit_clone \
	test/t_exit_errors \
	test/t_exit_same \
	test/t_exit_short \
	test/t_fork_torn \
	test/t_release_errors \
	test/t_release_race \
	test/t_waiting
check_LIBRARIES = libpmdinject.a
libpmdinject_a_SOURCES = $(PMD_CORE_SOURCES)
libpmdinject_a_CPPFLAGS = $(AM_CPPFLAGS) -DPMD_INJECT
libpmdinject_a_CFLAGS = $(PMD_STATIC_CFLAGS)
INJECTED_LIBRARY = libpmdinject.a $(LIBURING)
INJECTED_CPPFLAGS = $(AM_CPPFLAGS) -DPMD_INJECT -DPMD_PREFIXED=1

SHELL_TESTS = test/asan.sh test/calls.sh test/fresh.sh test/gdb.sh test/self.sh test/self_inject.sh test/stats_formats.sh test/symbols.sh test/trace.sh test/units.sh \
	test/valgrind.sh

# Tests with faults (test/faulted.h): compiled once more, with system calls that fail. One of them is enough for the short
# form of the matrix.
if !SANITIZED
FAULTED_MORE = \
	test/f_api \
	test/f_calloc \
	test/f_exit \
	test/f_fork \
	test/f_random_threads \
	test/f_start \
	test/f_tails \
	test/f_thread_exit \
	test/f_threads \
	test/f_turns
check_PROGRAMS += test/f_random
EXTRA_PROGRAMS = $(FAULTED_MORE)
SHELL_TESTS += test/faults.sh
endif
FAULTED_SOURCES = test/faulted.h test/faulted.c test/inject.c src/exit/at_exit.c
FAULTED_CPPFLAGS = $(INJECTED_CPPFLAGS) -DPMD_FAULTS
test_f_api_SOURCES = test/t_api.c $(FAULTED_SOURCES)
test_f_api_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_api_LDADD = $(INJECTED_LIBRARY)
test_f_calloc_SOURCES = test/t_calloc.c $(FAULTED_SOURCES)
test_f_calloc_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_calloc_LDADD = $(INJECTED_LIBRARY)
test_f_exit_SOURCES = test/faulted_exit.c $(FAULTED_SOURCES)
test_f_exit_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_exit_LDADD = $(INJECTED_LIBRARY)
test_f_fork_SOURCES = test/t_fork.c $(FAULTED_SOURCES)
test_f_fork_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_fork_LDADD = $(INJECTED_LIBRARY)
test_f_random_SOURCES = test/t_random.c $(FAULTED_SOURCES)
test_f_random_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_random_LDADD = $(INJECTED_LIBRARY)
test_f_random_threads_SOURCES = test/t_random_threads.c $(FAULTED_SOURCES)
test_f_random_threads_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_random_threads_LDADD = $(INJECTED_LIBRARY)
test_f_start_SOURCES = test/t_start.c $(FAULTED_SOURCES)
test_f_start_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_start_LDADD = $(INJECTED_LIBRARY)
test_f_tails_SOURCES = test/t_tails.c $(FAULTED_SOURCES)
test_f_tails_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_tails_LDADD = $(INJECTED_LIBRARY)
test_f_thread_exit_SOURCES = test/t_thread_exit.c $(FAULTED_SOURCES)
test_f_thread_exit_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_thread_exit_LDADD = $(INJECTED_LIBRARY)
test_f_threads_SOURCES = test/t_threads.c $(FAULTED_SOURCES)
test_f_threads_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_threads_LDADD = $(INJECTED_LIBRARY)
test_f_turns_SOURCES = test/t_turns.c $(FAULTED_SOURCES)
test_f_turns_CPPFLAGS = $(FAULTED_CPPFLAGS)
test_f_turns_LDADD = $(INJECTED_LIBRARY)

# Each call site with each errno, for n = 1, 2, ... up to FAULT_STEPS, and at random: some 20 minutes, and hours with FAULT_STEPS=1000000.
check-faults: test/f_random$(EXEEXT) $(FAULTED_MORE)
	python3 $(srcdir)/test/faults.py --source $(srcdir) --steps $${FAULT_STEPS:-3} $(FAULTS) test
.PHONY: check-faults

# Threaded tests with something before and after each atomic operation (test/hooked.h): delays at random, or words to
# Valgrind's helgrind. The compiler's warnings are those of the usual build.
EXTRA_LIBRARIES = libpmdhooked.a
libpmdhooked_a_SOURCES = $(PMD_COMMON_SOURCES) src/os/thread_pthread.c
libpmdhooked_a_CPPFLAGS = $(AM_CPPFLAGS) -UPMD_DEBUG -DPMD_DEBUG=1 -UPMD_SANITIZED -DPMD_SANITIZED=1 $(HOOKING)
libpmdhooked_a_CFLAGS = $(PMD_STATIC_CFLAGS)
# Not among the flags for C, with which programs are linked as well.
HOOKING = -fsanitize=thread -w
HOOKED_CPPFLAGS = $(AM_CPPFLAGS) -UPMD_PREFIXED -DPMD_PREFIXED=1 -DPMD_HOOKED $(HOOKING)
# The memory of a program is Valgrind's too: none is measured, as under a sanitizer.
HELGRIND_CPPFLAGS = $(HOOKED_CPPFLAGS) -UPMD_SANITIZED -DPMD_SANITIZED=1
HOOKED_LIBRARY = libpmdhooked.a $(LIBURING)
EXTRA_LIBRARIES += libpmddelays.a libpmdhelgrind.a
libpmddelays_a_SOURCES = test/hooked.h test/delays.c
libpmdhelgrind_a_SOURCES = test/hooked.h test/helgrind.c
CLEANFILES += $(EXTRA_LIBRARIES)
DELAYED_TESTS = test/d_random_threads test/d_signals test/d_thread_exit test/d_threads test/d_turns
HELGRIND_TESTS = test/h_racy test/h_random_threads test/h_thread_exit test/h_threads
if !SANITIZED
EXTRA_PROGRAMS += $(DELAYED_TESTS) $(HELGRIND_TESTS)
endif
test_d_random_threads_SOURCES = test/t_random_threads.c
test_d_random_threads_CPPFLAGS = $(HOOKED_CPPFLAGS)
test_d_random_threads_LDADD = libpmddelays.a $(HOOKED_LIBRARY)
test_d_signals_SOURCES = test/t_signals.c
test_d_signals_CPPFLAGS = $(HOOKED_CPPFLAGS)
test_d_signals_LDADD = libpmddelays.a $(HOOKED_LIBRARY)
test_d_thread_exit_SOURCES = test/t_thread_exit.c
test_d_thread_exit_CPPFLAGS = $(HOOKED_CPPFLAGS)
test_d_thread_exit_LDADD = libpmddelays.a $(HOOKED_LIBRARY)
test_d_threads_SOURCES = test/t_threads.c
test_d_threads_CPPFLAGS = $(HOOKED_CPPFLAGS)
test_d_threads_LDADD = libpmddelays.a $(HOOKED_LIBRARY)
test_d_turns_SOURCES = test/t_turns.c
test_d_turns_CPPFLAGS = $(HOOKED_CPPFLAGS)
test_d_turns_LDADD = libpmddelays.a $(HOOKED_LIBRARY)
test_h_racy_SOURCES = test/racy.c
test_h_racy_CPPFLAGS = $(HELGRIND_CPPFLAGS)
test_h_racy_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=os_commit
test_h_racy_LDADD = libpmdhelgrind.a $(HOOKED_LIBRARY)
test_h_random_threads_SOURCES = test/t_random_threads.c
test_h_random_threads_CPPFLAGS = $(HELGRIND_CPPFLAGS)
test_h_random_threads_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=os_commit
test_h_random_threads_LDADD = libpmdhelgrind.a $(HOOKED_LIBRARY)
test_h_thread_exit_SOURCES = test/t_thread_exit.c
test_h_thread_exit_CPPFLAGS = $(HELGRIND_CPPFLAGS)
test_h_thread_exit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=os_commit
test_h_thread_exit_LDADD = libpmdhelgrind.a $(HOOKED_LIBRARY)
test_h_threads_SOURCES = test/t_threads.c
test_h_threads_CPPFLAGS = $(HELGRIND_CPPFLAGS)
test_h_threads_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=os_commit
test_h_threads_LDADD = libpmdhelgrind.a $(HOOKED_LIBRARY)

# DELAYS=100 seeds instead of 20.
check-delays: $(DELAYED_TESTS)
	$(AM_V_at)$(SHELL) $(srcdir)/test/delays.sh $(DELAYED_TESTS)

check-helgrind: $(HELGRIND_TESTS)
	$(AM_V_at)$(SHELL) $(srcdir)/test/helgrind.sh $(HELGRIND_TESTS) || test $$? -eq 77
.PHONY: check-delays check-helgrind

check_PROGRAMS += $(INJECTED_TESTS) $(COMPILED_TESTS) test/buggy test/print_stats test/traced
TESTS += $(SHELL_TESTS) $(INJECTED_TESTS) $(COMPILED_TESTS)
EXTRA_DIST += $(SHELL_TESTS) test/summary.sh test/symbols.expected test/symbols-prefixed.expected \
	test/symbols-shared.expected \
	test/api.h test/backends.h test/block.h test/calls.h test/check.h test/ends.h test/exits.h test/inject.h test/internals.h test/late.h test/model.h test/proc.h test/random.h test/through_c.h test/variants.h test/ways.h \
	test/stats_formats.py test/faults.py test/faults.sh test/fresh.py \
	test/delays.sh test/helgrind.sh

if OVERRIDE
AM_TESTS_ENVIRONMENT += PMD_OVERRIDE=yes; export PMD_OVERRIDE;
else
AM_TESTS_ENVIRONMENT += PMD_OVERRIDE=no; export PMD_OVERRIDE;
endif
if SANITIZED
AM_TESTS_ENVIRONMENT += PMD_SANITIZED=yes; export PMD_SANITIZED;
else
AM_TESTS_ENVIRONMENT += PMD_SANITIZED=no; export PMD_SANITIZED;
endif
AM_TESTS_ENVIRONMENT += PMD_BUILD='$(abs_top_builddir)'; export PMD_BUILD; unset PMDALLOC_CONF;

if OVERRIDE
if !SANITIZED
check_LTLIBRARIES = libfaulty.la test/libdeep.la test/libinner.la
endif
endif
libfaulty_la_SOURCES = test/faulty.c
libfaulty_la_LIBADD = libpmdalloc.la
libfaulty_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -rpath /nowhere
test_libdeep_la_SOURCES = test/deep.c
test_libdeep_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -rpath /nowhere -Wl,-rpath,$(abs_top_builddir)/test/.libs
test_libinner_la_SOURCES = test/deep.c
test_libinner_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -rpath /nowhere

test_t_answers_SOURCES = test/t_answers.c test/inject.c
test_t_answers_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_answers_LDADD = $(INJECTED_LIBRARY)
test_t_api_LDADD = $(LINK_LIBRARY)
test_t_api_LDFLAGS = $(LINK_IN_PLACE)
test_t_calloc_LDADD = $(LINK_LIBRARY)
test_t_calloc_LDFLAGS = $(LINK_IN_PLACE)
test_t_check_LDADD = $(LINK_LIBRARY)
test_t_check_LDFLAGS = $(LINK_IN_PLACE)
test_t_calls_denied_LDADD = $(LINK_LIBRARY)
test_t_calls_denied_LDFLAGS = $(LINK_IN_PLACE)
test_t_compat_LDADD = $(LINK_LIBRARY)
test_t_compat_LDFLAGS = $(LINK_IN_PLACE)
test_t_dirty_LDADD = $(LINK_LIBRARY)
test_t_dirty_LDFLAGS = $(LINK_IN_PLACE)
test_t_cxx_SOURCES = test/t_cxx.cc test/through_c.c
test_t_cxx_CFLAGS = $(AM_CFLAGS) -fexceptions
test_t_cxx_CXXFLAGS = $(AM_CXXFLAGS) -std=c++17 -fsized-deallocation
test_t_cxx_LDADD = $(LINK_LIBRARY)
test_t_cxx_LDFLAGS = $(LINK_IN_PLACE)
test_t_cxx_runtime_LDADD = $(LINK_LIBRARY)
test_t_cxx_runtime_LDFLAGS = $(LINK_IN_PLACE)
test_t_deepbind_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE='"$(abs_top_builddir)/test/.libs/libdeep.so"'
test_t_deepbind_LDADD = $(LINK_LIBRARY)
test_t_deepbind_LDFLAGS = $(LINK_IN_PLACE)
test_t_dlopen_CPPFLAGS = $(AM_CPPFLAGS) -DLIBRARY='"$(abs_top_builddir)/.libs/libpmdalloc.so"'
test_t_exhausted_LDADD = $(LINK_LIBRARY)
test_t_exhausted_LDFLAGS = $(LINK_IN_PLACE)
test_t_exit_LDADD = $(LINK_LIBRARY)
test_t_exit_LDFLAGS = $(LINK_IN_PLACE)
test_t_exit_armed_LDADD = $(LINK_LIBRARY)
test_t_exit_armed_LDFLAGS = $(LINK_IN_PLACE)
test_t_exit_matrix_LDADD = $(LINK_LIBRARY)
test_t_exit_matrix_LDFLAGS = $(LINK_IN_PLACE)
test_t_exit_triggers_LDADD = $(LINK_LIBRARY)
test_t_exit_triggers_LDFLAGS = $(LINK_IN_PLACE)
test_t_exit_matrix_static_SOURCES = test/t_exit_matrix.c
test_t_exit_matrix_static_CPPFLAGS = $(AM_CPPFLAGS) -DPMD_STATIC
test_t_exit_matrix_static_LDADD = pmdalloc.o
test_t_exit_matrix_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_free_null_LDADD = $(LINK_LIBRARY)
test_t_free_null_LDFLAGS = $(LINK_IN_PLACE)
test_t_fork_LDADD = $(LINK_LIBRARY)
test_t_fork_LDFLAGS = $(LINK_IN_PLACE)
test_t_fork_kinds_LDADD = $(LINK_LIBRARY)
test_t_fork_kinds_LDFLAGS = $(LINK_IN_PLACE)
test_t_fortify_CFLAGS = $(AM_CFLAGS) -O2
test_t_fortify_LDADD = $(LINK_LIBRARY)
test_t_fortify_LDFLAGS = $(LINK_IN_PLACE)
test_t_glibc_CFLAGS = $(AM_CFLAGS) -fno-builtin
test_t_glibc_LDADD = $(LINK_LIBRARY)
test_t_glibc_LDFLAGS = $(LINK_IN_PLACE)
test_t_heaps_LDADD = $(LINK_LIBRARY)
test_t_heaps_LDFLAGS = $(LINK_IN_PLACE)
test_t_interposed_CFLAGS = $(AM_CFLAGS) -fno-builtin
test_t_interposed_LDADD = $(LINK_LIBRARY)
test_t_interposed_LDFLAGS = $(LINK_IN_PLACE)
test_t_limit_LDADD = $(LINK_LIBRARY)
test_t_limit_LDFLAGS = $(LINK_IN_PLACE)
test_t_lifecycle_LDADD = $(LINK_LIBRARY)
test_t_lifecycle_LDFLAGS = $(LINK_IN_PLACE)
test_t_lifecycle_static_SOURCES = test/t_lifecycle.c
test_t_lifecycle_static_CPPFLAGS = $(AM_CPPFLAGS) -DPMD_STATIC
test_t_lifecycle_static_LDADD = pmdalloc.o
test_t_lifecycle_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_limits_LDADD = $(LINK_LIBRARY)
test_t_limits_LDFLAGS = $(LINK_IN_PLACE)
test_t_misuse_LDADD = $(LINK_LIBRARY)
test_t_misuse_LDFLAGS = $(LINK_IN_PLACE)
test_t_mlock_LDADD = $(LINK_LIBRARY)
test_t_mlock_LDFLAGS = $(LINK_IN_PLACE)
test_t_options_LDADD = $(LINK_LIBRARY)
test_t_options_LDFLAGS = $(LINK_IN_PLACE)
test_t_overcommit_LDADD = $(LINK_LIBRARY)
test_t_overcommit_LDFLAGS = $(LINK_IN_PLACE)
# Inner parts are tested with the objects in which their names can be seen.
test_t_pressure_cgroup_LDADD = libpmdalloc-parts.a $(LIBURING)
test_t_pressure_cgroup_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_pressure_wait_LDADD = libpmdalloc-parts.a $(LIBURING)
test_t_pressure_wait_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_stack_LDADD = libpmdalloc-parts.a $(LIBURING)
test_t_random_LDADD = $(LINK_LIBRARY)
test_t_random_LDFLAGS = $(LINK_IN_PLACE)
test_t_random_threads_LDADD = $(LINK_LIBRARY)
test_t_random_threads_LDFLAGS = $(LINK_IN_PLACE)
test_t_lookalike_LDADD = $(LINK_LIBRARY)
test_t_lookalike_LDFLAGS = $(LINK_IN_PLACE)
test_t_realloc_LDADD = $(LINK_LIBRARY)
test_t_realloc_LDFLAGS = $(LINK_IN_PLACE)
test_t_release_LDADD = $(LINK_LIBRARY)
test_t_release_LDFLAGS = $(LINK_IN_PLACE)
# A constructor alone is no reason for the linker to take it out of an archive.
test_t_exit_armed_errors_SOURCES = test/t_exit_armed_errors.c test/inject.c src/exit/at_exit.c
test_t_exit_armed_errors_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_armed_errors_LDADD = $(INJECTED_LIBRARY)
test_t_exit_armed_turns_SOURCES = test/t_exit_armed_turns.c test/inject.c src/exit/at_exit.c
test_t_exit_armed_turns_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_armed_turns_LDADD = $(INJECTED_LIBRARY)
test_t_exit_cgroup_SOURCES = test/t_exit_cgroup.c test/inject.c src/exit/at_exit.c
test_t_exit_cgroup_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_cgroup_LDADD = $(INJECTED_LIBRARY)
test_t_exit_clone_SOURCES = test/t_exit_clone.c test/inject.c src/exit/at_exit.c $(LAST_CALLS)
test_t_exit_clone_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_clone_LDADD = $(INJECTED_LIBRARY)
test_t_exit_clone_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_exit_errors_SOURCES = test/t_exit_errors.c test/inject.c src/exit/at_exit.c
test_t_exit_errors_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_errors_LDADD = $(INJECTED_LIBRARY)
test_t_exit_errors_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_exit_same_SOURCES = test/t_exit_same.c test/inject.c src/exit/at_exit.c
test_t_exit_same_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_same_LDADD = $(INJECTED_LIBRARY)
# The end of exit() leads to src/exit/override.c in static programs only. A sanitizer has its own ways there.
if !SANITIZED
LAST_CALLS = src/exit/override.c LD_PRELOAD/sandbox.c
endif
test_t_exit_short_SOURCES = test/t_exit_short.c test/inject.c $(LAST_CALLS)
test_t_exit_short_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_exit_short_LDADD = $(INJECTED_LIBRARY)
test_t_exit_short_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_fork_torn_SOURCES = test/t_fork_torn.c test/inject.c src/check/final.c
test_t_fork_torn_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_fork_torn_LDADD = $(INJECTED_LIBRARY)
test_t_fork_torn_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_release_errors_SOURCES = test/t_release_errors.c test/inject.c
test_t_release_errors_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_release_errors_LDADD = $(INJECTED_LIBRARY)
test_t_release_errors_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_release_race_SOURCES = test/t_release_race.c test/inject.c
test_t_release_race_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_release_race_LDADD = $(INJECTED_LIBRARY)
test_t_release_race_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)
test_t_seccomp_LDADD = $(LINK_LIBRARY)
test_t_seccomp_LDFLAGS = $(LINK_IN_PLACE)
test_t_signals_LDADD = $(LINK_LIBRARY)
test_t_signals_LDFLAGS = $(LINK_IN_PLACE)
test_t_shared_LDADD = $(LINK_LIBRARY)
test_t_shared_LDFLAGS = $(LINK_IN_PLACE)
test_t_sparse_LDADD = $(LINK_LIBRARY)
test_t_sparse_LDFLAGS = $(LINK_IN_PLACE)
test_t_start_LDADD = $(LINK_LIBRARY)
test_t_start_LDFLAGS = $(LINK_IN_PLACE)
test_t_stats_LDADD = $(LINK_LIBRARY)
test_t_stats_LDFLAGS = $(LINK_IN_PLACE)
test_t_stats_report_LDADD = $(LINK_LIBRARY)
test_t_stats_report_LDFLAGS = $(LINK_IN_PLACE)
test_t_static_archive_SOURCES = test/t_static.c
test_t_static_archive_LDADD = libpmdalloc.a
test_t_static_archive_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_static_cxx_SOURCES = test/t_static_cxx.cc
test_t_static_cxx_CXXFLAGS = $(AM_CXXFLAGS) -std=c++17
test_t_static_cxx_LDADD = libpmdalloc.a
test_t_static_cxx_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_static_object_SOURCES = test/t_static.c
test_t_static_object_LDADD = pmdalloc.o
test_t_static_object_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_tails_LDADD = $(LINK_LIBRARY)
test_t_tails_LDFLAGS = $(LINK_IN_PLACE)
test_t_thp_LDADD = $(LINK_LIBRARY)
test_t_thp_LDFLAGS = $(LINK_IN_PLACE)
test_t_thread_exit_LDADD = $(LINK_LIBRARY)
test_t_thread_exit_LDFLAGS = $(LINK_IN_PLACE)
test_t_threads_LDADD = $(LINK_LIBRARY)
test_t_threads_LDFLAGS = $(LINK_IN_PLACE)
test_t_trace_damage_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
test_t_turns_LDADD = $(LINK_LIBRARY)
test_t_turns_LDFLAGS = $(LINK_IN_PLACE)
test_t_vmas_CPPFLAGS = $(AM_CPPFLAGS) -DLIBRARY='"$(abs_top_builddir)/.libs/libpmdalloc.so"'
test_t_vmas_LDADD = $(LINK_LIBRARY)
test_t_vmas_LDFLAGS = $(LINK_IN_PLACE)

test_t_waiting_SOURCES = test/t_waiting.c test/inject.c
test_t_waiting_CPPFLAGS = $(INJECTED_CPPFLAGS)
test_t_waiting_LDADD = $(INJECTED_LIBRARY)
test_t_waiting_LDFLAGS = $(AM_LDFLAGS) $(STATIC_UNLESS_SANITIZED)

# Sees the counters of the library's parts, which the library hides.
test_print_stats_LDADD = libpmdalloc-parts.a $(LIBURING)

# test/doctor.sh runs programs behind filters.
if OVERRIDE
if !SANITIZED
check_PROGRAMS += test/sandboxed
TESTS += test/doctor.sh
endif
endif
EXTRA_DIST += test/doctor.sh

# test/buggy and test/traced are run under a preloaded library.
test_traced_CFLAGS = $(AM_CFLAGS) -fno-builtin
test_buggy_CFLAGS = $(AM_CFLAGS) -g -O0 -fno-builtin

# Each case of abuse in a process of its own, in each mode; `make check-abuse` beside the other allocators that are installed.
test_abuse_SOURCES = test/abuse.cc
test_abuse_CXXFLAGS = $(AM_CXXFLAGS) -std=c++17 -fsized-deallocation
if OVERRIDE
if !SANITIZED
check_PROGRAMS += test/abuse
TESTS += test/abuse.sh test/modes.sh
endif
endif
EXTRA_DIST += test/abuse.cc test/asan.c test/abuse.sh test/modes.sh test/abuse.expected

check-abuse: test/abuse$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/abuse.py --programs $(abs_top_builddir)/test --ours $(abs_top_builddir)/.libs/libpmdalloc.so

.PHONY: check-abuse

# Ten thousand forks, which take minutes.
check-fork: test/t_fork$(EXEEXT)
	FORKS=10000 CHECK_SLOWER=4 test/t_fork

# Five thousand fresh processes.
check-fresh: libpmdalloc.la
	PROCESSES=5000 PMD_BUILD='$(abs_top_builddir)' srcdir='$(srcdir)' $(SHELL) $(srcdir)/test/fresh.sh

# 10^8 calls for each way of releasing; in a build with --enable-sanitizer=thread as well.
check-race: test/t_release_race$(EXEEXT)
	OPS=100000000 CHECK_SCALE=1 CHECK_SLOWER=1000 test/t_release_race

# 10^9 operations in each setting.
check-vmas: test/t_vmas$(EXEEXT)
	OPS=1000000000 CHECK_SLOWER=1000 test/t_vmas

# Every errno of every call at every step.
check-errors: test/t_release_errors$(EXEEXT)
	EVERY=1 CHECK_SLOWER=10 test/t_release_errors

.PHONY: check-fork check-fresh check-race check-vmas check-errors

# Free memory is not swapped out: in a machine of its own, in QEMU.
if !SANITIZED
EXTRA_PROGRAMS += test/pressure_guest
test_pressure_guest_LDADD = libpmdalloc.a
test_pressure_guest_LDFLAGS = $(AM_LDFLAGS) -all-static
CLEANFILES += $(EXTRA_PROGRAMS)
FOR_THE_MACHINE = test/pressure_guest$(EXEEXT) test/t_pressure_cgroup$(EXEEXT) test/t_pressure_wait$(EXEEXT)
endif
EXTRA_DIST += test/systemd.sh test/systemd_drill.sh test/pressure.sh test/pressure_guest.c test/qemu/machine.sh

check-pressure: $(FOR_THE_MACHINE)
	$(AM_V_at)$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/test/pressure.sh || test $$? -eq 77

# systemctl stop and restart, in such a machine.
check-systemd: bench/exit$(EXEEXT) libpmdalloc.la
	$(AM_V_at)$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/test/systemd.sh || test $$? -eq 77

.PHONY: check-pressure check-systemd

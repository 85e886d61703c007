# SPDX-License-Identifier: MIT
# Kernels booted in QEMU, with tests inside: `make check-kernel`. Its short form, the oldest and the newest kernel, is
# part of `make check`, where test/configs.sh leaves it to the main build.
EXTRA_DIST += kernel/build-kernel kernel/check-kernel test/check_kernel.sh test/check_kernel_report.sh \
	test/phase_guest.c
TESTS += test/check_kernel.sh test/check_kernel_report.sh

# Linked so that they need nothing in the machine; what is linked so anyway is taken as it is.
if !SANITIZED
BOOTED_STATICALLY = \
	test/phase_guest \
	test/t_calls_denied_static \
	test/t_exhausted_static \
	test/t_exit_static \
	test/t_fork_kinds_static \
	test/t_fork_static \
	test/t_overcommit_static \
	test/t_release_static
check_PROGRAMS += $(BOOTED_STATICALLY)
BOOTED_TESTS = $(BOOTED_STATICALLY) $(INJECTED_TESTS) test/t_exit_matrix_static test/t_lifecycle_static
endif
test_phase_guest_LDADD = libpmdalloc-parts.a $(LIBURING)
test_phase_guest_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_calls_denied_static_SOURCES = test/t_calls_denied.c
test_t_calls_denied_static_LDADD = libpmdalloc.a
test_t_calls_denied_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_exhausted_static_SOURCES = test/t_exhausted.c
test_t_exhausted_static_LDADD = libpmdalloc.a
test_t_exhausted_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_exit_static_SOURCES = test/t_exit.c
test_t_exit_static_LDADD = libpmdalloc.a
test_t_exit_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_fork_kinds_static_SOURCES = test/t_fork_kinds.c
test_t_fork_kinds_static_LDADD = libpmdalloc.a
test_t_fork_kinds_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_fork_static_SOURCES = test/t_fork.c
test_t_fork_static_LDADD = libpmdalloc.a
test_t_fork_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_overcommit_static_SOURCES = test/t_overcommit.c
test_t_overcommit_static_LDADD = libpmdalloc.a
test_t_overcommit_static_LDFLAGS = $(AM_LDFLAGS) -all-static
test_t_release_static_SOURCES = test/t_release.c
test_t_release_static_LDADD = libpmdalloc.a
test_t_release_static_LDFLAGS = $(AM_LDFLAGS) -all-static

# KERNELS='bookworm built', KERNELS=variants, or ARGS='--without IO_URING', for others than usual.
check-kernel: $(BOOTED_TESTS) LD_PRELOAD/pmdalloc-doctor$(EXEEXT) libpmdalloc.la
	$(AM_V_at)$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/kernel/check-kernel $(ARGS) $(KERNELS) || test $$? -eq 77

# What is swapped out while a process ends.
if !SANITIZED
EXTRA_PROGRAMS += test/exit_swap_guest
test_exit_swap_guest_LDADD = libpmdalloc.a
test_exit_swap_guest_LDFLAGS = $(AM_LDFLAGS) -all-static
FOR_EXIT_SWAP = test/exit_swap_guest$(EXEEXT)
endif
EXTRA_DIST += test/exit_swap.sh test/exit_swap_guest.c

bench-exit-swap: $(FOR_EXIT_SWAP)
	$(AM_V_at)$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/test/exit_swap.sh $(KERNELS) || test $$? -eq 77

distclean-local:
	rm -rf kernels
.PHONY: check-kernel bench-exit-swap

#!/bin/sh
# SPDX-License-Identifier: MIT
# What programs see of their memory does not depend on how much is checked: tests of all entry points, of threads and of forks
# pass with check:strict, without checks, and with every request guarded that may be.
set -eu

export CHECK_SCALE="${CHECK_SCALE:-4}"

for mode in check:strict check:off guard_rate:1; do
	for test in t_calloc t_realloc t_random t_random_threads t_threads t_thread_exit t_fork_kinds t_cxx; do
		[ -x "$PMD_BUILD/test/$test" ] || { echo "there is no $test" >&2; exit 1; }
		status=0
		said=$(PMDALLOC_CONF=$mode "$PMD_BUILD/test/$test" 2>&1) || status=$?
		[ "$status" -eq 0 ] || [ "$status" -eq 77 ] || {
			echo "$test ends with $status under $mode: $said" >&2
			exit 1
		}
	done
done

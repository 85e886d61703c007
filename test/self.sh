#!/bin/sh
# SPDX-License-Identifier: MIT
# Tests of the tests: each must pass under the library, and fail under one that is wrong (see faulty.c). With less work
# than usual, as a fault is either found soon or not at all.
set -eu

dir=${PMD_BUILD:-.}
faulty=$dir/.libs/libfaulty.so
missed=0

if [ ! -e "$faulty" ]; then
	echo "skipped: this build has no faulty allocator ($faulty)" >&2
	exit 77
fi

# expect_failure FAULT TEST: TEST must not pass under FAULT.
expect_failure() {
	status=0
	FAULT=$1 FORKS=400 CHECK_SCALE=4 LD_PRELOAD=$faulty "$dir/test/$2" >/dev/null 2>&1 || status=$?
	case $status in
	77)
		echo "$2 is skipped in this build: nothing is known about it" >&2
		;;
	0 | 126 | 127)
		echo "$2 ends with $status under fault '$1'" >&2
		missed=$((missed + 1))
		;;
	esac
}

# The fault that is none: what fails without a fault would prove nothing.
for test in t_api t_calloc t_realloc t_random t_random_threads t_threads t_fortify; do
	FAULT='' CHECK_SCALE=4 LD_PRELOAD=$faulty "$dir/test/$test" >/dev/null || [ $? -eq 77 ]
done

for test in t_api t_calloc t_random t_random_threads; do
	expect_failure calloc "$test"
done
for test in t_random t_random_threads t_threads; do
	expect_failure overlap "$test"
done
for test in t_realloc t_random t_random_threads; do
	expect_failure realloc "$test"
done
for test in t_random t_fortify; do
	expect_failure usable "$test"
done
for test in t_misuse t_sparse t_threads; do
	expect_failure leak "$test"
done
for fault in silent zero align output errno; do
	expect_failure "$fault" t_api
done
expect_failure align t_random
expect_failure errno t_random
expect_failure lock t_fork

[ "$missed" -eq 0 ]

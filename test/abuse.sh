#!/bin/sh
# SPDX-License-Identifier: MIT
# Of the abuses of memory in test/abuse.cc each mode finds all but those that test/abuse.expected lists, with a reason.
set -eu

command -v python3 >/dev/null || { echo "skipped: no python3" >&2; exit 77; }

all() {
	timeout -s KILL 300 python3 "${srcdir:-.}/bench/abuse.py" --programs "$PMD_BUILD/test" \
		--ours "$PMD_BUILD/.libs/libpmdalloc.so" --expected "${srcdir:-.}/test/abuse.expected"
}

if [ -n "${PMD_COUNTED:-}" ]; then
	all || { echo "skipped: executed, but the counters' own requests were the first samples" >&2; exit 77; }
else
	all
fi

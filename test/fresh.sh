#!/bin/sh
# SPDX-License-Identifier: MIT
# Fresh processes of many programs under many settings end as they do without the library, and none hangs: each pair
# once, or as many as PROCESSES says (`make check-fresh`: 5,000).
set -eu

dir=${PMD_BUILD:-.}

skip() {
	echo "skipped: $1" >&2
	exit 77
}

[ "${PMD_OVERRIDE:-yes}" = yes ] || skip "this library has only the prefixed names"
command -v python3 >/dev/null || skip "python3 is not installed"
python3 "${srcdir:-.}/test/fresh.py" --processes "${PROCESSES:-132}" "$dir/.libs/libpmdalloc.so"

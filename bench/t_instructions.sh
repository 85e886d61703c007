#!/bin/sh
# SPDX-License-Identifier: MIT
# The fast paths have as many instructions as bench/instructions.expected says, and not more than any peer's.
set -eu
here=${srcdir:-.}/bench

[ "${PMD_OVERRIDE:-yes}" = yes ] || { echo "skipped: this library has only the prefixed names" >&2; exit 77; }
[ "${PMD_SANITIZED:-no}" = no ] || { echo "skipped: this is a sanitizer's build" >&2; exit 77; }
command -v python3 >/dev/null || { echo "skipped: no python3" >&2; exit 77; }

exec timeout -s KILL 300 python3 "$here/instructions.py" --programs "$PMD_BUILD/bench" \
	--ours "$PMD_BUILD/.libs/libpmdalloc.so" --stored "$here/instructions.expected" \
	--compiler "$($PMD_CC --version | sed q)" --flags "$PMD_FLAGS"

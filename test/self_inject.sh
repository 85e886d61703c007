#!/bin/sh
# SPDX-License-Identifier: MIT
# Tests of the tests that stand between the library and the kernel: each must find the bug that is injected for it.
set -eu

dir=${PMD_BUILD:-.}
found=0
missed=0

# expect_failure FAULT TEST CONF: TEST must fail under FAULT and the options CONF, by a check of its own or, as what is lost
# may be part of a list of free blocks, of the library's or of the program's own pointers, by one of the library's, by
# SIGSEGV, or by what a sanitizer says before that could come. What is lost must be in use just then: where little is
# done, as under a sanitizer, that may take some tries. The fault went unnoticed with 0, or 3 from t_release_errors, which
# says with it that there were fewer calls than INJECT names.
expect_failure() {
	tries=0
	status=0
	while { [ "$status" -eq 0 ] || [ "$status" -eq 3 ]; } && [ "$tries" -lt 5 ]; do
		tries=$((tries + 1))
		status=0
		said=$(FAULT=$1 PMDALLOC_CONF=$3 "$dir/test/$2" "$3" 2>&1) || status=$?
	done
	case $status:$said in
	1:*": failed: "* | 134:*"pmdalloc: "* | 139:* | 1:*": runtime error: "* | 1:*"ERROR: AddressSanitizer: "*)
		found=$((found + 1))
		;;
	77:*)
		echo "$2 is skipped under options '$3': nothing is known about it" >&2
		;;
	*)
		echo "$2 ends with $status under fault '$1', options '$3': $said" >&2
		missed=$((missed + 1))
		;;
	esac
}

# The kernel drops a region after it has said that it did.
for conf in decay_ms:0 decay_ms:2,background:off release:process_madvise,decay_ms:2 release:madvise,decay_ms:2 \
	release:remap,decay_ms:2; do
	expect_failure late t_release_race "$conf"
done

# The kernel does not drop it at all.
for conf in release:madvise,decay_ms:2 release:process_madvise,decay_ms:2; do
	INJECT=0,0,1000,0 expect_failure lie t_release_errors "$conf"
done

echo "$found faults found, $missed missed"
[ "$missed" -eq 0 ] && [ "$found" -gt 0 ]

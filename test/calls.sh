#!/bin/sh
# SPDX-License-Identifier: MIT
# Every system call that the library makes is in the table of test/calls.h, which its tests go through; and no other is.
set -eu

top=${srcdir:-.}
made=$(grep -rhoE '\bSYS_[a-z0-9_]+' "$top/src" | sort -u | sed 's/^SYS_//')
listed=$(sed -n 's/^	CALL(\([a-z0-9_]*\),.*/\1/p' "$top/test/calls.h" | sort -u)
wrong=0

# No failure: these do not return.
for name in $made; do
	case $name in
	exit | exit_group) continue ;;
	esac
	if ! echo "$listed" | grep -qx "$name"; then
		echo "$name is called in src/, and is not in test/calls.h" >&2
		wrong=1
	fi
done
for name in $listed; do
	if ! echo "$made" | grep -qx "$name"; then
		echo "$name is in test/calls.h, and nobody in src/ calls it" >&2
		wrong=1
	fi
done
echo "$(echo "$listed" | wc -l) system calls"
[ "$wrong" -eq 0 ] && [ -n "$made" ]

#!/bin/sh
# SPDX-License-Identifier: MIT
# What src/start.ld puts first are functions of the library; and in the library that was built they are first.
set -eu
srcdir=${srcdir:-$(dirname "$0")/..}
script=$srcdir/src/start.ld
library=${PMD_BUILD:-.}/.libs/libpmdalloc.so

names=$(sed '1,/^SECTIONS/d' "$script" | grep -o '\.text\.[a-z_]*' | sed 's/^\.text\.//' | grep -vxE 'first|startup|exit' | sort -u)
[ "$(echo "$names" | wc -l)" -gt 30 ] || { echo "start: $script names hardly any function" >&2; exit 1; }
for name in $names; do
	grep -rqE "^[a-z_].*[ *]$name\(" --include='*.c' "$srcdir/src" "$srcdir/LD_PRELOAD" ||
		{ echo "start: $script names $name, which is no function of the library" >&2; exit 1; }
done

if ! command -v readelf >/dev/null || [ ! -e "$library" ] || ! readelf -SW "$library" | grep -q ' \.text\.first '; then
	echo "skipped: the library was linked without src/start.ld" >&2
	exit 77
fi
readelf -SW "$library" | awk '
	{ for (i = 1; i < NF; i++) if ($i ~ /^\.(rodata|text\.first|text|eh_frame)$/) at[$i] = ++n }
	END {
		if (at[".rodata"] < at[".text.first"] && at[".text.first"] < at[".text"] && at[".text"] < at[".eh_frame"])
			exit 0
		print "start: what a start needs is not first in the library"
		exit 1
	}' >&2

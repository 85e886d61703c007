#!/bin/sh
# SPDX-License-Identifier: MIT
# The library exports what is documented and nothing else, needs only the C library, has no text relocations, and its
# thread-local storage is initial-exec and small enough for dlopen.
set -eu

dir=${PMD_BUILD:-.}
source=${srcdir:-.}/test
library=$dir/.libs/libpmdalloc.so
tls_most=512
found=symbols-test.$$
all=symbols-all.$$
trap 'rm -f "$found" "$all"' EXIT

fail() {
	echo "$library: $1" >&2
	exit 1
}

if [ "${PMD_SANITIZED:-no}" = yes ]; then
	echo "skipped: a sanitizer adds symbols and libraries of its own" >&2
	exit 77
fi

expected=$source/symbols.expected
shared=$source/symbols-shared.expected # what only the shared library can stand before
[ "${PMD_OVERRIDE:-yes}" = yes ] || {
	expected=$source/symbols-prefixed.expected
	shared=/dev/null
}
LC_ALL=C sort "$expected" "$shared" >"$all"

nm -D --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >"$found"
[ -s "$found" ] || fail "exports nothing"
diff -u "$all" "$found" >&2 || fail "exports other symbols than $expected and $shared list"

# Each documented prefixed function is exported.
sed -n 's/^PMD_API.*[ *]\(pmd_[a-z_]*\)(.*/\1/p' "${srcdir:-.}/include/pmdalloc/pmdalloc.h" | while read -r name; do
	grep -qx "$name" "$found" || fail "$name is in the header, but not exported"
done

needed=$(readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux' | tr '\n' ' ')
[ "$needed" = "libc.so.6 " ] || fail "needs $needed"

# A reference to what only newer C libraries have keeps older ones from loading it, even a weak one.
if nm -D --undefined-only "$library" | grep _dl_find_object >&2; then
	fail "cannot be loaded with a C library before 2.35"
fi

if readelf -dW "$library" | grep -q TEXTREL; then
	fail "has text relocations"
fi
readelf -dW "$library" | grep -q STATIC_TLS || fail "its thread-local storage is not initial-exec"
if readelf -rW "$library" | grep -E 'DTPMOD|TLSDESC' >&2; then
	fail "its thread-local storage is dynamic"
fi
size=$(readelf -lW "$library" | awk '$1 == "TLS" { print $6 }')
[ $((${size:-0})) -le $tls_most ] || fail "its thread-local storage takes $((size)) bytes, more than $tls_most"

# The static forms define the same names, and no others that a program's own could collide with.
for object in "$dir/pmdalloc.o" "$dir/libpmdalloc.a"; do
	nm --defined-only --extern-only "$object" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort >"$found"
	diff -u "$expected" "$found" >&2 || fail "$object defines other symbols than $expected lists"
done

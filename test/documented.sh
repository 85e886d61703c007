#!/bin/sh
# SPDX-License-Identifier: MIT
# Every public function and option is in the manual, every public declaration has a comment, and the manual is lint-clean.
set -eu
srcdir=${srcdir:-$(dirname "$0")/..}
manual=doc/pmdalloc.3
header=$srcdir/include/pmdalloc/pmdalloc.h
bad=0

complain()
{
	echo "documented: $*"
	bad=1
}

[ -r "$manual" ] || { echo "documented: run this in the build directory"; exit 1; }

functions=$(sed -n 's/^PMD_API .*[ *]\(pmd_[a-z0-9_]*\)(.*/\1/p' "$header")
[ -n "$functions" ] || complain "no function was found in $header"
for function in $functions; do
	count=$(sed 's/\\-/-/g' "$manual" | grep -c "\\b$function\\b" || true)
	[ "$count" -ge 2 ] || complain "$function is not both in the synopsis and in the text of pmdalloc(3)"
done

options=$(sed -n 's/^[A-Z]*(\([a-z0-9_]*\), .*/\1/p' "$srcdir/src/conf/options.def")
[ -n "$options" ] || complain "no option was found in options.def"
for page in doc/pmdalloc.3 doc/pmdalloc-run.1; do
	[ -e "$page" ] || continue
	for option in $options; do
		grep -q "^\\.BR $option:" "$page" || complain "option $option is not in $page"
	done
done

# What the help of a program names is in its page.
for program in pmdalloc-trace pmdalloc-replay; do
	[ -x "trace/$program" ] || continue
	named=$("trace/$program" --help | sed -n 's/^ *\(-o\|--[a-z]*\).*/\1/p')
	[ -n "$named" ] || complain "$program --help names no option"
	for option in $named; do
		sed 's/\\-/-/g' "doc/$program.1" | grep -q -e "^\.B[RI]* \"*$option" || complain "$option is not in $program(1)"
	done
done

# A declaration that follows an empty line has no comment of its own.
awk '
	/^PMD_API/ && before == "" { print "documented: no comment: " $0; bad = 1 }
	{ before = $0 }
	END { exit bad }' "$header" || bad=1

if command -v groff >/dev/null; then
	for page in doc/*.[13]; do
		said=$(groff -man -ww -z -Tutf8 "$page" 2>&1) || true
		[ -z "$said" ] || complain "$page: $said"
	done
fi
exit $bad

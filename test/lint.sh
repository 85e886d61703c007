#!/bin/bash
# SPDX-License-Identifier: MIT
# The form of the sources: clang-format over all C and C++, shellcheck over all scripts. Usage: test/lint.sh format|shell
set -euo pipefail
cd "$(dirname "$0")/.."

# Files that belong to the project, in a clone as in an unpacked tarball; builds and generated files are left out.
sources()
{
	find . \( -name .git -o -name 'build*' -o -name autom4te.cache -o -name m4 \) -prune -o -type f "$@" -print
}

check_format()
{
	local files
	mapfile -t files < <(sources \( -name '*.c' -o -name '*.h' -o -name '*.cc' \))
	[ ${#files[@]} -gt 0 ] || { echo "lint: no C file was found"; return 1; }
	clang-format --dry-run -Werror "${files[@]}"
	echo "lint: ${#files[@]} files are formatted"
}

check_shell()
{
	local file files=()
	while read -r file; do
		case $(head -n 1 "$file" | tr -d '\0') in
		'#!/bin/sh'* | '#!/bin/bash'*) files+=("$file") ;;
		esac
	done < <(sources ! -name configure ! -name 'config.*' ! -name libtool ! -name '*.log')
	[ ${#files[@]} -gt 0 ] || { echo "lint: no script was found"; return 1; }
	shellcheck -x -P SCRIPTDIR "${files[@]}"
	echo "lint: ${#files[@]} scripts are clean"
}

case ${1-} in
format) check_format ;;
shell) check_shell ;;
*)
	echo "usage: lint.sh format|shell" >&2
	exit 2
	;;
esac

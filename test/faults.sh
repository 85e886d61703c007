#!/bin/sh
# SPDX-License-Identifier: MIT
# The fault matrix in short (`make check-faults` is all of it), and that it finds what it is there to find.
set -eu

dir=${PMD_BUILD:-.}
top=${srcdir:-.}
matrix=$top/test/faults.py

skip() {
	echo "skipped: $1" >&2
	exit 77
}

command -v python3 >/dev/null || skip "python3 is not installed"

# As from `make check-faults FAULTS=--short`: make puts its variables into the environment.
FAULTS=--short python3 "$matrix" --source "$top" --short "$dir/test"

# expect KIND VERDICT [SECONDS]: a program that does wrong after a fault is found.
expect() {
	status=0
	said=$(FAULTS_BUG=$1 python3 "$matrix" --source "$top" --short --site os_random \
		--seconds "${3:-100}" "$dir/test" 2>&1) || status=$?
	case $status:$said in
	1:*": $2, status "*) ;;
	*)
		echo "the bug '$1' is not found as '$2' ($status): $said" >&2
		exit 1
		;;
	esac
}

expect errno 'errno'
expect zero 'not zero'
expect crash 'crashed'
expect hang 'hung' 5

#!/bin/bash
# SPDX-License-Identifier: MIT
# How many pages are swapped out while a process with 256 MiB ends on a machine of 300 MiB with swap on zram, with and without
# a handoff, on a kernel before and on one after "mm: shrink skip folio mapped by an exiting process" (6.12).
# Usage: exit_swap.sh [SUITE]...   Debian's suites, for their kernels: bookworm (6.1) and trixie-backports (7.3) if not told
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=test/qemu/machine.sh
. "$here/qemu/machine.sh"
build=${PMD_BUILD:-$PWD}
[ -x "$build/test/exit_swap_guest" ] || machine_skip "this build has no test/exit_swap_guest"
[ $# -gt 0 ] || set -- bookworm trixie-backports

# shellcheck disable=SC2016 # for the shell in the machine
measure='
	echo 512M >/sys/block/zram0/disksize && mkswap /dev/zram0 >/dev/null && swapon /dev/zram0 || exit
	echo "Linux $(uname -r), $(sed -n "s/^MemTotal: *//p" /proc/meminfo) of memory"
	echo 1 >/proc/sys/vm/overcommit_memory
	echo "                                                           pages swapped out         parent waits"
	echo "      options                                           least     median       most           ms"
	export CHECK_SLOWER=10
	despite=handoff_despite:memory
	for options in handoff:off handoff:auto handoff:armed handoff:auto,$despite handoff:armed,$despite; do
		./exit_swap_guest exit thp:never,$options || exit
	done
	for options in handoff:off handoff:armed handoff:armed,$despite; do
		./exit_swap_guest kill thp:never,$options || exit
	done'

status=0
for suite in "$@"; do
	(
		machine_begin
		machine_suite "$suite"
		machine_kernel linux-image-cloud-amd64
		machine_modules zram lzo-rle
		machine_files "$build/test/exit_swap_guest"
		machine_run 500 300 "$measure"
	) || { s=$?; [ $s -eq 77 ] || status=$s; }
done
exit $status

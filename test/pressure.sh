#!/bin/bash
# SPDX-License-Identifier: MIT
# Memory that the program has freed is not swapped out, with pressure:on, and is without: shown in a small machine with
# cgroups and swap on zram, so that this one needs neither and is not disturbed.
# Usage: pressure.sh [KERNEL_PACKAGE [COMMAND_IN_THE_MACHINE]]
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=test/qemu/machine.sh
. "$here/qemu/machine.sh"
build=${PMD_BUILD:-$PWD}
[ -x "$build/test/pressure_guest" ] || machine_skip "this build has no test/pressure_guest"

# shellcheck disable=SC2016 # for the shell in the machine
prepare='
	echo 1G >/sys/block/zram0/disksize && mkswap /dev/zram0 >/dev/null && swapon /dev/zram0 || exit
	n=$(cat /sys/class/zram-control/hot_add) && echo 256M >/sys/block/zram$n/disksize || exit
	export PRESSURE_CACHE=/dev/zram$n
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control || exit
	uname -r'

# shellcheck disable=SC2016
everything='
	status=0
	for test in t_pressure_wait t_pressure_cgroup; do
		./$test || { status=1; echo "$test: failed"; }
	done
	./pressure_guest
	./pressure_guest cgroup small pressure:on || status=1
	for pressure in on off; do
		./pressure_guest cgroup small pressure:$pressure,decay_ms:100000 || status=1
		./pressure_guest cgroup small pressure:$pressure,decay_ms:-1 || status=1
		./pressure_guest cgroup large pressure:$pressure,decay_ms:-1 || status=1
		./pressure_guest machine small pressure:$pressure,decay_ms:-1 || status=1
	done
	exit $status'

machine_begin
machine_kernel "${1:-linux-image-cloud-amd64}"
machine_modules zram lzo-rle
machine_files "$build"/test/{pressure_guest,t_pressure_wait,t_pressure_cgroup}
machine_run 400 1024 "$prepare
${2:-$everything}"

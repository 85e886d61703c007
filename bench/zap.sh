#!/bin/bash
# SPDX-License-Identifier: MIT
# Latency of munmap and madvise: as the kernel's developers looked at it, stress-ng's mmap under bpftrace, where both
# and the tracepoints are there (as root); always by bench/zap, which times its own calls; and by bench/zap in QEMU
# under kernels with and without page-table reclaim, of which two differ in nothing else. The machine should be idle.
# Usage: zap.sh [KERNEL]...   in the build directory. KERNEL is one of check-kernel's, or "none"; without any: its usual
#        four, and built-PT_RECLAIM. ROUNDS and SECONDS_TRACED in the environment say how long the first two take.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=test/qemu/machine.sh
. "$here/../test/qemu/machine.sh"
build=${PMD_BUILD:-$PWD}
rounds=${ROUNDS:-16}
seconds=${SECONDS_TRACED:-5}
tracing=/sys/kernel/tracing

# Why bpftrace cannot be used; empty if it can.
lack_of_tracing()
{
	if [ "$(id -u)" -ne 0 ]; then
		echo "only root may trace"
	elif ! command -v bpftrace >/dev/null; then
		echo "there is no bpftrace"
	elif ! command -v stress-ng >/dev/null; then
		echo "there is no stress-ng"
	elif [ ! -e "$tracing/events/syscalls/sys_enter_munmap" ]; then
		echo "this kernel has no tracepoints of system calls"
	fi
}

# trace SYSTEM_CALL, while stress-ng's mmap runs
trace()
{
	stress-ng --quiet --mmap 1 --mmap-bytes 1G --timeout $((seconds + 5)) &
	sleep 1
	bpftrace -e "tracepoint:syscalls:sys_enter_$1 /strncmp(comm, \"stress-ng\", 9) == 0/ { @start[tid] = nsecs; }
		tracepoint:syscalls:sys_exit_$1 /@start[tid]/ { @$1 = hist(nsecs - @start[tid]); delete(@start[tid]); }
		interval:s:$seconds { exit(); } END { clear(@start); }" 2> >(grep -v RLIMIT_MEMLOCK >&2)
	wait
}

# In a mount namespace of its own, where tracefs is mounted if the machine has not done so.
trace_both()
{
	local lack
	[ -e "$tracing/events" ] || mount -t tracefs tracefs "$tracing" 2>/dev/null
	lack=$(lack_of_tracing)
	if [ -n "$lack" ]; then
		echo "not traced: $lack"
		return
	fi
	trace munmap
	trace madvise
}

in_machine()
(
	machine_begin
	machine_named "$1"
	machine_files "$build/bench/zap"
	machine_libraries "$build/bench/zap"
	# shellcheck disable=SC2016 # for the shell in the machine
	machine_run 300 1024 'echo "$(uname -r), in QEMU"; ./zap 2'
)

if [ "${1-}" = --trace ]; then
	trace_both
	exit
fi
[ $# -gt 0 ] || set -- bookworm trixie sid built built-PT_RECLAIM
for kernel in "$@"; do
	[ "$kernel" = none ] || machine_check_name "$kernel" || { echo "zap.sh: '$kernel' is no kernel" >&2; exit 1; }
done
echo "== stress-ng --mmap 1 --mmap-bytes 1G, Linux $(uname -r)"
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
	unshare -m --propagation private "$0" --trace
else
	trace_both
fi
echo "== bench/zap $rounds, Linux $(uname -r)"
"$build/bench/zap" "$rounds" || exit
for kernel in "$@"; do
	[ "$kernel" != none ] || continue
	echo "== $kernel"
	in_machine "$kernel"
	status=$?
	[ $status -eq 0 ] || [ $status -eq 77 ] || exit $status
done

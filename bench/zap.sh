#!/bin/bash
# SPDX-License-Identifier: MIT
# Latency of munmap and madvise: as the kernel's developers looked at it, stress-ng's mmap under bpftrace, where both and the
# tracepoints are there (as root), and always by bench/zap, which times its own calls.
# Usage: zap.sh [ROUNDS], in the build directory
set -uo pipefail

tracepoint=events/syscalls/sys_enter_munmap
seconds=5

can_trace()
{
	command -v bpftrace >/dev/null && command -v stress-ng >/dev/null || return
	[ -e "/sys/kernel/tracing/$tracepoint" ] || [ -e "/sys/kernel/debug/tracing/$tracepoint" ]
}

# trace SYSTEM_CALL
trace()
{
	stress-ng --quiet --mmap 1 --mmap-bytes 1G --timeout $((seconds + 2)) &
	bpftrace -e "tracepoint:syscalls:sys_enter_$1 /strncmp(comm, \"stress-ng\", 9) == 0/ { @start[tid] = nsecs; }
		tracepoint:syscalls:sys_exit_$1 /@start[tid]/ { @$1 = hist(nsecs - @start[tid]); delete(@start[tid]); }
		interval:s:$seconds { exit(); } END { clear(@start); }"
	wait
}

if can_trace; then
	trace munmap
	trace madvise
else
	echo "bpftrace, stress-ng or the tracepoints of system calls are not there: own timing only"
fi
exec bench/zap "${1:-16}"

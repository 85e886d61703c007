#!/bin/bash
# SPDX-License-Identifier: MIT
# stress-ng's malloc, mmap, fork and exec stressors, each verifying what it does.
. "$(dirname "$0")/common.sh"
set_up stress-ng
seconds=$((full ? 30 : 3))
cd "$work"
chmod 1777 "$work"
# The exec stressor refuses to run as root.
as_nobody=()
[ "$(id -u)" -ne 0 ] || as_nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
for stressor in malloc mmap fork exec; do
	extra=()
	[ "$stressor" != malloc ] || extra=(--malloc-bytes 256M --malloc-pthreads 2)
	[ "$stressor" != mmap ] || extra=(--mmap-bytes 128M)
	under ours "${as_nobody[@]}" stress-ng --"$stressor" 2 "${extra[@]}" --verify --timeout "$seconds" --metrics-brief --oomable \
		--temp-path "$work" >out 2>&1 </dev/null || { cat out; fail "$stressor: status $?"; }
	check_silent out
	if grep -q 'fail:\|unsuccessful\|FAILED' out && ! grep -q 'failed: 0' out; then
		cat out
		fail "$stressor complains"
	fi
	grep -q "$stressor .*[1-9]" out || { cat out; fail "$stressor did nothing"; }
done
check_served stress-ng --version
say "malloc, mmap, fork, exec: $seconds s each"

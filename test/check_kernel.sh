#!/bin/bash
# SPDX-License-Identifier: MIT
# The oldest and the newest of Debian's kernels, booted in QEMU with the tests of releases, handoffs, forks and faults.
[ "${PMD_OVERRIDE-yes}${PMD_SANITIZED-no}" = yesno ] || { echo "skipped: left to the main build" >&2; exit 77; }
exec "$(dirname "$0")/../kernel/check-kernel" --short

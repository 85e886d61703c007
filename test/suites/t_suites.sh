#!/bin/sh
# SPDX-License-Identifier: MIT
# The runner of make check-suites.
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
exec python3 "$(dirname "$0")/t_suites.py"

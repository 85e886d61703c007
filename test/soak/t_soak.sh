#!/bin/sh
# SPDX-License-Identifier: MIT
# What the soak judges by, and a moment of it in which a byte is lost.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
python3 "$here/t_judge.py"
"$here/self.sh" data

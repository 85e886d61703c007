# SPDX-License-Identifier: MIT
EXTRA_DIST += demo/run.sh demo/parent.c demo/no-jemalloc.c

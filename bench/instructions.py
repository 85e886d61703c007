#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the instructions of a malloc and free pair by callgrind: loop and calls are included, start-up is not."""

import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import allocators  # noqa: E402

# (kind, size): the most that pmdalloc may need.
BARS = {("hot", 64): 48, ("batch", 64): 48, ("hot", 1024): 75, ("batch", 1024): 75}
FEW, MANY = 100000, 300000


def collected(program, kind, size, pairs, path):
    """Instructions of a whole run."""
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, kind, str(size),
                           str(pairs)], env=allocators.environment(path), capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"{program} {kind} {size} under {path or 'the C library'}: {done.stderr.strip()}")
    return int(found.group(1))


def per_pair(program, kind, size, path):
    """What a pair costs once all is warm: of two runs that differ in length only, the difference."""
    few = collected(program, kind, size, FEW, path)
    return (collected(program, kind, size, MANY, path) - few) / (MANY - FEW)


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--sizes", default="64,1024", help="block sizes (default 64,1024)")
    arguments = p.parse_args()
    program = os.path.join(arguments.programs, "pairs")
    paths = allocators.chosen(arguments)
    cases = [(kind, int(size)) for size in arguments.sizes.split(",") for kind in ("hot", "batch")]
    counts = {n: {c: per_pair(program, *c, path) for c in cases} for n, path in paths.items()}
    allocators.table(["instructions per pair", *(f"{kind} {size} B" for kind, size in cases)],
                     [[n, *(f"{counts[n][c]:.1f}" for c in cases)] for n in paths])
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({n: {f"{k}-{s}": v for (k, s), v in c.items()} for n, c in counts.items()}, out, indent=1)
            out.write("\n")
    if allocators.OURS not in paths:
        return 0
    ours = counts[allocators.OURS]
    fine = allocators.judge([(f"{c[0]} {c[1]} B", ours[c], BARS[c]) for c in cases if c in BARS])
    return 1 if arguments.check and not fine else 0


if __name__ == "__main__":
    sys.exit(main())

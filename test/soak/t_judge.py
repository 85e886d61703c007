#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Test of judge.py: what grows by one percent a cycle is found in few cycles, what only varies is not."""

import random
import sys

sys.dont_write_bytecode = True
import judge  # noqa: E402

TYPICAL = {"anon_kb": 60000, "rss_kb": 64000, "pte_kb": 1200, "vmas": 120, "descriptors": 20, "threads": 5}
NOISE = 0.01  # of what is typical, upwards and downwards
RUNS = 200
bad = 0


def expect(what, true):
    global bad
    if not true:
        print(f"judge: {what}")
        bad += 1


def marks(cycles, draw, growing="", rate=0.0):
    """A mark a cycle: typical figures, of which one grows by RATE of itself a cycle."""
    return [{n: round(t * (1 + draw.uniform(-NOISE, NOISE) + (c * rate if n == growing else 0)))
             for n, t in TYPICAL.items()} for c in range(cycles)]


def growing(found):
    return [g.what for g in found if g.grows]


def with_warm_up(points):
    """The first fifth rises from half."""
    count = len(points) // 5
    return [{n: v * (count + c) // (2 * count) for n, v in p.items()} if c < count else p
            for c, p in enumerate(points)]


draw = random.Random(1)
for run in range(RUNS):
    cycles = draw.randint(judge.CYCLES, 200)
    flat = marks(cycles, draw)
    expect(f"{growing(judge.judge(flat))} of {cycles} flat cycles grow", not growing(judge.judge(flat)))
    expect("a warm-up is taken for growth", not growing(judge.judge(with_warm_up(flat))))
    for name, rate in (("anon_kb", 0.01), ("rss_kb", 0.02)):
        cycles = draw.randint(judge.CYCLES + 5, 200)
        found = growing(judge.judge(marks(cycles, draw, name, rate)))
        expect(f"{name} grows by {rate} of it in each of {cycles} cycles: {found}", found == [name])
for name, more in (("anon_kb", 600), ("pte_kb", 16), ("vmas", 4), ("descriptors", 1), ("threads", 1)):
    leak = [{n: t + (c * more if n == name else 0) for n, t in TYPICAL.items()} for c in range(judge.CYCLES)]
    expect(f"{name} grows by {more} a cycle: {growing(judge.judge(leak))}", growing(judge.judge(leak)) == [name])
expect("too few cycles are judged", not judge.judge(marks(judge.CYCLES - 1, draw)))
sys.exit(1 if bad else 0)

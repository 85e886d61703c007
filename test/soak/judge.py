# SPDX-License-Identifier: MIT
"""
Whether something grows: the same point of each cycle is compared. The cycles of the warm-up are left out; of the others
the median of the first third is held against that of the last. No time is judged.
"""

import dataclasses
import statistics

MARGIN = 0.04  # of the first third's median: what may be added in the two thirds of a run between the medians
WARM_UP = 0.2  # of all cycles, but at least
WARM_UP_CYCLES = 3
CYCLES = 15  # fewer say nothing: of 1 % a cycle, 8 % must have come together between the medians

# What is judged, and what may be added to it beside the margin: small numbers go up and down by a few.
SLACK = {
    "anon_kb": 1024,  # memory of the process's own, swapped out or not
    "rss_kb": 4096,  # and with it what of files is mapped, which comes and goes as the kernel likes
    "pte_kb": 32,
    "vmas": 4,
    "descriptors": 2,
    "threads": 1,
}


@dataclasses.dataclass(frozen=True)
class Growth:
    what: str
    first: float
    last: float
    allowed: float

    @property
    def grows(self):
        return self.last > self.allowed

    def __str__(self):
        return f"{self.what} {self.first:g} to {self.last:g} (allowed: {self.allowed:g})"


def settled(points):
    """POINTS, one a cycle, without those of the warm-up."""
    return points[max(WARM_UP_CYCLES, int(len(points) * WARM_UP)):]


def growth(what, points, slack):
    """None when there are too few points."""
    if len(points) < CYCLES:
        return None
    points = settled(points)
    third = len(points) // 3
    first, last = statistics.median(points[:third]), statistics.median(points[-third:])
    return Growth(what, first, last, first * (1 + MARGIN) + slack)


def judge(marks):
    """MARKS: samples (dictionaries) of the same point of each cycle. What grows or does not; empty: too few of them."""
    found = [growth(name, [m[name] for m in marks], slack) for name, slack in SLACK.items()]
    return [g for g in found if g]

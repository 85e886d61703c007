# SPDX-License-Identifier: MIT
"""
Medians, their spread, and confidence intervals of ratios by the bootstrap: rounds are drawn again and again, with
replacement, and what 95 of 100 such draws give is the interval. Both allocators of a ratio have the same rounds drawn,
as they ran side by side.
"""

import math
import random

DRAWS = 1000
SEED = 1


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values):
    """Half the distance between the quartiles, in percent of the median."""
    if len(values) < 2 or not median(values):
        return 0.0
    ordered = sorted(values)
    half = len(ordered) // 2
    low, high = median(ordered[:half]), median(ordered[-half:])
    return 50 * (high - low) / median(values)


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def interval(draws):
    """The middle 95 % of DRAWS."""
    ordered = sorted(draws)
    return [ordered[int(0.025 * (len(ordered) - 1))], ordered[int(math.ceil(0.975 * (len(ordered) - 1)))]]


def ratio_draws(ours, reference, source):
    """DRAWS ratios of medians of rounds that are drawn again."""
    rounds = min(len(ours), len(reference))
    draws = []
    for _ in range(DRAWS):
        drawn = [source.randrange(rounds) for _ in range(rounds)]
        draws.append(median([ours[i] for i in drawn]) / median([reference[i] for i in drawn]))
    return draws


class AgainstBest:
    """
    One figure, row by row, beside the best of the others'. RUNS: row to allocator to a list of figures, one a round;
    OURS is not one of the others.
    """

    def __init__(self, runs, ours):
        source = random.Random(SEED)
        self.medians = {b: {a: median(v) for a, v in by.items()} for b, by in runs.items()}
        self.spreads = {b: {a: spread(v) for a, v in by.items()} for b, by in runs.items()}
        self.best = {b: min((a for a in m if a != ours or len(m) == 1), key=m.get) for b, m in self.medians.items()}
        self.ratios = {b: {a: m[a] / m[self.best[b]] for a in m} for b, m in self.medians.items()}
        self.intervals = {b: {a: interval(ratio_draws(v, by[self.best[b]], source)) for a, v in by.items()}
                          for b, by in runs.items()}

    def as_json(self):
        return {"median": self.medians, "spread_percent": self.spreads, "best_other": self.best,
                "ratio_to_best_other": self.ratios, "ratio_interval_95": self.intervals}


class Ratios:
    """Ratios of one figure to the reference's. RUNS: benchmark to allocator to a list of figures, one a round."""

    def __init__(self, runs, reference):
        self.names = list(next(iter(runs.values())))
        source = random.Random(SEED)
        self.medians = {b: {a: median(v) for a, v in by.items()} for b, by in runs.items()}
        self.spreads = {b: {a: spread(v) for a, v in by.items()} for b, by in runs.items()}
        self.ratios = {b: {a: m[a] / m[reference] for a in m} for b, m in self.medians.items()}
        self.draws = {b: {a: ratio_draws(v, by[reference], source) for a, v in by.items()} for b, by in runs.items()}
        self.families = {}
        for bench in runs:
            self.families.setdefault(bench.split("/")[0], []).append(bench)

    def interval(self, bench, name):
        return interval(self.draws[bench][name])

    def family(self, family, name):
        return geometric_mean(self.ratios[b][name] for b in self.families[family])

    def mean(self, name):
        """Geometric mean over the families, each of which is its benchmarks' geometric mean."""
        return geometric_mean(self.family(f, name) for f in self.families)

    def mean_interval(self, name):
        draws = []
        for i in range(DRAWS):
            draws.append(geometric_mean(geometric_mean(self.draws[b][name][i] for b in benches)
                                        for benches in self.families.values()))
        return interval(draws)

    def as_json(self):
        return {
            "median": self.medians,
            "spread_percent": self.spreads,
            "ratio": self.ratios,
            "ratio_interval_95": {b: {a: self.interval(b, a) for a in by} for b, by in self.ratios.items()},
            "families": {f: {a: self.family(f, a) for a in self.names} for f in self.families},
            "geometric_mean": {a: self.mean(a) for a in self.names},
            "geometric_mean_interval_95": {a: self.mean_interval(a) for a in self.names},
        }

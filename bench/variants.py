# SPDX-License-Identifier: MIT
"""Allocators in the settings that are compared, and how a program that prints one line of JSON is run under them."""

import dataclasses
import json
import os
import subprocess
import sys

import allocators

OPTIONS = "PMDALLOC_CONF"


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    path: str  # None: the C library
    settings: tuple = ()  # pairs of environment variables and values

    def environment(self):
        return {**allocators.environment(self.path), **dict(self.settings)}


def ours(paths, label, options):
    """pmdalloc with OPTIONS, called LABEL; an empty list when it is not to be measured."""
    if allocators.OURS not in paths:
        return []
    return [Variant(label, paths[allocators.OURS], ((OPTIONS, options),) if options else ())]


def peers(paths):
    """All others as they come, and jemalloc also with its background thread."""
    found = []
    for name, path in paths.items():
        if name == allocators.OURS:
            continue
        found.append(Variant(name, path))
        if name == "jemalloc":
            found.append(Variant("jemalloc bg", path, (("MALLOC_CONF", "background_thread:true"),)))
    return found


def eager_peers(paths, decay_ms):
    """The peers that can be told to give memory back after DECAY_MS, or soon, told so."""
    jemalloc = f"dirty_decay_ms:{decay_ms},muzzy_decay_ms:0"
    settings = {
        "jemalloc": [("jemalloc eager", (("MALLOC_CONF", jemalloc),)),
                     ("jemalloc bg eager", (("MALLOC_CONF", jemalloc + ",background_thread:true"),))],
        "mimalloc": [("mimalloc eager", (("MIMALLOC_PAGE_RESET", "1"), ("MIMALLOC_RESET_DELAY", str(decay_ms))))],
        "tcmalloc": [("tcmalloc eager", (("TCMALLOC_RELEASE_RATE", "10"),))],
    }
    return [Variant(label, paths[name], pairs) for name in settings if name in paths for label, pairs in settings[name]]


def parse(variant, text):
    """The program's figures, after checking who served it."""
    figures = json.loads(text)
    if not allocators.serves(variant.path, figures.pop("allocator")):
        sys.exit(f"{variant.name} did not serve the program")
    return figures


def run(program, variant, options, prefix=()):
    """Figures of PROGRAM under VARIANT; OPTIONS are its own, PREFIX the words of a command in front of it."""
    command = [program]
    for name, value in options.items():
        command += ["--" + name, str(value)]
    environment = variant.environment()
    if prefix:  # what stands in front is not served
        passed = {k: v for k, v in environment.items() if k == "LD_PRELOAD" or os.environ.get(k) != v}
        command = [*prefix, "env", *(f"{k}={v}" for k, v in passed.items()), *command]
        environment = allocators.environment(None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} under {variant.name}: status {done.returncode}: {done.stderr.strip()}")
    if variant.path and "pmdalloc: " in done.stderr:
        print(f"{variant.name}: {done.stderr.strip().splitlines()[0]}", file=sys.stderr)
    return parse(variant, done.stdout)


def interleaved(rounds, chosen, measure):
    """
    Name to a list of what MEASURE(variant) gave, one a round. The order turns, so that none always comes first or after
    the same other.
    """
    seen = {v.name: [] for v in chosen}
    for r in range(rounds):
        for variant in allocators.rotated(chosen, r):
            seen[variant.name].append(measure(variant))
        print(f"    round {r + 1} of {rounds} done", file=sys.stderr)
    return seen


def median(runs, name):
    values = [r[name] for r in runs if name in r]
    return allocators.statistics.median(values) if values else float("nan")


def spread(runs, name):
    """Half the distance between the quartiles, in percent of the median."""
    values = sorted(r[name] for r in runs if name in r)
    middle = median(runs, name)
    if len(values) < 2 or not middle:
        return 0.0
    low, _, high = allocators.statistics.quantiles(values, n=4)
    return 50 * (high - low) / abs(middle)

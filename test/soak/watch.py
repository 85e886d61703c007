# SPDX-License-Identifier: MIT
"""What processes hold, as /proc says, and the table of it."""

import csv
import os
import threading

FIGURES = ("processes", "rss_kb", "anon_kb", "shared_kb", "pte_kb", "vmas", "descriptors", "threads")
COLUMNS = ("seconds", "service", "life", "cycle", "phase", *FIGURES)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def children(pid):
    try:
        return [int(c) for t in os.listdir(f"/proc/{pid}/task") for c in read(f"/proc/{pid}/task/{t}/children").split()]
    except (OSError, ValueError):
        return []


def tree(pid):
    """The process and what descends from it; where some end meanwhile, what could be seen."""
    found = [pid]
    for p in found:
        found += [c for c in children(p) if c not in found]
    return found


def sample_one(pid):
    """None when it has ended."""
    try:
        status = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
        if status["State"].split()[0] in "ZX":
            return None
        kb = {n: int(status[n].split()[0]) for n in ("VmRSS", "RssAnon", "RssShmem", "VmSwap", "VmPTE")}
        with open(f"/proc/{pid}/maps", "rb") as maps:
            vmas = sum(1 for _ in maps)
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, KeyError, ValueError):
        return None
    # What is shared is the program's own doing, and counted once for each process: apart from the rest.
    return {"processes": 1, "rss_kb": kb["VmRSS"] - kb["RssShmem"] + kb["VmSwap"],
            "anon_kb": kb["RssAnon"] + kb["VmSwap"], "shared_kb": kb["RssShmem"], "pte_kb": kb["VmPTE"], "vmas": vmas,
            "descriptors": descriptors, "threads": int(status["Threads"])}


def sample(pid):
    """The sums over a process and what descends from it."""
    sums = dict.fromkeys(FIGURES, 0)
    for one in filter(None, map(sample_one, tree(pid))):
        for name in FIGURES:
            sums[name] += one[name]
    return sums


class Table:
    """The file of samples; what is written is there when the run is killed."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.rows = []
        self.file = open(path, "w", encoding="utf-8", newline="")
        self.writer = csv.DictWriter(self.file, COLUMNS, lineterminator="\n")
        self.writer.writeheader()

    def add(self, row):
        with self.lock:
            self.rows.append(row)
            self.writer.writerow(row)
            self.file.flush()

# SPDX-License-Identifier: MIT
"""Which allocators are compared, where they are, and how a program is run under one of them."""

import argparse
import glob
import os
import statistics
import sys

OURS = "pmdalloc"
STOPPED = 130  # the status of who was interrupted, as shells have it
REFERENCE = "jemalloc"
PEERS = {
    "jemalloc": "libjemalloc.so.2",
    "mimalloc": "libmimalloc.so.2.0",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}
MORE_PEERS = {
    "tcmalloc full": "libtcmalloc.so.4",
    "hoard": "libhoard.so",
    "scudo": "libclang_rt.scudo_standalone-x86_64.so",
    "tbbmalloc": "libtbbmalloc_proxy.so.2",
    "snmalloc": "libsnmallocshim.so",
    "rpmalloc": "librpmallocwrap.so",
}
LIBRARY_FOLDERS = ("/usr/lib/*", "/usr/lib", "/usr/local/lib", "/lib/*", "/usr/lib/llvm-*/lib/clang/*/lib/linux")


def find_library(name):
    """The first file called NAME in the system's library folders, or None."""
    for folder in LIBRARY_FOLDERS:
        found = sorted(glob.glob(os.path.join(folder, name)))
        if found:
            return found[0]
    return None


def parser(description):
    """An argument parser with the options that every runner has."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--programs", default="bench", help="folder of the built programs")
    p.add_argument("--ours", metavar="PATH", help="the libpmdalloc.so to measure; without it only the others are")
    p.add_argument("--with", dest="more", action="append", default=[], metavar="NAME=PATH",
                   help="measure one more allocator")
    p.add_argument("--only", metavar="NAMES", help="measure only these allocators (commas between)")
    p.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    p.add_argument("--check", action="store_true", help="end with status 1 if pmdalloc misses one of its bars")
    return p


def more_peers():
    """Name to library path of those of which nobody needs to be told that they are missing."""
    found = {name: find_library(library) for name, library in MORE_PEERS.items()}
    return {name: path for name, path in found.items() if path}


def chosen(arguments, everything=False):
    """Name to library path (None for the C library) of the allocators to measure; EVERYTHING: all that there are."""
    paths = {"glibc": None}
    for name, library in PEERS.items():
        path = find_library(library)
        if path:
            paths[name] = path
        else:
            print(f"{library} is not installed: {name} is left out", file=sys.stderr)
    if everything:
        paths.update(more_peers())
    for text in arguments.more:
        name, _, path = text.partition("=")
        if not path:
            sys.exit(f"--with wants NAME=PATH, not {text}")
        if name in ("glibc", OURS):
            sys.exit(f"--with {text}: {name} is measured as it is here; take another name")
        paths[name] = os.path.abspath(path)
    if arguments.ours:
        paths[OURS] = os.path.abspath(arguments.ours)
    for name, path in paths.items():
        if path and not os.path.exists(path):
            sys.exit(f"{name}: there is no {path}")
    if arguments.only:
        paths = only(paths, arguments.only.split(","))
    return paths


def only(paths, names):
    """Those of PATHS that have one of NAMES; ends the program where a name is nobody's, or nothing is left."""
    for name in names:
        if name not in paths and name not in (OURS, *PEERS, *MORE_PEERS):
            sys.exit(f"--only: there is no allocator {name}; there are {', '.join(paths)}")
    if not any(name in names for name in paths):
        sys.exit(f"--only {','.join(names)}: not here; there are {', '.join(paths)}")
    return {name: path for name, path in paths.items() if name in names}


def environment(path):
    """The environment that makes PATH serve a program."""
    variables = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "GLIBC_TUNABLES")}
    if path:
        variables["LD_PRELOAD"] = path
    return variables


def serves(path, file):
    """Whether FILE, as the dynamic loader names it, is the library PATH (None: the C library)."""
    if path is None:
        return os.path.basename(file).startswith("libc.so")
    return os.path.realpath(file) == os.path.realpath(path)


def rotated(names, by):
    """NAMES in turned order, so that none always runs first."""
    names = list(names)
    by %= len(names)
    return names[by:] + names[:by]


def warn_if_busy():
    """Timings taken beside other work mean little."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the machine is busy (load {load:.2f}): distrust these timings", file=sys.stderr)


def table(head, rows):
    """Prints ROWS under HEAD in columns, the first to the left, the others to the right."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())


def geometric_mean(values):
    return statistics.geometric_mean(values) if values else float("nan")


def run(main):
    """Ends the program with what MAIN returns, and without a traceback when somebody interrupts it."""
    try:
        status = main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = STOPPED
    sys.exit(status)


def judge(bars):
    """Prints BARS, triples of (what, measured, at most); whether all are met."""
    fine = True
    for what, measured, limit in bars:
        met = measured <= limit
        fine = fine and met
        print(f"{'met   ' if met else 'MISSED'}  {what}: {measured:.4g} (at most {limit:.4g})")
    return fine

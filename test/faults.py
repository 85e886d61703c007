#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Test programs with faults: each call site of the library fails with each errno, and a table says what came of it.

    faults.py --source DIRECTORY [--programs NAME,...] [--steps N] [--errnos N] [--seeds N] [--site NAME]
              [--every] [--short] DIRECTORY

DIRECTORY holds the programs f_NAME (test/faulted.h). For each of them and each setting: what does it call, and from
where? Then for n = 1, 2, ... the n-th call of a site fails, until the program comes to its end without a fault or n is
N of --steps; with each errno in the first setting in which the program comes to that site, with the first errno in the
others (--every: each in all), and from the n-th on with the first. Last, every call may fail at random, for each
seed. A program may end as usual, or because a request failed three times with ENOMEM (refused): anything else is a
failure, printed with the environment that repeats it.
"""
import argparse
import collections
import concurrent.futures
import errno
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

PAGE = 4096
PLACE = struct.Struct("<I4xq36s4xQQ")  # struct inject_site
PLACES = 256
READY = 2
EXIT_SKIP, EXIT_REFUSED = 77, 4
COMPLETION = 500  # io_uring's answer: OS_COMPLETION
POINTS = {501: "(tables)", 502: "(room)", 503: "(account)"}  # OS_POINT_...: what fails without a system call
COMPLETION_ERRNOS = "EINVAL EACCES EAGAIN EBADF EINTR EIO ENOMEM EPERM ECANCELED".split()

SETTINGS = (
    "decay_ms:2",
    "decay_ms:0,mremap_mib:2,release:remap,guard_rate:10",
    "decay_ms:2,release:io_uring",
    "decay_ms:-1,handoff_min:1M,thp:never",
    "decay_ms:-1,handoff_min:1M,handoff:armed",
)
PROGRAMS = "api calloc exit fork random random_threads start tails thread_exit threads turns".split()
VERDICTS = ("ended", "refused", "crashed", "hung", "data lost", "errno", "not zero", "failed")
SAID = {"changed at offset": "data lost", "is not zero": "not zero", "errno is wrong": "errno", "errno was changed": "errno"}

Case = collections.namedtuple("Case", "program setting faults")


def errnos_of(source):
    """{name: [errno name, ...]} of test/calls.h, and the numbers of the calls by the C library's header."""
    with open(os.path.join(source, "test/calls.h"), encoding="utf-8") as file:
        text = file.read().replace("\n", " ")
    calls = {}
    for name, errnos in re.findall(r"\bCALL\((\w+), ([A-Z0-9, \t]+)\)", text):
        calls[name] = [word.strip() for word in errnos.split(",")] + ["EPERM", "ENOSYS"]
    return calls


def numbers_of(names):
    """{number: name} of system calls, as the compiler's header has them."""
    lines = "#include <sys/syscall.h>\n" + "".join(f"PMD {name} SYS_{name}\n" for name in names)
    command = [*os.environ.get("CC", "cc").split(), "-E", "-P", "-x", "c", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return {int(number): name for name, number in re.findall(r"^PMD (\w+) (\d+)$", done.stdout, re.M)}


def sites_of(source):
    """The functions of the library in which there is a system call."""
    found = set()
    for directory, _, files in os.walk(os.path.join(source, "src")):
        for name in files:
            if not name.endswith(".c"):
                continue
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                function = None
                for line in file:
                    start = re.match(r"[a-z][\w *]*?\**(\w+)\([^;]*$", line)
                    if line.startswith("#define"):
                        function = None
                    elif start:
                        function = start[1]
                    elif line.startswith("\t") and re.search(r"\b(os_syscall|os_inject|call|map)\(", line):
                        if function and ("os_" in line or name == "os.c"):
                            found.add(function)
    return found


def places(path):
    """[(site, number, calls, hits)] that the program left in the table, and how many requests were given up."""
    with open(path, "rb") as file:
        data = file.read()
    found = []
    for at in range(PAGE, len(data) - PLACE.size + 1, PLACE.size):
        state, number, name, calls, hits = PLACE.unpack_from(data, at)
        if state == READY:
            found.append((name.split(b"\0")[0].decode(), number, calls, hits))
    return found, struct.unpack_from("<I", data)[0]


def verdict(status, said, refused):
    """One of VERDICTS; None: skipped."""
    for words, name in SAID.items():
        if words in said:
            return name
    if status == EXIT_SKIP:
        return None
    if status == 0:
        return "ended"
    if status == -signal.SIGALRM:
        return "hung"
    if status < 0:
        return "crashed"
    return "refused" if refused else "failed"


class Runner:
    """Runs programs, and counts what came of them by site."""

    def __init__(self, args, names):
        self.args = args
        self.names = names
        self.rows = collections.defaultdict(collections.Counter)  # by site and call
        self.errnos = collections.defaultdict(collections.Counter)  # cases by errno of the same
        self.failures = []
        self.seconds = collections.Counter()  # by program
        self.cases = collections.Counter()

    def run(self, case):
        """Returns the verdict, and what was called."""
        environment = {**os.environ, "PMDALLOC_CONF": case.setting, "CHECK_SCALE": str(self.args.scale)}
        environment.pop("FAULTS", None)  # make passes on its own variable of this name, the options of this script
        if case.faults:
            environment["FAULTS"] = case.faults
        with tempfile.NamedTemporaryFile(prefix="faults.") as table:
            table.truncate(PAGE + PLACES * PLACE.size)
            environment["FAULTS_TABLE"] = table.name
            started = time.monotonic()
            program = os.path.join(self.args.directory, "f_" + case.program)
            try:
                done = subprocess.run([program, case.setting], env=environment, capture_output=True, timeout=self.args.seconds,
                                      check=False)
                status, said = done.returncode, done.stderr.decode(errors="replace")
            except subprocess.TimeoutExpired:
                status, said = -signal.SIGALRM, ""
            self.seconds[case.program] += time.monotonic() - started
            self.cases[case.program] += 1
            found, refused = places(table.name)
        result = verdict(status, said, refused)
        if result not in (None, "ended", "refused"):
            self.failures.append((case, result, status, said.strip()[-300:]))
        return result, found

    def count(self, site, number, code, result):
        key = (site, self.names.get(number, f"call {number}"))
        self.rows[key][result] += 1
        if code:
            self.errnos[key][code] += 1

    def steps(self, program, setting, site, number, code, on):
        """The first call fails, the second, ... until there are no more."""
        most = self.args.steps if not on else min(self.args.steps, 3)
        for n in range(1, most + 1):
            mode = "on" if on else "once"
            faults = f"{mode},{number},{site},{getattr(errno, code)},{n}"
            result, found = self.run(Case(program, setting, faults))
            if result is None or not any(hits for place, nr, _, hits in found if (place, nr) == (site, number)):
                return
            self.count(site, number, code, result)

    def at_random(self, program, setting, seed):
        chance = (10, 100, 1000, 5000)[seed % 4]
        result, _ = self.run(Case(program, setting, f"random,{seed},{chance}"))
        if result:
            self.rows["any", "at random"][result] += 1


def jobs_of(runner, pool, calls):
    """What there is to do: (function, arguments)."""
    args = runner.args
    reached = set()
    cases = [Case(program, setting, None) for program in args.programs for setting in args.settings]
    for case, (result, found) in zip(cases, pool.map(runner.run, cases)):
        if result != "ended":
            if result is None:
                continue
            sys.exit(f"faults: {case.program} does not pass without faults ({case.setting}): {runner.failures}")
        for site, number, _, _ in sorted(found):
            if args.site not in (None, site):
                continue
            codes = calls.get(number if number >= COMPLETION else runner.names.get(number), [])
            most = args.errnos if args.every or (case.program, site, number) not in reached else 1
            reached.add((case.program, site, number))
            for code in codes[:most]:
                yield runner.steps, (case.program, case.setting, site, number, code, False)
            for code in codes[:1]:
                yield runner.steps, (case.program, case.setting, site, number, code, True)
        for seed in range(1, args.seeds + 1):
            yield runner.at_random, (case.program, case.setting, seed)


def print_table(runner, all_sites):
    width = max(len(site) for site, _ in runner.rows) + 1
    print(f"{'site':{width}}{'call':20}" + "".join(f"{name:>10}" for name in VERDICTS) + "  errnos (cases)")
    for key in sorted(runner.rows):
        row = runner.rows[key]
        codes = " ".join(f"{code} {count}" for code, count in sorted(runner.errnos[key].items()))
        print(f"{key[0]:{width}}{key[1]:20}" + "".join(f"{row[name]:10}" for name in VERDICTS) + f"  {codes}")
    total = sum(runner.rows.values(), collections.Counter())
    print(f"{'all':{width}}{'':20}" + "".join(f"{total[name]:10}" for name in VERDICTS))
    reached = {site for site, _ in runner.rows}
    print(f"{len(reached & all_sites)} of {len(all_sites)} functions that call the kernel, "
          f"{sum(total.values())} cases, {len(runner.failures)} failures")
    print("runs and their seconds: " + ", ".join(
        f"{program} {runner.cases[program]} {seconds:.0f}" for program, seconds in sorted(runner.seconds.items())))
    left = sorted(all_sites - reached)
    if left:
        print("not reached by these programs: " + " ".join(left))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--programs", type=lambda text: text.split(","), default=PROGRAMS)
    parser.add_argument("--settings", type=lambda text: text.split(";"), default=SETTINGS)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--errnos", type=int, default=99)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--scale", type=int, default=50, help="so much less work than in a test (CHECK_SCALE)")
    parser.add_argument("--site", help="only this one")
    parser.add_argument("--seconds", type=int, default=100, help="of a program: more is a hang, on a busy machine too")
    parser.add_argument("--every", action="store_true", help="each errno in each setting")
    parser.add_argument("--short", action="store_true", help="one program, the first errno, two steps")
    parser.add_argument("directory")
    args = parser.parse_args()
    if args.short:
        args.programs, args.settings = ["random"], SETTINGS[:2]
        args.steps, args.errnos, args.seeds, args.scale = 2, 1, 0 if args.site else 8, 200
        if args.site:
            args.settings, args.steps = SETTINGS[:1], 1
    return args


def main():
    args = arguments()
    calls = errnos_of(args.source)
    names = {**numbers_of(list(calls)), **POINTS, COMPLETION: "(io_uring's answer)"}
    calls.update({COMPLETION: COMPLETION_ERRNOS, **{point: ["ENOMEM"] for point in POINTS}})
    runner = Runner(args, names)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in [pool.submit(work, *what) for work, what in jobs_of(runner, pool, calls)]:
            job.result()
    print_table(runner, sites_of(args.source))
    for case, result, status, said in runner.failures[:20]:
        print(f"FAULTS={case.faults} PMDALLOC_CONF={case.setting} CHECK_SCALE={args.scale} "
              f"test/f_{case.program} {case.setting}: {result}, status {status}: {said}", file=sys.stderr)
    return bool(runner.failures) or not runner.rows


if __name__ == "__main__":
    sys.exit(main())

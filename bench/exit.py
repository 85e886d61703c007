#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The end of a process: how long its parent waits, when its memory is free again, how soon a server's port is, and how
long a manager of services waits that, as systemd does, wants the service's cgroup to be empty.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import measures  # noqa: E402
import variants  # noqa: E402
from measures import program, say  # noqa: E402

GONE_BAR_US = 600
GROWTH_BAR = 1.5  # times what 64 MiB take
BACK_BAR = 0.75  # of the plain exit's time
SMALL_BAR_US = 5
REDIS_BAR = 1 / 20  # of jemalloc's time
SMALL_MIB = 1
PLAIN = "pmdalloc handoff:off"
SMALL_PAGES = "thp:never"  # the kernel tears huge pages down thirty times faster


def milliseconds(nanoseconds):
    return f"{nanoseconds / 1e6:.2f}"


# ---- A process of some size ----------------------------------------------------------------------------------------


def size_variants(paths):
    ours = variants.ours(paths, allocators.OURS, SMALL_PAGES)
    ours += variants.ours(paths, PLAIN, SMALL_PAGES + ",handoff:off")
    ours += variants.ours(paths, "pmdalloc thp:auto", "")
    return ours + variants.peers(paths)


def size(arguments, paths):
    results = {}
    for mib in arguments.sizes:
        say(f"size: {mib} MiB")
        options = {"mib": mib, "rounds": max(1, min(50, 4096 // mib)), "how": "exit", "freed": 1}
        chosen = size_variants(paths)
        runs = variants.interleaved(arguments.rounds, chosen,
                                    lambda v, o=options: variants.run(program(arguments, "exit"), v, o))
        results[mib] = runs
        print(f"{mib} MiB, from exit() on: milliseconds, medians of {arguments.rounds} runs")
        names = ("gone_p50", "gone_max", "back_p50", "back_max")
        allocators.table(["", "parent told", "longest", "memory free", "longest"],
                         [[n, *(milliseconds(variants.median(f, x)) for x in names)] for n, f in runs.items()])
        print()
    return results


def size_bars(results):
    bars = []
    for mib, runs in results.items():
        ours = runs[allocators.OURS]
        gone = variants.median(ours, "gone_p50") / 1000
        if mib >= 4096:
            bars.append((f"{mib} MiB: microseconds until the parent is told", gone, GONE_BAR_US))
            bars.append((f"{mib} MiB: memory free, of the plain exit's time",
                         variants.median(ours, "back_p50") / variants.median(runs[PLAIN], "back_p50"), BACK_BAR))
        if mib > 64 and 64 in results:
            bars.append((f"{mib} MiB: parent told, times 64 MiB's",
                         gone * 1000 / variants.median(results[64][allocators.OURS], "gone_p50"), GROWTH_BAR))
    return bars


# ---- Killed and crashed --------------------------------------------------------------------------------------------

WAYS = {"exit": "exit()", "kill": "SIGKILL", "term": "SIGTERM", "abort": "abort()", "segv": "a segmentation fault"}
ARMED_MIB = (64, 4096)


def armed_variants(paths):
    armed = variants.ours(paths, allocators.OURS, SMALL_PAGES + ",handoff:armed,handoff_fork:on")
    plain = variants.ours(paths, PLAIN, SMALL_PAGES + ",handoff:off")
    return armed + plain + [v for v in variants.peers(paths) if v.name in ("glibc", "jemalloc")]


def armed(arguments, paths):
    results = {}
    for mib in ARMED_MIB:
        for how, name in WAYS.items():
            say(f"handoff:armed: {mib} MiB, {name}")
            # The first end that a program waits for takes longer than those after it: so one of each size.
            options = {"mib": mib, "rounds": 1, "how": how, "freed": 1}
            runs = variants.interleaved(arguments.rounds, armed_variants(paths),
                                        lambda v, o=options: variants.run(program(arguments, "exit"), v, o))
            results[f"{mib} {how}"] = runs
    print(f"handoff:armed, from the last act on: milliseconds, medians of {arguments.rounds} runs")
    names = ("gone_p50", "gone_max", "back_p50", "back_max")
    rows = [[f"{key.split()[0]} MiB", WAYS[key.split()[1]], n, *(milliseconds(variants.median(f, x)) for x in names)]
            for key, runs in results.items() for n, f in runs.items()]
    allocators.table(["", "end", "", "parent told", "longest", "memory free", "longest"], rows)
    print()
    return results


def armed_bars(results):
    bars = []
    small_mib, mib = ARMED_MIB
    for how, name in WAYS.items():
        ours = results[f"{mib} {how}"][allocators.OURS]
        gone = variants.median(ours, "gone_p50")
        small = variants.median(results[f"{small_mib} {how}"][allocators.OURS], "gone_p50")
        plain = variants.median(results[f"{mib} {how}"][PLAIN], "back_p50")
        bars.append((f"armed, {mib} MiB, {name}: microseconds until the parent is told", gone / 1000, GONE_BAR_US))
        bars.append((f"armed, {mib} MiB, {name}: times {small_mib} MiB's", gone / small, GROWTH_BAR))
        bars.append((f"armed, {mib} MiB, {name}: memory free, of the plain end's time",
                     variants.median(ours, "back_p50") / plain, BACK_BAR))
    return bars


# ---- Without a helper ----------------------------------------------------------------------------------------------

SHORT_MIB = (64, 256, 512, 1024, 4096)
SHORT_BAR = 1.1  # of the plain exit's time
NO_HELPER = "handoff_max:1M"


def short_variants(paths):
    found = []
    for pages, options in (("4 KiB pages", SMALL_PAGES), ("thp:auto", "thp:auto"), ("thp:always", "thp:always")):
        found += variants.ours(paths, f"shorter, {pages}", f"{options},{NO_HELPER}")
        found += variants.ours(paths, f"plain, {pages}", f"{options},handoff:off")
    return found


def short(arguments, paths):
    results = {}
    for mib in SHORT_MIB:
        say(f"_exit() without a helper: {mib} MiB")
        options = {"mib": mib, "rounds": max(1, min(20, 2048 // mib)), "how": "_exit"}
        results[mib] = variants.interleaved(arguments.rounds, short_variants(paths),
                                            lambda v, o=options: variants.run(program(arguments, "exit"), v, o))
    print(f"_exit() without a helper, until the parent is told: milliseconds, medians of {arguments.rounds} runs")
    names = [v.name for v in short_variants(paths)]
    allocators.table(["", *(f"{mib} MiB" for mib in results)],
                     [[n, *(milliseconds(variants.median(runs[n], "gone_p50")) for runs in results.values())]
                      for n in names])
    print()
    return results


def short_bars(results):
    bars = []
    for mib, runs in results.items():
        for name, figures in runs.items():
            if name.startswith("shorter"):
                plain = variants.median(runs[name.replace("shorter", "plain")], "gone_p50")
                bars.append((f"{mib} MiB, {name}: of the plain exit's time",
                             variants.median(figures, "gone_p50") / plain, SHORT_BAR))
    return bars


# ---- What a resident helper costs ----------------------------------------------------------------------------------

RESIDENTS = 100  # the kernel accounts memory in steps of some hundred kB
RESIDENT_BAR_KB = 64
AWAKE_S = 5
PROGRAM = """
import ctypes, sys
kept = [bytes(60000) for _ in range(100)]
for line in sys.stdin:
    ctypes.CDLL(None).pmd_option_set(b"handoff", line.strip().encode())
    print(line, end="", flush=True)
"""


class Group:
    """A cgroup of its own, whose memory, the kernel's included, can be read; version 1 or 2."""

    def __init__(self):
        first = "/sys/fs/cgroup/memory"
        self.folder = os.path.join(first if os.path.isdir(first) else "/sys/fs/cgroup", f"pmdalloc-{os.getpid()}")
        self.file = "memory.usage_in_bytes" if os.path.isdir(first) else "memory.current"

    def __enter__(self):
        os.mkdir(self.folder)
        return self

    def __exit__(self, *unused):
        for _ in range(500):
            try:
                os.rmdir(self.folder)
                return
            except OSError:
                time.sleep(0.01)

    def add(self, process):
        with open(os.path.join(self.folder, "cgroup.procs"), "w", encoding="utf-8") as f:
            f.write(str(process))

    def memory(self):
        with open(os.path.join(self.folder, self.file), encoding="utf-8") as f:
            return int(f.read())

    def processes(self):
        with open(os.path.join(self.folder, "cgroup.procs"), encoding="utf-8") as f:
            return [int(x) for x in f]


def tell(servers, word):
    for s in servers:
        s.stdin.write(word + "\n")
        s.stdin.flush()
        s.stdout.readline()
    time.sleep(1)


def wakes(process):
    count = 0
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/status", encoding="utf-8") as f:
            count += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return count


def start_servers(variant, group):
    servers = [subprocess.Popen([sys.executable, "-c", PROGRAM], env=variant.environment(), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                preexec_fn=lambda: group.add(os.getpid())) for _ in range(RESIDENTS)]
    tell(servers, "armed")  # what is touched only once
    tell(servers, "off")
    return servers


def resident(_arguments, paths):
    say("what a resident helper costs")
    figures = {}
    try:
        with Group() as group:
            servers = start_servers(variants.ours(paths, "armed", "handoff:off,handoff_min:1M")[0], group)
            before = group.memory()
            tell(servers, "armed")
            figures["bytes"] = (group.memory() - before) / RESIDENTS
            own = {s.pid for s in servers}
            residents = [p for p in group.processes() if p not in own]
            count = sum(map(wakes, residents))
            time.sleep(AWAKE_S)
            figures["residents"] = len(residents)
            figures["wakes"] = sum(map(wakes, residents)) - count
            for s in servers:
                s.communicate()
    except (OSError, IndexError) as error:
        say(f"no cgroup whose memory can be read: left out ({error})")
        return {}
    print(f"handoff:armed while it waits: {figures['bytes'] / 1024:.1f} kB each of {figures['residents']}, "
          f"woken {figures['wakes']} times in {AWAKE_S} s")
    print()
    return figures


def resident_bars(results):
    if not results:
        return []
    return [("a resident helper: kB", results["bytes"] / 1024, RESIDENT_BAR_KB),
            ("resident helpers: missing", RESIDENTS - results["residents"], 0),
            ("resident helpers: woken", results["wakes"], 0)]


# ---- A small process -----------------------------------------------------------------------------------------------


def small(arguments, paths):
    say("small processes")
    options = {"mib": SMALL_MIB, "block": 4096, "rounds": 500, "how": "exit"}
    runs = variants.interleaved(2 * arguments.rounds, size_variants(paths)[:2],
                                lambda v: variants.run(program(arguments, "exit"), v, options))
    rows = [[n, f"{variants.median(f, 'gone_p50') / 1000:.1f}", f"{variants.spread(f, 'gone_p50'):.0f} %"]
            for n, f in runs.items()]
    print(f"{SMALL_MIB} MiB, below handoff_min: microseconds until the parent is told")
    allocators.table(["", "median", "spread"], rows)
    print()
    return runs


def small_bars(results):
    ours, plain = (variants.median(results[n], "gone_p50") / 1000 for n in (allocators.OURS, PLAIN))
    return [("a small process: microseconds more than without", ours - plain, SMALL_BAR_US)]


# ---- A service in a cgroup -----------------------------------------------------------------------------------------


def find_cgroups():
    """Where cgroups of version 2 can be made; None: nowhere."""
    with open("/proc/self/mounts", encoding="ascii") as mounts:
        places = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
    return next((p for p in places if os.access(p, os.W_OK)), None)


def is_empty(events):
    events.seek(0)
    return "populated 0" in events.read()


def start_service(command, variant, group):
    def join():
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")

    service = subprocess.Popen(command, env=variant.environment(), stdout=subprocess.PIPE, preexec_fn=join)
    if service.stdout.readline() != b"ready\n":
        sys.exit(f"{' '.join(command)} under {variant.name} does not begin")
    return service


def stop_service(variant, command, groups):
    """Nanoseconds from SIGTERM on: the process is gone; its cgroup is empty; so are all."""
    service = start_service(command, variant, groups[0])
    with open(f"{groups[0]}/cgroup.events", encoding="ascii") as own, \
            open(f"{groups[1]}/cgroup.events", encoding="ascii") as other:
        changes = select.poll()
        is_empty(own)
        changes.register(own, select.POLLPRI)
        begin = time.monotonic_ns()
        service.send_signal(signal.SIGTERM)
        service.wait()
        gone = time.monotonic_ns() - begin
        while not is_empty(own):
            changes.poll()
        empty = time.monotonic_ns() - begin
        while not is_empty(other):
            time.sleep(0.001)
        return {"gone": gone, "empty": empty, "free": time.monotonic_ns() - begin}


def stop_variants(paths, group):
    return variants.ours(paths, f"{allocators.OURS} handoff_cgroup", f"{SMALL_PAGES},handoff_cgroup:{group}") + \
        variants.ours(paths, allocators.OURS, SMALL_PAGES) + variants.ours(paths, PLAIN, SMALL_PAGES + ",handoff:off")


def stop(arguments, paths):
    place = find_cgroups()
    if not place:
        say("no cgroup of version 2 can be made: left out")
        return {}
    say(f"a service with {arguments.redis_mib} MiB in a cgroup")
    groups = [f"{place}/pmdalloc-bench-{os.getpid()}-{n}" for n in ("service", "teardown")]
    command = [program(arguments, "exit"), "--serve", "1", "--mib", str(arguments.redis_mib)]
    for group in groups:
        os.mkdir(group)
    try:
        runs = variants.interleaved(arguments.rounds, stop_variants(paths, groups[1]),
                                    lambda v: stop_service(v, command, groups))
    finally:
        for group in groups:
            os.rmdir(group)
    print(f"A service with {arguments.redis_mib} MiB, from SIGTERM on: milliseconds, medians of {arguments.rounds}")
    names = ("gone", "empty", "free")
    allocators.table(["", "process gone", "its cgroup empty", "memory free"],
                     [[n, *(milliseconds(variants.median(f, x)) for x in names)] for n, f in runs.items()])
    print()
    return runs


# ---- redis-server --------------------------------------------------------------------------------------------------


def talk(port, text, timeout=60):
    """The first line that the server on PORT answers to TEXT; empty when it ends instead."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(text.encode() + b"\r\n")
        return s.makefile().readline().strip()


def start_server(variant, port, folder):
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder,
               "--enable-debug-command", "local"]
    server = subprocess.Popen(command, env=variant.environment(), stdout=subprocess.DEVNULL)
    for _ in range(30000):
        try:
            if talk(port, "PING") == "+PONG":
                return server
        except OSError:
            time.sleep(0.0005)
    sys.exit(f"redis-server under {variant.name} does not answer")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def can_bind(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def stop_server(variant, mib):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(variant, port, folder)
        talk(port, f"DEBUG POPULATE {mib * 256} key 4000", 600)
        with socket.create_connection(("127.0.0.1", port)) as s:
            begin = time.monotonic_ns()
            s.sendall(b"SHUTDOWN NOSAVE\r\n")
            server.wait()
            gone = time.monotonic_ns() - begin
        free = can_bind(port)
        begin = time.monotonic_ns()
        server = start_server(variant, port, folder)
        again = time.monotonic_ns() - begin
        talk(port, "SHUTDOWN NOSAVE")
        server.wait()
    return {"gone": gone, "port_free": int(free), "answers_again": again}


def redis_variants(paths):
    """Debian's redis-server is linked with jemalloc, so that is without a preload."""
    return variants.ours(paths, allocators.OURS, "") + variants.ours(paths, "pmdalloc thp:never", SMALL_PAGES) + \
        variants.ours(paths, PLAIN, SMALL_PAGES + ",handoff:off") + [variants.Variant("jemalloc", None)]


def redis(arguments, paths):
    if not shutil.which("redis-server"):
        say("redis-server is not installed: left out")
        return {}
    say(f"redis-server with {arguments.redis_mib} MiB")
    runs = variants.interleaved(arguments.rounds, redis_variants(paths),
                                lambda v: stop_server(v, arguments.redis_mib))
    rows = [[n, milliseconds(variants.median(f, "gone")), milliseconds(max(x["gone"] for x in f)),
             "yes" if all(x["port_free"] for x in f) else "NO", milliseconds(variants.median(f, "answers_again"))]
            for n, f in runs.items()]
    print(f"redis-server with {arguments.redis_mib} MiB, from SHUTDOWN NOSAVE on: milliseconds")
    allocators.table(["", "gone", "longest", "port free", "the next one answers"], rows)
    print()
    return runs


def redis_bars(results):
    if not results:
        return []
    bars = [("redis-server: gone, of jemalloc's time",
             variants.median(results[allocators.OURS], "gone") / variants.median(results["jemalloc"], "gone"),
             REDIS_BAR)]
    bars.append(("redis-server: ports not free", sum(1 - x["port_free"] for x in results[allocators.OURS]), 0))
    return bars


# ---- All -----------------------------------------------------------------------------------------------------------

MEASURES = {"size": (size, size_bars), "armed": (armed, armed_bars), "resident": (resident, resident_bars),
            "short": (short, short_bars), "small": (small, small_bars), "stop": (stop, lambda results: []),
            "redis": (redis, redis_bars)}


def parse():
    p = measures.parser(__doc__, MEASURES)
    p.add_argument("--sizes", default="64,1024,4096,8192", help="MiB of the processes that end")
    p.add_argument("--redis-mib", type=int, default=4096, help="MiB in redis-server (default 4096)")
    p.add_argument("--quick", action="store_true", help="2 rounds, 64 and 1024 MiB")
    arguments = measures.parse(p, MEASURES)
    if arguments.quick:
        arguments.rounds, arguments.sizes, arguments.redis_mib = 2, "64,1024", 1024
    arguments.sizes = [int(x) for x in arguments.sizes.split(",")]
    return arguments


if __name__ == "__main__":
    allocators.run(lambda: measures.run(parse(), MEASURES))

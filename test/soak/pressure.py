# SPDX-License-Identifier: MIT
"""
Shortage of memory: a cgroup around the services that is held just above what they have while a reader fills it with
pages of a file; where no cgroup can be made, a process that takes nearly all of the machine's memory.
"""

import os
import signal
import subprocess
import time

import watch

ROOM = 96 << 20  # above what the services have: nobody fetches as much between two looks at it
LOOK = 0.2
FILE_BYTES = 4 << 30  # a hole: it costs no disk, and its pages are page cache all the same
UNLIMITED = {1: "-1", 2: "max"}
BALLAST = """
import mmap, re, sys
text = open("/proc/meminfo").read()
total, free = (int(re.search(n + r":\\s*(\\d+)", text).group(1)) for n in ("MemTotal", "MemAvailable"))
open("/proc/self/oom_score_adj", "w").write("1000")
kept = mmap.mmap(-1, max(1 << 20, (free - total // 10) << 10))
for i in range(0, len(kept), 4096):
    kept[i] = 1
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def mounts():
    """(version, directory of this process's cgroup that rules memory), the nearest first."""
    own = {}
    for line in watch.read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path.lstrip("/")
    for line in watch.read("/proc/self/mounts").splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup" and "memory" in options.split(","):
            name = next((c for c in own if "memory" in c.split(",")), None)
            yield 1, os.path.join(where, own.get(name, ""))
            yield 1, where
        if kind == "cgroup2":
            yield 2, os.path.join(where, own.get("", ""))
            yield 2, where


class Group:
    """A memory cgroup of our own. OSError when none can be made."""

    FILES = {1: ("memory.limit_in_bytes", "total_rss", "memory.oom_control"),
             2: ("memory.max", "anon", "memory.events")}

    def __init__(self):
        self.path = None
        for version, parent in mounts():
            path = os.path.join(parent, f"soak.{os.getpid()}")
            try:
                os.mkdir(path)
                self.path, self.version = path, version
                self.limit(None)
                return
            except OSError:
                self.remove()
        raise OSError("no memory cgroup can be made")

    def limit(self, size):
        with open(os.path.join(self.path, self.FILES[self.version][0]), "w", encoding="ascii") as f:
            f.write(UNLIMITED[self.version] if size is None else str(size))

    def number(self, file, name):
        lines = dict(line.split() for line in watch.read(os.path.join(self.path, file)).splitlines())
        return int(lines.get(name, 0))

    def used(self):
        return self.number("memory.stat", self.FILES[self.version][1])

    def kills(self):
        """How many processes of it the kernel killed for want of memory."""
        return self.number(self.FILES[self.version][2], "oom_kill")

    def kill(self):
        for pid in watch.read(os.path.join(self.path, "cgroup.procs")).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def remove(self):
        for _ in range(100):
            try:
                if self.path:
                    os.rmdir(self.path)
                self.path = None
                return
            except FileNotFoundError:
                self.path = None
            except OSError:
                time.sleep(0.1)


class Pressure:
    """HOW: a word for the report."""

    def __init__(self, directory):
        self.file = os.path.join(directory, "hole")
        self.episodes = 0
        try:
            self.group = Group()
            self.how = f"cgroup (version {self.group.version})"
        except OSError:
            self.group = None
            self.how = "a process that takes the machine's memory"

    def kills(self):
        return self.group.kills() if self.group else 0

    def inside(self, command, score=0):
        """COMMAND, to be run in the cgroup; the one with the highest SCORE is the first that the kernel kills."""
        group = os.path.join(self.group.path, "cgroup.procs") if self.group else "/dev/null"
        return ["sh", "-c", 'echo "$1" >/proc/self/oom_score_adj; echo $$ >"$0"; shift; exec "$@"', group, str(score),
                *command]

    def episode(self, seconds, stopped):
        """Until SECONDS() says that it is over, or STOPPED() that all is."""
        self.episodes += 1
        if self.group:
            self.read_in_group(seconds, stopped)
        else:
            self.take_memory(seconds, stopped)

    def read_in_group(self, over, stopped):
        with open(self.file, "wb") as f:
            f.truncate(FILE_BYTES)
        reader = subprocess.Popen(self.inside(["sh", "-c", 'while cat "$0" >/dev/null; do :; done', self.file], 900),
                                  stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            while not over() and not stopped():
                try:
                    self.group.limit(self.group.used() + ROOM)
                except OSError:
                    pass  # there is more in it that cannot be given up just now
                time.sleep(LOOK)
        finally:
            os.killpg(reader.pid, 9)
            reader.wait()
            self.group.limit(None)
            os.unlink(self.file)

    def take_memory(self, over, stopped):
        taker = subprocess.Popen(["python3", "-c", BALLAST], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            taker.stdout.readline()
            while not over() and not stopped() and taker.poll() is None:
                time.sleep(LOOK)
        finally:
            taker.kill()
            taker.communicate()

    def end(self):
        """Nobody in the cgroup outlives it."""
        if self.group:
            self.group.kill()
            self.group.remove()

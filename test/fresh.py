#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many fresh processes under the library, of different programs and settings, each with a time limit.

    fresh.py [--processes N] [--seconds N] LIBRARY

Each must end as it does without the library, with the same words on stdout. What hangs is killed and counted.
"""
import argparse
import collections
import concurrent.futures
import os
import shutil
import subprocess
import sys

THREADS = ("import threading\n"
           "def work(n):\n"
           "    kept = [bytes(i * 37 % 5000) for i in range(300)]\n"
           "    print(sum(map(len, kept)), flush=True)\n"
           "for n in range(4):\n"
           "    t = threading.Thread(target=work, args=(n,)); t.start(); t.join()\n")
FORKS = "for i in 1 2 3; do (echo $i; exit $i) & wait $!; echo $?; done; exec sh -c 'exit 5'"

COMMANDS = [
    ["true"],
    ["false"],
    ["sh", "-c", FORKS],
    ["sh", "-c", "seq 2000 | sort -r | tail -n 3; kill -9 $$"],
    ["sort", "--parallel=4", "/etc/services"],
    ["awk", "BEGIN { for (i = 0; i < 5000; i++) a[i] = i \"x\"; print length(a) }"],
    ["sed", "-n", "s/root/ROOT/p", "/etc/passwd"],
    ["grep", "-c", "a", "/etc/services"],
    ["tar", "cf", "-", "/etc/passwd", "--mtime=@0", "-P"],
    ["perl", "-e", "my @a = map { 'x' x $_ } 1 .. 2000; print scalar @a, \"\\n\"; exit 3"],
    ["python3", "-c", THREADS],
    ["bash", "-c", "a=(); for i in {1..500}; do a+=(\"$i$i\"); done; echo ${#a[@]}; exit 7"],
]
SETTINGS = [
    "",
    "decay_ms:0",
    "decay_ms:1,arenas:1",
    "background:off",
    "handoff:armed,handoff_min:1M",
    "handoff_min:1M,decay_ms:-1",
    "release:io_uring,decay_ms:0",
    "release:remap,decay_ms:2",
    "thp:always",
    "limit_hard:256M",
    "handoff:off,thp:never",
]


def run(command, library, setting, seconds):
    """(status, words); status None: it hung."""
    environment = {**os.environ, "LC_ALL": "C"}
    environment.pop("PMDALLOC_CONF", None)
    if library:
        environment.update(LD_PRELOAD=library, PMDALLOC_CONF=setting)
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None, b""
    return done.returncode, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=120, help="of a process: a busy machine is no hang")
    parser.add_argument("library")
    args = parser.parse_args()
    library = os.path.abspath(args.library)
    commands = [command for command in COMMANDS if shutil.which(command[0])]
    expected = [run(command, None, "", args.seconds) for command in commands]
    outcome = collections.Counter()

    def one(number):
        command = commands[number % len(commands)]
        setting = SETTINGS[number // len(commands) % len(SETTINGS)]
        status, words = run(command, library, setting, args.seconds)
        if status is None:
            outcome["hung"] += 1
        elif (status, words) != expected[number % len(commands)]:
            outcome["different"] += 1
        else:
            outcome["same"] += 1
            return
        print(f"PMDALLOC_CONF={setting} {' '.join(command)!r}: status {status}", file=sys.stderr)

    with concurrent.futures.ThreadPoolExecutor(2 * os.cpu_count()) as pool:
        list(pool.map(one, range(args.processes)))
    print(f"{args.processes} processes, {len(commands)} programs, {len(SETTINGS)} settings: "
          f"{outcome['same']} the same, {outcome['different']} different, {outcome['hung']} hung")
    return outcome["same"] != args.processes or not commands


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What the modes of the option check cost real programs: CPU time of each, interleaved, as ratios to check:off; medians. And, as
the worst there is, a loop of nothing but malloc and free.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import allocators  # noqa: E402

MODES = {"off": "check:off", "fast": "", "strict": "check:strict"}
BARS = {"fast": 1.03, "strict": 1 / 0.75}  # strict: a quarter of the speed lost
SQL = """create table t(a integer primary key, b text, c text);
with recursive n(x) as (select 1 union all select x + 1 from n where x < 120000)
insert into t select x, hex(x * 7919 % 100003), printf('%0' || (x % 90) || 'd', x) from n;
create index i on t(b); select count(*), sum(length(c)) from t where b > '3'; update t set c = c || b where a % 3 = 0;
select b, count(*) from t group by substr(b, 1, 2) order by 2 limit 5;"""
PYTHON = """import json, re
rows = [{"n": i, "text": str(i) * (i % 9), "list": list(range(i % 20))} for i in range(40000)]
for _ in range(3):
    rows = json.loads(json.dumps(rows))
words = {}
for row in rows:
    for word in re.split("[13]", row["text"]):
        words[word] = words.get(word, 0) + 1
print(len(words))"""
PERL = 'my %h; for (1..300000) { $h{$_ % 50000} .= "x" x ($_ % 40); } print scalar(keys %h), "\\n"'
CXX = """#include <map>
#include <string>
#include <vector>
#include <regex>
int main() { std::map<std::string, std::vector<int>> m; std::regex r("a+"); return m.size() + std::regex_match("a", r); }"""


def programs(folder):
    """Name to command, of those whose program is there."""
    source = os.path.join(folder, "program.cc")
    with open(source, "w", encoding="utf-8") as f:
        f.write(CXX)
    commands = {
        "sqlite3": ["sqlite3", ":memory:", SQL],
        "python3": ["python3", "-S", "-c", PYTHON],
        "perl": ["perl", "-e", PERL],
        "g++": ["g++", "-O1", "-c", "-o", os.path.join(folder, "program.o"), source],
        "git log": ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "log", "--stat", "-n", "150"],
        "node": ["node", "-e", "let a=[];for(let i=0;i<3e5;i++)a.push({i,s:'x'+i});console.log(JSON.stringify(a).length)"],
        "sort": ["sh", "-c", "seq 400000 | sort -R --random-source=/bin/ls | sort -n | tail -n 1"],
    }
    found = {}
    for name, command in commands.items():
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            found[name] = command
        else:
            print(f"{name} cannot be run here: left out", file=sys.stderr)
    return found


def cpu_seconds(command, path, options):
    """User and system time of COMMAND and all that it starts."""
    environment = allocators.environment(path)
    environment.pop("PMDALLOC_CONF", None)
    if options:
        environment["PMDALLOC_CONF"] = options
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or "pmdalloc:" in done.stderr:
        sys.exit(f"{command[0]} with {options}: status {done.returncode}: {done.stderr[:1000]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(commands, path, rounds):
    """(program, mode) to its times."""
    times = {}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            for mode in allocators.rotated(MODES, turn):
                seconds = cpu_seconds(command, path, MODES[mode])
                if turn:  # the first warms caches
                    times.setdefault((name, mode), []).append(seconds)
    return times


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--rounds", type=int, default=7)
    arguments = p.parse_args()
    if not arguments.ours:
        sys.exit("--ours is missing")
    path = os.path.abspath(arguments.ours)
    allocators.warn_if_busy()
    with tempfile.TemporaryDirectory() as folder:
        commands = programs(folder)
        pairs = os.path.join(arguments.programs, "pairs")
        times = measure(commands, path, arguments.rounds)
        loop = measure({"malloc and free, 64 B": [pairs, "hot", "64", "20000000"]}, path, 1)
    middle = {key: statistics.median(values) for key, values in times.items()}
    rows = []
    ratios = {mode: [] for mode in MODES}
    for name in commands:
        each = {mode: middle[name, mode] / middle[name, "off"] for mode in MODES}
        for mode in MODES:
            ratios[mode].append(each[mode])
        rows.append([name, f"{middle[name, 'off']:.3f} s", *(f"{each[mode]:.3f}" for mode in MODES)])
    means = {mode: allocators.geometric_mean(ratios[mode]) for mode in MODES}
    rows.append(["geometric mean", "", *(f"{means[mode]:.3f}" for mode in MODES)])
    for name in {name for name, _ in loop}:
        rows.append([name, f"{loop[name, 'off'][0]:.3f} s", *(f"{loop[name, m][0] / loop[name, 'off'][0]:.2f}" for m in MODES)])
    allocators.table(["CPU time", "check:off", *MODES], rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as f:
            json.dump([[*key, values] for key, values in times.items()], f, indent=1)
    fine = allocators.judge([(f"check:{mode}", means[mode], bar) for mode, bar in BARS.items()])
    sys.exit(arguments.check and not fine)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Checks reports of statistics: stats_formats.py json|openmetrics|text [full]  (the report on standard input).

With "full" the report is that of print_stats.c, whose counters are known.
"""
import errno
import json
import math
import re
import sys

BACKENDS = ["auto", "process_madvise", "io_uring", "madvise", "remap", "pt_advice"]
CLASSES, BUCKETS, SIZES, ERRNOS = 82, 32, 16, 134
LABELLED = {"slabs": "state", "classes": "class", "backends": "backend", "errors": "errno"}


def check(condition, *what):
    if not condition:
        sys.exit("stats_formats: " + " ".join(str(w) for w in what))


def column(rows, name):
    return sum(row[name] for row in rows)


# ---- JSON ----------------------------------------------------------------------------------------------------------

def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    check(len(names) == len(set(names)), "a name twice in", names)
    return dict(pairs)


def check_histogram(name, buckets, bound):
    bounds = [b[bound] for b in buckets]
    check(all(isinstance(b["count"], int) for b in buckets), name, buckets)
    check(None not in bounds[:-1], name, "has a bucket behind the unbounded one")
    known = [b for b in bounds if b is not None]
    check(known == sorted(set(known)), name, "has bounds out of order", bounds)


def check_json(report, full):
    check(set(report) == {"version", "release", "statistics", "occupancy", "slabs", "classes", "backends", "batches",
                          "errors", "options"}, sorted(report))
    stats, classes = report["statistics"], report["classes"]
    check(all(isinstance(n, int) and n >= 0 for n in stats.values()), stats)
    check(all(isinstance(value, str) for value in report["options"].values()), report["options"])
    for section, label in LABELLED.items():
        rows = report[section]
        names = [row[label] for row in rows]
        check(len(names) == len(set(names)), section, names)
        for row in rows:
            numbers = [v for k, v in row.items() if k not in (label, "latency")]
            check(all(isinstance(n, int) and n >= 0 for n in numbers), section, row)
    check_histogram("occupancy", report["occupancy"], "le_bytes")
    check_histogram("batches", report["batches"], "le")
    for row in report["backends"]:
        check_histogram(row["backend"], row["latency"], "le_us")

    # One walk made all of these.
    for total, part in [("live_blocks", "live_blocks"), ("live_bytes", "live_bytes"), ("free_blocks", "free_blocks"),
                        ("free_in_active_bytes", "pinned_bytes"), ("regions_active", "pinned_regions")]:
        check(stats[total] == column(classes, part), total, stats[total], "is not the sum", column(classes, part))
    check(column(report["occupancy"], "count") == stats["regions_active"], "occupancy")
    check(column(report["slabs"], "slabs") == column(classes, "slabs"), "slabs")
    check(stats["free_in_active_bytes"] - stats["free_slice_bytes"] == column(classes, "free_bytes"), "free blocks")
    check(stats["free_in_active_dirty_bytes"] <= stats["free_in_active_bytes"], "dirty bytes")
    check(stats["pte_pages_held"] <= stats["regions_active"] + stats["regions_dirty"] + stats["regions_releasing"])
    for row in classes:
        size = row["block_bytes"]
        check(row["live_bytes"] == row["live_blocks"] * size or row["class"] == "large", row)
        check(row["free_bytes"] == row["free_blocks"] * size, row)
        check(row["class"] in ("large", "several", str(size)), row)
        check(row["pinned_regions"] <= row["regions"], row)
    if full:
        check_full(report)


def check_full(report):
    check([c["class"] for c in report["classes"][:CLASSES]] == sorted({c["class"] for c in report["classes"]} -
                                                                     {"large", "several"}, key=int), "classes")
    check(len(report["classes"]) == CLASSES + 2, len(report["classes"]), "classes")
    for row in report["classes"][:CLASSES]:
        check(row["live_blocks"] >= 3 and row["slabs"] >= 1 and row["regions"] >= 1, row)
    large = report["classes"][CLASSES]
    check(large["class"] == "large" and large["live_bytes"] >= 5 << 20 and large["regions"] >= 3, large)
    check([row["backend"] for row in report["backends"]] == BACKENDS, "backends")
    for b, row in enumerate(report["backends"]):
        check((row["calls"], row["ranges"], row["bytes"], row["failures"]) ==
              (b + 1, 10 * (b + 1), (1 << 60) + b, 1000 * (b + 1)), row)
        check(row["latency"] == [{"le_us": 1 << i if i < BUCKETS - 1 else None, "count": (1 << 50) + i}
                                 for i in range(BUCKETS)], row)
    check(report["batches"] == [{"le": (2 << i) - 1 if i < SIZES - 1 else None, "count": (1 << 50) + i}
                                for i in range(SIZES)], report["batches"])
    check(len(report["errors"]) == ERRNOS, len(report["errors"]), "errors")
    for number, row in enumerate(report["errors"]):
        name = row["errno"]
        check(row["refused"] == number + 1, row)
        check(name == str(number) or getattr(errno, name, number) == number, row)
    named = {row["errno"] for row in report["errors"]}
    check({"EINVAL", "ENOMEM", "EAGAIN", "EPERM", "ENOSYS", "EBADF", "EINTR", "EFAULT", "EOPNOTSUPP"} <= named, named)


# ---- OpenMetrics: the rules of the specification that a line or a family can break ---------------------------------

ANY_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{((?:{ANY_LABEL},?)*)\}})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
SUFFIXES = {"gauge": [""], "counter": ["_total"], "info": ["_info"], "histogram": ["_bucket", "_count", "_sum"],
            "gaugehistogram": ["_bucket", "_gcount", "_gsum"]}


def check_family(name, about, samples):
    kind, unit = about.get("TYPE"), about.get("UNIT")
    check(kind in SUFFIXES and "HELP" in about, name, about)
    check(unit is None or (name.endswith("_" + unit) and kind != "info"), name, "does not end in its unit", unit)
    check(unit in (None, "bytes", "seconds", "regions"), name, "has a unit that is no base unit:", unit)
    check(name.endswith("_bytes") == (unit == "bytes"), name, unit)
    seen, buckets = set(), {}
    for sample, labels, value in samples:
        check(sample[len(name):] in SUFFIXES[kind] and sample.startswith(name), sample, "in", name)
        check((sample, labels) not in seen, sample, labels, "twice")
        seen.add((sample, labels))
        check(re.fullmatch(r"[0-9]+(\.[0-9]+)?", value), sample, value)
        if sample.endswith("_bucket"):
            le = dict(labels)["le"]
            check(le == "+Inf" or le == repr(float(le)), sample, "is not canonical:", le)
            group = tuple(label for label in labels if label[0] != "le")
            buckets.setdefault(group, []).append((float(le.replace("+Inf", "inf")), int(value)))
    values = {(sample, labels): value for sample, labels, value in samples}
    for group, pairs in buckets.items():
        check(pairs == sorted(pairs) and pairs[-1][0] == math.inf, name, pairs)
        check([n for _, n in pairs] == sorted(n for _, n in pairs), name, "is not cumulative")
        for count in ("_count", "_gcount"):
            if (name + count, group) in values:
                check(int(values[name + count, group]) == pairs[-1][1], name + count)
                check((name + count.replace("count", "sum"), group) in values, name, "has a count and no sum")


def parse_openmetrics(text):
    check(text.endswith("# EOF\n") and text.count("# EOF") == 1, "the end is missing")
    families, current = {}, None
    for line in text[:-len("# EOF\n")].splitlines():
        if line.startswith("# "):
            _, what, name, value = line.split(" ", 3)
            check(what in ("TYPE", "UNIT", "HELP"), line)
            if name != current:
                check(name not in families, name, "is not in one piece")
                families[name] = ({}, [])
                current = name
            about, samples = families[name]
            check(not samples and what not in about, line)
            about[what] = value
        else:
            match = SAMPLE.match(line)
            check(match and current, "no sample:", line)
            families[current][1].append((match[1], tuple(LABEL.findall(match[2] or "")), match[3]))
    for name, (about, samples) in families.items():
        check_family(name, about, samples)
    return families


def check_with_prometheus(text):
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    except ImportError:
        print("stats_formats: no prometheus_client: only checked by the rules here", file=sys.stderr)
        return
    check(len(list(text_string_to_metric_families(text))) > 40, "few families")


def check_openmetrics(text, full):
    families = parse_openmetrics(text)
    check_with_prometheus(text)
    for name in ("pmdalloc_live_bytes", "pmdalloc_heap_committed_bytes", "pmdalloc_regions_active",
                 "pmdalloc_releases", "pmdalloc_region_live_bytes", "pmdalloc_class_pinned_bytes",
                 "pmdalloc_backend_bytes", "pmdalloc_backend_latency_seconds", "pmdalloc_release_refused",
                 "pmdalloc_options"):
        check(name in families, name, "is missing")
    if not full:
        return
    values = {(sample, labels): value for _, samples in families.values() for sample, labels, value in samples}
    for b, backend in enumerate(BACKENDS):
        label = (("backend", backend),)
        check(int(values["pmdalloc_backend_bytes_total", label]) == (1 << 60) + b, backend)
        check(values["pmdalloc_backend_latency_seconds_sum", label] == (f"{b}.{b:06}" if b else "0.0"), backend)
        for i in range(BUCKETS):
            le = repr((1 << i) / 1e6) if i < BUCKETS - 1 else "+Inf"
            count = values["pmdalloc_backend_latency_seconds_bucket", label + (("le", le),)]
            check(int(count) == sum((1 << 50) + j for j in range(i + 1)), backend, le, count)
    check(int(values["pmdalloc_release_refused_total", (("errno", "EINVAL"),)]) == errno.EINVAL + 1, "EINVAL")
    check(len(families["pmdalloc_class_slabs"][1]) == CLASSES + 2, "classes")


# ---- Text ----------------------------------------------------------------------------------------------------------

def check_text(text, full):
    blocks = text.split("\n\n")
    check(blocks[0].startswith("pmdalloc ") and blocks[-1].startswith("options ") and text.endswith("\n"), "frame")
    for block in blocks[:-1]:
        title, *lines = block.split("\n")
        check(title and lines and not title.startswith(" "), "no title:", block)
        check(all(re.match(r"  \S", line) and line == line.rstrip() for line in lines), block)
        if "pinned" in title:
            check(len({len(line) for line in lines}) == 1, "columns are not aligned:\n" + block)
    if full:
        for word in BACKENDS + ["EINVAL", "large", "several", "current"]:
            check(re.search(r"^  (release +)?%s\b" % word, text, re.M), word, "is missing")


def main():
    form, full = sys.argv[1], sys.argv[2:] == ["full"]
    text = sys.stdin.read()
    check(text.isascii() and "\0" not in text, "not plain text")
    if form == "json":
        check_json(json.loads(text, object_pairs_hook=no_duplicates), full)
    elif form == "openmetrics":
        check_openmetrics(text, full)
    else:
        check_text(text, full)


main()

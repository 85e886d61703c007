# SPDX-License-Identifier: MIT
"""What was measured where: the machine, the versions of the allocators, the setting of huge pages."""

import ctypes
import os
import platform
import re
import subprocess

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
PR_SET_THP_DISABLE = 41

# Huge pages as each allocator asks for them, and for none of them; what options call these.
AS_THEY_COME, OFF = "as they come", "off"
POLICIES = {"both": (AS_THEY_COME, OFF), "as-they-come": (AS_THEY_COME,), "off": (OFF,)}


def first_match(path, pattern, otherwise="?"):
    try:
        with open(path, encoding="utf-8") as f:
            found = re.search(pattern, f.read(), re.MULTILINE)
    except OSError:
        return otherwise
    return found.group(1).strip() if found else otherwise


def available_mib():
    return int(first_match("/proc/meminfo", r"^MemAvailable:\s*(\d+)", "0")) // 1024


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe():
    return {
        "cpu": first_match("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": int(first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)", "0")) // 1024,
        "kernel": platform.release(),
        "thp": first_match(THP, r"\[(\w+)\]"),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
    }


def package_version(path):
    """The version of the package that a library belongs to; empty if none."""
    for name in (path, os.path.realpath(path), os.path.realpath(path).removeprefix("/usr")):
        owner = output("dpkg-query", "-S", name).split(":")[0]
        if owner:
            return output("dpkg-query", "-W", "-f", "${Version}", owner)
    return ""


def commit():
    """Of these sources; with a plus sign if they were changed since."""
    folder = os.path.dirname(os.path.abspath(__file__))
    text = output("git", "-C", folder, "rev-parse", "--short", "HEAD")
    changed = output("git", "-C", folder, "status", "--porcelain", "--untracked-files=no")
    return text + ("+" if text and changed else "")


def versions(paths, ours):
    """Name to version; of what no package brought, where it is."""
    found = {}
    for name, path in paths.items():
        if path is None:
            found[name] = os.confstr("CS_GNU_LIBC_VERSION").removeprefix("glibc ")
        elif name == ours:
            found[name] = commit() or path
        else:
            found[name] = package_version(path) or path
    return found


def huge_pages(on):
    """Whether this process and those that it starts are given huge pages, whatever they ask for."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_THP_DISABLE, 0 if on else 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_THP_DISABLE")
    for name, value in {"MIMALLOC_ALLOW_LARGE_OS_PAGES": "0", "MIMALLOC_LARGE_OS_PAGES": "0"}.items():
        if on:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

# SPDX-License-Identifier: MIT
"""
Sources of the packages that are installed, by the machine's own apt: the mirror and the keys that it names, asked for
sources as well, by a configuration that is read for nothing else.
"""

import glob
import os
import re
import shutil
import subprocess

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
CONF = """
Dir::Etc::SourceList "{0}/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::PreferencesParts "{0}/none";
Dir::State "{0}/state";
Dir::State::Status "{0}/status";
Dir::Cache "{0}/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class Missing(Exception):
    """What is needed is not here, and cannot be had."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"no {program}")


def run(command, log, **more):
    """Missing with the last line that was said, if it fails."""
    with open(log, "ab") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, **more)
    if done.returncode:
        with open(log, encoding="utf-8", errors="replace") as f:
            last = (f.read().splitlines() or [""])[-1]
        raise Missing(f"{' '.join(command[:4])}: status {done.returncode}: {last} ({log})")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def versions(package):
    """The name and the version of the source of PACKAGE as it is installed."""
    text = output("dpkg-query", "-W", "-f", "${source:Package} ${source:Version}", package)
    if not text:
        raise Missing(f"package {package} is not installed")
    return text.split()


def own_apt(cache):
    """The file of a configuration that knows where sources are."""
    folder = os.path.join(cache, "apt")
    conf = os.path.join(folder, "apt.conf")
    if os.path.exists(conf):
        return conf
    need("apt-get", "dpkg-source")
    known = output("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Identifier: Packages")
    suites = {s for s in re.findall(r"^(\S+) main (\S+)$", known, re.MULTILINE) if "/debian" in s[1]}
    if not suites:
        raise Missing("the machine's apt sources name no mirror of Debian's")
    for name in ("none", "state/lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    keys = f"[signed-by={KEYS}] " if os.access(KEYS, os.R_OK) else ""
    with open(os.path.join(folder, "sources.list"), "w", encoding="utf-8") as f:
        f.writelines(f"deb-src {keys}{where} {name} main\n" for name, where in sorted(suites))
    with open(os.path.join(folder, "status"), "w", encoding="utf-8"):
        pass
    with open(conf + ".new", "w", encoding="utf-8") as f:
        f.write(CONF.format(folder))
    run(["apt-get", "-c", conf + ".new", "update", "-q"], os.path.join(folder, "log"))
    os.rename(conf + ".new", conf)
    return conf


def source_of(package, cache):
    """The folder of the unpacked source of PACKAGE, of the version that is installed."""
    name, version = versions(package)
    folder = os.path.join(cache, f"{name}_{version}".replace(":", "_"))
    if not os.path.exists(folder):
        conf = own_apt(cache)
        part = folder + ".part"
        shutil.rmtree(part, ignore_errors=True)
        os.makedirs(part)
        run(["apt-get", "-c", conf, "source", "-q", "--download-only", f"{name}={version}"], f"{folder}.log", cwd=part)
        found = glob.glob("*.dsc", root_dir=part)
        run(["dpkg-source", "--no-check", "-x", *found, "source"], f"{folder}.log", cwd=part)
        os.rename(part, folder)
    return os.path.join(folder, "source")

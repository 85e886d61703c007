#!/bin/bash
# SPDX-License-Identifier: MIT
# pmdalloc-run --doctor: each fact that it prints is compared with another look at the same thing, as things are here,
# with other options and limits, in a cgroup, and behind filters that refuse or kill.
set -uo pipefail
export LC_ALL=C

build=${PMD_BUILD:-$PWD}
run=$build/LD_PRELOAD/pmdalloc-run
sandboxed=$build/test/sandboxed
bad=0

[ "${PMD_OVERRIDE:-yes}" = yes ] || { echo "skipped: this build has no pmdalloc-run" >&2; exit 77; }
dir=$(mktemp -d) || exit
group=
trap 'rm -rf "$dir"; [ -z "$group" ] || rmdir "$group" 2>/dev/null' EXIT
trap 'exit 130' INT TERM HUP

complain()
{
	echo "doctor: $*" >&2
	sed 's/^/    /' "$dir/out" "$dir/err" >&2
	bad=1
}

# doctor STATUS COMMAND...: its output is in $dir/out. STATUS any: 0 or 1.
doctor()
{
	local wanted=$1 status=0
	shift
	timeout 60 "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
	if [ "$wanted" = any ] && [ "$status" -le 1 ]; then
		wanted=$status
	fi
	[ "$status" = "$wanted" ] || complain "'$*' ends with $status instead of $wanted"
}

# value FACT: what is in its second column.
value()
{
	sed -n "s/^  $1  *\(.*\)/\1/p" "$dir/out" | sed 's/   *.*//' | head -n 1
}

# is FACT VALUE, like FACT PATTERN
is()
{
	[ "$(value "$1")" = "$2" ] || complain "'$1' is '$(value "$1")' instead of '$2'"
}

like()
{
	# shellcheck disable=SC2053 # a pattern
	[[ $(value "$1") == $2 ]] || complain "'$1' is '$(value "$1")' instead of '$2'"
}

advises()
{
	sed -n '/^To change/,$p' "$dir/out" | grep -e "$1" >/dev/null || complain "nothing is advised like '$1'"
}

configured()
{
	zcat /proc/config.gz 2>/dev/null | grep "^CONFIG_$1=y" >/dev/null
}

# That of the memory controller, or the one there is.
own_group()
{
	local first
	first=$(sed -n 's/^[0-9]*:[^:]*memory[^:]*://p' /proc/self/cgroup)
	echo "${first:-$(sed -n 's/^0:://p' /proc/self/cgroup)}"
}

# --- as things are here -----------------------------------------------------------------------------------------------

doctor any "$run" --doctor
[ -s "$dir/err" ] && complain "it writes to standard error"
is kernel "$(uname -r) $(uname -m)"
is overcommit "$(cat /proc/sys/vm/overcommit_memory)"
is max_map_count "$(cat /proc/sys/vm/max_map_count)"
if [ -e /sys/kernel/mm/transparent_hugepage/enabled ]; then
	is 'huge pages' "$(sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/mm/transparent_hugepage/enabled)"
else
	is 'huge pages' 'not there'
fi
swap=$(awk '/^SwapTotal/ { print $2 ? $2 " kB" : "none" }' /proc/meminfo)
is swap "$swap"
case $(awk '/^Seccomp:/ { print $2 }' /proc/self/status) in
0) seccomp=none ;;
1) seccomp=strict ;;
2) seccomp=filter ;;
*) seccomp=unknown ;;
esac
is seccomp "$seccomp"
if [ ! -e /proc/pressure/memory ]; then
	is 'stalls (PSI)' 'not there'
elif ! cat /proc/pressure/memory >/dev/null 2>&1; then
	is 'stalls (PSI)' off
else
	like 'stalls (PSI)' 'on, *'
fi
like cgroup "*$(own_group)"
limit=$(ulimit -v)
is 'address space' "$([ "$limit" = unlimited ] && echo 'not limited' || echo "$limit kB")"
is library "$("$run" --version | sed 's/.* //')"
if [ -r /proc/config.gz ] && [ "$seccomp" = none ]; then
	like 'page tables' "$(configured PT_RECLAIM && echo freed || echo kept)*"
	like 'per-VMA locks' "$(configured PER_VMA_LOCK && echo yes || echo no)*"
	is membarrier "$(configured MEMBARRIER && echo yes || echo 'no (ENOSYS)')"
	if ! configured IO_URING; then
		is io_uring 'no (ENOSYS)'
	elif [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" = 0 ]; then
		is io_uring allowed
	fi
fi
is "heap's page tables" 'come back'
frees=no
if [[ $(value 'page tables') == freed* ]]; then
	frees=yes
	doctor 0 "$run" --doctor
else
	doctor 1 "$run" --doctor
	is release remap
	advises 'Linux 6.14 or later'
fi

# The way of giving back is the library's own answer: it follows what the library is told.
for way in madvise remap; do
	doctor any "$run" -o release:$way --doctor
	is release "$way"
done
[ "$frees" = no ] || advises 'mapped anew although'
if [ "$frees" = yes ] && [ "$(value PIDFD_SELF)" = yes ]; then
	doctor 0 "$run" --doctor
	is release process_madvise
fi
doctor any "$run" -o background:off,thp:never,handoff:off --doctor
is 'background thread' none
is thp never
is 'handoff at exit' no
if [ "$seccomp" = none ]; then
	doctor any "$run" -o handoff_despite:all --doctor
	is 'background thread' runs
	is 'handoff at exit' yes
fi

# --- limits -----------------------------------------------------------------------------------------------------------

(ulimit -v 4000000 && exec "$run" --doctor) >"$dir/out" 2>"$dir/err" || [ "$frees" = no ] ||
	complain "it fails under a limit"
is 'address space' '4000000 kB'
advises 'ulimit -v'

# limited FOLDER FILE: in a cgroup of its own below FOLDER, if that is allowed here.
limited()
{
	[ -e "$1/cgroup.procs" ] && mkdir "$1/doctor-test-$$" 2>/dev/null || return
	group=$1/doctor-test-$$
	if [ -e "$group/$2" ] && echo 268435456 2>/dev/null >"$group/$2"; then
		# shellcheck disable=SC2016 # for the inner shell
		doctor any sh -c 'echo $$ >"$1/cgroup.procs" && exec "$2" --doctor' sh "$group" "$run"
		like cgroup "*/doctor-test-$$"
		is 'memory limit' 268435456
		limits=$((limits + 1))
	fi
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		rmdir "$group" 2>/dev/null && break
		sleep 1
	done
	group=
}
limits=0
limited /sys/fs/cgroup memory.max
limited /sys/fs/cgroup/memory memory.limit_in_bytes
[ "$limits" -gt 0 ] || echo "no cgroup can be made here: limits are not tried" >&2

# --- filters ----------------------------------------------------------------------------------------------------------

if "$sandboxed" EPERM membarrier true; then
	doctor any "$sandboxed" EPERM membarrier,io_uring_setup,process_madvise "$run" --doctor
	is seccomp filter
	is membarrier 'no (EPERM)'
	is io_uring 'forbidden (EPERM)'
	is process_madvise 'no (EPERM)'
	is PIDFD_SELF 'no (EPERM)'
	is release "$([ "$frees" = yes ] && echo madvise || echo remap)"
	is 'handoff at exit' no
	is "heap's page tables" 'come back'
	advises handoff_despite:seccomp
	doctor any "$sandboxed" kill membarrier,io_uring_setup "$run" --doctor
	is membarrier 'kills (SYS)'
	is io_uring 'kills (SYS)'
	doctor 1 "$sandboxed" ENOSYS madvise,process_madvise "$run" --doctor
	is 'page tables' 'no (ENOSYS)'
	is release remap
	is "heap's page tables" 'come back'
	advises 'madvise does not give memory back'
fi

# --- the other form, and wrong use ------------------------------------------------------------------------------------

doctor any "$run" --doctor
cp "$dir/out" "$dir/text"
if command -v python3 >/dev/null; then
	doctor any "$run" --doctor=json
	python3 - "$dir/out" "$dir/text" <<'END' || complain "the two forms differ"
import json, re, sys
facts = json.load(open(sys.argv[1]))
text = [line[2:] for line in open(sys.argv[2]) if line.startswith("  ") and not line.startswith("  - ")]
columns = [re.split("   *", t.strip()) for t in text if "  " in t]
named = {re.sub("[^a-z0-9]", "_", c[0].lower()): c[1] for c in columns}
steady = [k for k in named if k not in ("handoff_at_exit",)]
assert len(steady) >= 20, named
for key in steady:
	assert facts["facts"][key]["value"] == named[key], (key, facts["facts"].get(key), named[key])
assert facts["status"] in (0, 1) and isinstance(facts["change"], list)
END
fi
doctor 2 "$run" --doctor=xml
doctor 2 "$run" --doctor true
exit $bad

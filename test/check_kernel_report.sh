#!/bin/bash
# SPDX-License-Identifier: MIT
# kernel/check-kernel without a kernel: what it says, and how it ends, where something is missing (QEMU, a tool, the
# network, a package), where the command line is wrong, where tests fail or the kernel does, and when it is interrupted.
# QEMU and apt-get are stand-ins that say what a machine, or a mirror, would.
set -uo pipefail
export LC_ALL=C

skip()
{
	echo "skipped: $*" >&2
	exit 77
}

[ "${PMD_OVERRIDE-yes}${PMD_SANITIZED-no}" = yesno ] || skip "left to the main build"
here=$(cd "$(dirname "$0")" && pwd -P)
check=$here/../kernel/check-kernel
bad=0
for tool in cpio flock gzip xz dpkg-deb; do
	command -v "$tool" >/dev/null || skip "there is no $tool"
done
[ -x /bin/busybox ] || skip "there is no /bin/busybox"
! ldd /bin/busybox >/dev/null 2>&1 || skip "/bin/busybox is not static"
[ "$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)" -gt 6000 ] || skip "it takes memory for a machine"
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$dir"/{cache,tools,tmp,stand-ins}
echo tcg >"$dir/cache/accelerator"
export PMD_KERNEL_CACHE=$dir/cache TMPDIR=$dir/tmp FAKE=$dir/fake
for folder in /usr/local/bin /usr/bin /bin /usr/sbin /sbin; do
	ln -sf "$folder"/* "$dir/tools/" 2>/dev/null
done
: >"$dir/vmlinuz-1.2.3"

# The tests of the short form.
short=(phase-small mmap_lock t_release t_exit_errors t_fork t_fork_kinds t_fork_torn t_release_errors)

complain()
{
	echo "check_kernel_report: $*" >&2
	sed 's/^/    /' "$dir/out" >&2
	bad=1
}

# expect STATUS ARGUMENT...: what it says is in $dir/out; nothing is left behind.
expect()
{
	local wanted=$1 status=0
	shift
	PATH=$dir/stand-ins:$dir/tools "$check" "$@" >"$dir/out" 2>&1 </dev/null || status=$?
	[ "$status" -eq "$wanted" ] || complain "'$*' ends with $status, not with $wanted"
	[ -z "$(ls -A "$dir/tmp")" ] || complain "'$*' leaves $(ls -A "$dir/tmp")"
}

says()
{
	local pattern
	for pattern in "$@"; do
		grep -q -e "$pattern" "$dir/out" || complain "nothing is said like '$pattern'"
	done
}

# stand_in NAME: a program of that name, from standard input, which is found instead of the real one.
stand_in()
{
	{ echo '#!/bin/bash' && cat; } >"$dir/stand-ins/$1" && chmod 755 "$dir/stand-ins/$1"
}

# --- the command line -------------------------------------------------------------------------------------------------

# wrong PATTERN ARGUMENT...: one line that says so.
wrong()
{
	local pattern=$1
	shift
	expect 1 "$@"
	says "^check-kernel: $pattern"
	[ "$(wc -l <"$dir/out")" -eq 1 ] || complain "'$*' is answered by more than one line"
}

wrong "unknown option '--shrot'" --shrot
wrong "'bookwrom' is no kernel" bookwrom
wrong "'' is no kernel" ''
wrong "'$dir/none' is no kernel" "$dir/none"
wrong "'built-pt_reclaim' is no kernel" built-pt_reclaim
wrong "'built-A B' is no kernel" --without 'A B'
wrong "'built-' is no kernel" --without ''
wrong '--without needs a value' --without
wrong "there is no test 'phase'" --only phase
wrong '--only needs a value' --short --only
expect 0 --help
says '^Usage: check-kernel '

# --- what is missing --------------------------------------------------------------------------------------------------

# skipped REASON ARGUMENT...: every test of the table, and why.
skipped()
{
	local reason=$1 rows
	shift
	expect 77 "$@"
	says "skipped: $reason"
	rows=$(grep -c -e '^[a-z]*: [-_a-z ]*  ' "$dir/out")
	[ "$rows" -ge ${#short[@]} ] || complain "'$*' shows $rows tests"
	[ "$(grep -c -e '^[a-z]*: [-_a-z ]*  *skip\( *skip\)*$' "$dir/out")" -eq "$rows" ] ||
		complain "'$*': not every test is skipped"
	says '^0 passed, 0 failed, [1-9][0-9]* skipped$'
}

rm -f "$dir/tools/qemu-system-x86_64"
skipped 'there is no qemu-system-x86_64$'
says '^bookworm: skipped' '^trixie: skipped' '^sid: skipped' '^built: skipped'
skipped 'there is no qemu-system-x86_64$' --short
stand_in qemu-system-x86_64 <<'END'
echo "qemu $$" >>"$FAKE.calls"
cat "$FAKE.$(grep -c qemu "$FAKE.calls")" 2>/dev/null || exec sleep 600
END

# mirror MIRROR UPDATE DOWNLOAD: what apt-get knows, and what its commands say; nothing: they work.
mirror()
{
	stand_in apt-get <<END
case " \$* " in
*' indextargets '*) $1 ;;
*' update '*) [ -z "$2" ] || { echo "$2" >&2; exit 100; } ;;
*' download '*) [ -z "$3" ] || { echo "$3" >&2; exit 100; } ;;
*) exit 99 ;;
esac
END
}

stand_in apt-cache </dev/null
for tool in gcc make ld flex bison bc; do
	[ -e "$dir/tools/$tool" ] || ln -s /bin/true "$dir/tools/$tool"
done
none='true'
some='echo "stable main http://mirror.invalid/debian/"'
mirror "$none" '' ''
skipped "the machine's apt sources name no mirror of Debian's" bookworm
mirror "$some" 'E: Failed to fetch it: Temporary failure resolving it' ''
skipped 'the list of packages of bookworm cannot be had: E: Failed to fetch it' bookworm sid
says '^sid: skipped: the list of packages of sid cannot be had'
mirror "$some" '' 'E: Unable to locate package linux-image-cloud-amd64'
skipped 'package linux-image-cloud-amd64 cannot be had: E: Unable to locate package' bookworm
skipped 'package linux-source cannot be had: E: Unable to locate package' built
rm -f "$dir/tools/flex"
skipped 'there is no flex, to build a kernel with' built-PT_RECLAIM
mkdir -p "$PMD_KERNEL_CACHE/bookworm/linux-image-cloud-amd64"
skipped 'package linux-image-cloud-amd64 holds no kernel' bookworm
rm -f "$dir/stand-ins/apt-get"
if [ -e "$dir/tools/apt-get" ] && unshare -rn true 2>/dev/null; then
	check_without_network=$check
	check=$dir/without_network
	printf '#!/bin/sh\nexec unshare -rn "%s" "$@"\n' "$check_without_network" >"$check"
	chmod 755 "$check"
	skipped 'the list of packages of trixie cannot be had: [EW]: ' trixie
	check=$check_without_network
fi
mirror "$none" '' ''

# --- what a machine says ----------------------------------------------------------------------------------------------

# console N PANIC [NAME STATUS]...: what the N-th machine prints; all tests pass but those named.
console()
{
	local file=$FAKE.$1 panic=$2 name status
	shift 2
	{
		printf 'before\r\nmachine-start\nkernel 1.2.3-test\n'
		for name in "${short[@]}"; do
			status=0
			[ "${1-}" != "$name" ] || { status=$2 && shift 2; }
			echo "begins $name"
			if [ "$panic" = "$name" ]; then
				printf '[    1.0] BUG: it is gone\n[    1.1] Kernel panic - not syncing: really\n'
				return
			fi
			echo "result $name $status 1.00 3.00"
			[ "$status" -ne 77 ] || echo "skipped $name there is no such thing"
			[ "$status" -ne 1 ] || echo "failed $name: file.c:7: that is wrong"
			[ "$name" != phase-small ] ||
				echo "figures $name VmPTE 50 5000 75 kB, VmRSS 10 1000 20 kB, by remap"
		done
		echo 'machine-status 0'
	} >"$file"
}

# machines ARGUMENT...: what check-kernel makes of them.
machines()
{
	: >"$FAKE.calls"
	expect "$1" --short "$dir/vmlinuz-1.2.3"
}

console 1 none
machines 0
says '^8 passed, 0 failed, 0 skipped$' '^version  *1.2.3-test$' '^VmPTE at the peak, kB  *5000$' \
	'^  of the peak, %  *1.50$' '^VmRSS after, % of the peak  *1.00$' '^given back by  *remap$' \
	'^release: t_release  *ok, 2 s$'
console 1 none t_fork 1 t_fork_torn 77
machines 1
says '^6 passed, 1 failed, 1 skipped$' '^fork: t_fork  *FAIL$' '^fork: t_fork_torn  *skip$' \
	't_fork: file.c:7: that is wrong$' 't_fork_torn: skipped: there is no such thing$'

# A kernel's own end, once and for good; and a machine that ends without a word.
console 1 t_exit_errors
console 2 none
machines 0
says '^8 passed, 0 failed' 'booted again, as its kernel had panicked in t_exit_errors: .*BUG: it is gone'
console 2 t_fork_kinds
machines 1
says '^5 passed, 3 failed' '^fork: t_fork_kinds  *FAIL$' 'Kernel panic - not syncing: really' 'its last words'
: >"$FAKE.1"
machines 1
says '^0 passed, 8 failed' 'the machine did not come to its end'
if ! grep -q qemu "$FAKE.calls" || [ "$(grep -c qemu "$FAKE.calls")" -ne 1 ]; then
	complain "a machine that says nothing is booted again"
fi

# --- interrupted ------------------------------------------------------------------------------------------------------

rm -f "$FAKE".*
PATH=$dir/stand-ins:$dir/tools "$check" "$dir/vmlinuz-1.2.3" >"$dir/out" 2>&1 </dev/null &
pid=$!
for ((i = 0; i < 600; i++)); do
	[ ! -s "$FAKE.calls" ] || break
	sleep 0.1
done
kill -TERM "$pid"
wait "$pid"
status=$?
[ "$status" -eq 130 ] || complain "interrupted, it ends with $status"
[ -z "$(ls -A "$dir/tmp")" ] || complain "interrupted, it leaves $(ls -A "$dir/tmp")"
machine=$(sed -n 's/^qemu //p' "$FAKE.calls")
for ((i = 0; i < 100; i++)); do
	kill -0 "$machine" 2>/dev/null || break
	sleep 0.1
done
! kill -0 "$machine" 2>/dev/null || complain "interrupted, it leaves the machine $machine"
exit $bad

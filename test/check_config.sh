#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel/check-config: what it says, and how it ends, for configurations that are whole, that lack something, are too
# old, or are none at all. Those are made from the fragment, so that each option in there is tried.
set -eu
export LC_ALL=C

srcdir=$(cd "${srcdir:-$(dirname "$0")/..}" && pwd -P)
check=$srcdir/kernel/check-config
fragment=$srcdir/kernel/pmdalloc.config
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0

complain()
{
	echo "check_config: $*" >&2
	sed 's/^/    /' "$dir/out" >&2
	bad=1
}

# expect STATUS ARGUMENT...: runs it; what it says is in $dir/out.
expect()
{
	wanted=$1
	shift
	status=0
	"$check" "$@" >"$dir/out" 2>&1 </dev/null || status=$?
	[ "$status" -eq "$wanted" ] || complain "'$*' ends with $status, not with $wanted"
}

# says PATTERN...: each is in what was said, at most with other space between its words.
says()
{
	tr -s ' \t\n' ' ' <"$dir/out" >"$dir/line"
	for pattern in "$@"; do
		grep -q -e "$pattern" "$dir/line" || complain "nothing is said like '$pattern'"
	done
}

says_not()
{
	! grep -q -e "$1" "$dir/out" || complain "it says '$1'"
}

# whole VERSION [ARCHITECTURE]: a configuration with all that the fragment asks for.
whole()
{
	printf '#\n# Automatically generated file; DO NOT EDIT.\n'
	printf '# Linux/%s %s Kernel Configuration\n#\n' "${2-x86}" "$1"
	[ "${2-x86}" != x86 ] || echo 'CONFIG_X86_64=y'
	sed -n '/^CONFIG_/p; /^# CONFIG_.* is not set$/p' "$fragment"
}

without()
{
	sed "s/^CONFIG_$1=y\$/# CONFIG_$1 is not set/" "$2"
}

# The options that are asked for as "$1" says.
options()
{
	awk -v need="$1" '
		$1 == "#" && $2 == "need:" { now = $3 }
		/^CONFIG_/ && now == need { print substr($0, 8, index($0, "=") - 8) }' "$fragment"
}

whole 7.3.4 >"$dir/whole"
expect 0 "$dir/whole"
says 'needed: all there; useful: all there'
says_not MISSING
count=$(grep -c '^CONFIG_\|^# CONFIG_.* is not set$' "$fragment")
[ "$count" -ge 20 ] || complain "the fragment holds $count options only"
[ "$(grep -c '^[a-z]* *CONFIG_' "$dir/out")" -eq "$count" ] || complain "not every option of the fragment has a line"

# Each one taken out.
for option in $(options needed); do
	without "$option" "$dir/whole" >"$dir/config"
	expect 1 "$dir/config"
	says "needed CONFIG_$option MISSING lost: [-A-Za-z].* get it: [A-Z]" "needed: 1 amiss (CONFIG_$option);"
	expect 1 --quiet "$dir/config"
	says "needed CONFIG_$option MISSING"
	grep -v "CONFIG_$option=" "$dir/whole" >"$dir/config"
	expect 1 "$dir/config"
	says "needed CONFIG_$option MISSING"
done
for option in $(options useful); do
	without "$option" "$dir/whole" >"$dir/config"
	expect 0 "$dir/config"
	says "useful CONFIG_$option MISSING lost: [-A-Za-z].* get it: [A-Z]" \
		"useful: 1 amiss (CONFIG_$option); pmdalloc has"
	expect 1 --strict "$dir/config"
done
for option in $(options choice); do
	without "$option" "$dir/whole" >"$dir/config"
	expect 0 --strict "$dir/config"
	says "choice CONFIG_$option absent" 'needed: all there; useful: all there'
done
expect 0 --verbose "$dir/whole"
[ "$(grep -c '^ *why: ' "$dir/out")" -eq "$count" ] || complain "--verbose does not say why for every option"

# What should be off, and what serves as well.
for option in PSI_DEFAULT_DISABLED RCU_NOCB_CPU_DEFAULT_ALL RCU_LAZY; do
	sed "s/^# CONFIG_$option is not set\$/CONFIG_$option=y/" "$dir/whole" >"$dir/config"
	expect 1 --strict "$dir/config"
	says "useful CONFIG_$option SET lost:"
done
echo CONFIG_RCU_LAZY_DEFAULT_OFF=y >>"$dir/config"
expect 0 --strict "$dir/config"
without TRANSPARENT_HUGEPAGE_MADVISE "$dir/whole" >"$dir/config"
echo CONFIG_TRANSPARENT_HUGEPAGE_ALWAYS=y >>"$dir/config"
expect 0 "$dir/config"
says 'TRANSPARENT_HUGEPAGE_MADVISE present as CONFIG_TRANSPARENT_HUGEPAGE_ALWAYS'
sed 's/^CONFIG_ZRAM=y/CONFIG_ZRAM=m/; s/^CONFIG_SMP=y/CONFIG_SMP=m/' "$dir/whole" >"$dir/config"
expect 1 "$dir/config"
says 'CONFIG_ZRAM present' 'CONFIG_SMP MISSING'

# By version and architecture.
whole 6.1.158 | sed '/PT_RECLAIM/d; /PER_VMA_LOCK/d' >"$dir/config"
expect 1 "$dir/config"
says 'Linux 6.1.158, x86_64' 'this kernel is too old for page-table reclaim: pmdalloc uses remap' \
	'this kernel is too old for per-VMA locks' 'get it: Linux 6.14 or later' 'get it: Linux 6.4 or later'
whole 6.1.158 >"$dir/config"
expect 0 "$dir/config"
whole 6.12.63 | sed '/PT_RECLAIM/d' >"$dir/config"
expect 1 "$dir/config"
says 'page-table reclaim: pmdalloc uses remap' 'needed: 1 amiss (CONFIG_PT_RECLAIM)'
whole 6.18.44 | sed '/PT_RECLAIM/d' >"$dir/config"
expect 1 "$dir/config"
says 'up to 6.19 Memory Management options: reclaim empty user page table pages'
says_not 'too old'
says_not 'Nobody is asked'
without PT_RECLAIM "$dir/whole" >"$dir/config"
expect 1 "$dir/config"
says 'Nobody is asked for it since Linux 7.0'
whole 6.18.44 arm64 | sed '/PT_RECLAIM/d' >"$dir/config"
expect 1 "$dir/config"
says 'Linux 6.18.44, arm64' 'get it: Linux 7.0 or later'
whole 7.3.4 powerpc | sed '/PT_RECLAIM/d' >"$dir/config"
expect 1 "$dir/config"
says 'there is no such thing on powerpc'
whole 5.4.300 | sed '/PT_RECLAIM/d; s/MMU_GATHER_RCU/HAVE_RCU/' >"$dir/config"
expect 1 "$dir/config"
says 'MMU_GATHER_RCU_TABLE_FREE present as CONFIG_HAVE_RCU_TABLE_FREE'
sed 1,4d "$dir/whole" | sed '/PT_RECLAIM/d' >"$dir/config"
expect 1 "$dir/config"
says 'of unknown version'
says_not 'too old'
expect 1 --kernel 6.1 "$dir/config"
says 'too old for page-table reclaim'

# Compressed, from standard input, and not at all.
gzip -c "$dir/whole" >"$dir/whole.gz"
expect 0 "$dir/whole.gz"
"$check" - <"$dir/whole.gz" >"$dir/out" || complain "standard input is not taken"
head -c 100 "$dir/whole.gz" >"$dir/torn.gz"
expect 3 "$dir/torn.gz"
says 'damaged'
: >"$dir/empty"
expect 3 "$dir/empty"
says 'is empty'
gzip -c "$dir/empty" >"$dir/empty.gz"
expect 3 "$dir/empty.gz"
head -c 20000 /dev/urandom >"$dir/garbage"
printf 'x' | dd of="$dir/garbage" conv=notrunc status=none # not by chance a gzip's start
expect 3 "$dir/garbage"
says 'not\|no CONFIG_'
expect 3 "$fragment.none"
expect 3 "$dir"
mkdir "$dir/root"
expect 3 --root "$dir/root"
says 'no configuration was found'
mkdir "$dir/root/boot"
cp "$dir/whole" "$dir/root/boot/config-$(uname -r)"
expect 0 --root "$dir/root"
says "root/boot/config-$(uname -r): Linux 7.3.4"
mkdir "$dir/root/proc"
without FUTEX "$dir/whole" | gzip >"$dir/root/proc/config.gz"
expect 1 --root "$dir/root"
says 'root/proc/config.gz' 'CONFIG_FUTEX MISSING'

# Wrong use.
expect 2 --nonsense
expect 2 "$dir/whole" "$dir/whole"
expect 2 --kernel
expect 2 --kernel new "$dir/whole"
expect 2 --fragment "$dir/none" "$dir/whole"
printf '# need: needed\nCONFIG_X=y\n' >"$dir/fragment"
expect 2 --fragment "$dir/fragment" "$dir/whole"
expect 2 ''
expect 0 --help

# The running kernel, if it tells, looked at in another way.
if [ -r /proc/config.gz ]; then
	status=0
	"$check" >"$dir/out" || status=$?
	says "/proc/config.gz: Linux $(uname -r | sed 's/-.*//')"
	missing=0
	for option in $(options needed); do
		if zcat /proc/config.gz | grep -q "^CONFIG_$option=y"; then
			says "CONFIG_$option present"
		else
			missing=1
			says "CONFIG_$option MISSING"
		fi
	done
	[ "$status" -eq "$missing" ] || complain "the running kernel's configuration: ended with $status"
fi
exit $bad

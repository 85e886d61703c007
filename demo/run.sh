#!/bin/bash
# SPDX-License-Identifier: MIT
# The same redis-server under four allocators, side by side in one table. Usage: demo/run.sh BUILD_DIRECTORY
set -euo pipefail

source_dir=$(cd "$(dirname "$0")" && pwd -P)
build=$(cd "$1" && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/pmdalloc-demo.XXXXXX")
allocators=(glibc jemalloc mimalloc pmdalloc)
declare -A parent_pid server_pid peak rss pte vmas exit_ms flushed

# Values of these sizes, this many of each: a million keys.
fill=("400000 16" "300000 100" "200000 400" "100000 2000")
warm_mib=900
settle=13
rounds=3

say()
{
	printf '%s\n' "$*"
}

die()
{
	say "demo: $*" >&2
	exit 1
}

# A parent that is killed takes its server with it.
clean_up()
{
	local name
	for name in "${!parent_pid[@]}"; do
		kill -KILL "${parent_pid[$name]}" 2>/dev/null || true
		wait "${parent_pid[$name]}" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

cli()
{
	redis-cli -s "$work/$1.sock" "${@:2}" </dev/null
}

library_of()
{
	case $1 in
	glibc) ldconfig -p | awk '/libc\.so\.6 .*x86-64/ { print $NF; exit }' ;;
	jemalloc) ldconfig -p | awk '/libjemalloc\.so\.2 / { print $NF; exit }' ;;
	mimalloc) ldconfig -p | awk '/libmimalloc\.so\.2/ { print $NF; exit }' ;;
	pmdalloc) echo "$build/.libs/libpmdalloc.so.0" ;;
	esac
}

# The command prefix that makes allocator $1 serve redis-server. Only jemalloc is there by Debian's linking.
prefix_of()
{
	case $1 in
	glibc) echo "env LD_LIBRARY_PATH=$work/lib" ;;
	jemalloc) echo "env" ;;
	mimalloc) echo "env LD_LIBRARY_PATH=$work/lib LD_PRELOAD=$(library_of mimalloc)" ;;
	pmdalloc) echo "env LD_LIBRARY_PATH=$work/lib $build/LD_PRELOAD/pmdalloc-run" ;;
	esac
}

build_helpers()
{
	mkdir "$work/lib"
	${CC:-cc} -O2 -Wall -Wextra -o "$work/parent" "$source_dir/parent.c"
	${CC:-cc} -O2 -Wall -Wextra -shared -fPIC -Wl,-soname,libjemalloc.so.2 -o "$work/lib/libjemalloc.so.2" \
		"$source_dir/no-jemalloc.c"
}

# What the loader binds redis-server's own malloc to, by its own account.
bound_library()
{
	# shellcheck disable=SC2046 # the prefix is several words
	LD_DEBUG=bindings LD_BIND_NOW=1 LD_DEBUG_OUTPUT="$work/$1.bind" \
		$(prefix_of "$1") redis-server --version >/dev/null
	sed -n "s/.*binding file [^ ]*redis[^ ]* \[0\] to \([^ ]*\) .*normal symbol .malloc'.*/\1/p" "$work/$1".bind.* |
		tail -n 1
	rm -f "$work/$1".bind.*
}

check_server()
{
	local name=$1 wanted bound other
	wanted=$(realpath "$(library_of "$name")")
	bound=$(realpath "$(bound_library "$name")")
	[ "$bound" = "$wanted" ] || die "$name: redis-server's malloc is bound to $bound instead of $wanted"
	grep -qF "$wanted" "/proc/${server_pid[$name]}/maps" || die "$name: $wanted is not in the server's maps"
	for other in jemalloc mimalloc pmdalloc; do
		if [ "$other" != "$name" ] && grep -F .so "/proc/${server_pid[$name]}/maps" | grep -vF "$work" | grep -q "lib$other"; then
			die "$name: lib$other is in the server's maps, too"
		fi
	done
	say "   malloc is served by $wanted (loader's bindings; /proc/${server_pid[$name]}/maps)"
}

start_server()
{
	local name=$1 try
	# shellcheck disable=SC2046 # the prefix is several words
	"$work/parent" $warm_mib "$work/$name.sock" "$work/$name.pid" "$work/$name.exit" $(prefix_of "$name") redis-server \
		--port 0 --unixsocket "$work/$name.sock" --save '' --appendonly no --dir "$work" --enable-debug-command local \
		--logfile "$work/$name.log" &
	parent_pid[$name]=$!
	for ((try = 0; try < 300; try++)); do
		if [ "$(cli "$name" ping 2>/dev/null)" = PONG ]; then
			server_pid[$name]=$(cat "$work/$name.pid")
			return
		fi
		kill -0 "${parent_pid[$name]}" 2>/dev/null || break
		sleep 0.05
	done
	cat "$work/$name.log" >&2 || true
	die "$name: redis-server does not answer"
}

status_of()
{
	awk -v field="$2:" '$1 == field { print $2 }' "/proc/${server_pid[$1]}/status"
}

fill_server()
{
	local part count size
	for part in "${fill[@]}"; do
		read -r count size <<<"$part"
		[ "$(cli "$1" debug populate "$count" "key:$size:" "$size")" = OK ] || die "$1: cannot fill the server"
	done
}

# Round by round over all servers, so that a slow moment of the machine is nobody's alone.
benchmark_servers()
{
	local round name out
	for ((round = 1; round <= rounds; round++)); do
		say "== redis-benchmark, round $round of $rounds: SET and GET, 200-byte values, 50 clients, pipelines of 16"
		for name in "${allocators[@]}"; do
			out=$(redis-benchmark -s "$work/$name.sock" -t set,get -n 300000 -r 300000 -d 200 -P 16 -c 50 --csv)
			awk -F'"' '$2 == "SET" { print $4 }' <<<"$out" >>"$work/$name.set"
			awk -F'"' '$2 == "GET" { print $4 }' <<<"$out" >>"$work/$name.get"
		done
	done
}

median()
{
	sort -n "$1" | awk '{ value[NR] = $1 } END { printf "%.0f", value[int((NR + 1) / 2)] }'
}

fill_and_delete()
{
	local name=$1
	say "== $name: a million keys of 16 to 2000 bytes, then FLUSHALL SYNC"
	fill_server "$name"
	vmas[$name]=$(wc -l <"/proc/${server_pid[$name]}/maps")
	[ "$(cli "$name" flushall sync)" = OK ] || die "$name: FLUSHALL failed"
	flushed[$name]=$SECONDS
}

# Each server gets the same time to settle after its FLUSHALL, which the next server's run may be a part of.
read_server()
{
	local name=$1 left=$((flushed[$1] + settle - SECONDS))
	[ "$left" -le 0 ] || sleep "$left"
	peak[$name]=$(status_of "$name" VmHWM)
	rss[$name]=$(status_of "$name" VmRSS)
	pte[$name]=$(status_of "$name" VmPTE)
}

stop_server()
{
	local name=$1
	fill_server "$name"
	kill -TERM "${parent_pid[$name]}"
	wait "${parent_pid[$name]}" || die "$name: redis-server did not end as it should"
	unset "parent_pid[$name]"
	exit_ms[$name]=$(cat "$work/$name.exit")
}

print_table()
{
	local name row='%-10s %10s %10s %10s %12s %13s %6s %9s\n'
	# shellcheck disable=SC2059 # the row is the format
	{
		printf "\n$row" allocator SET/s GET/s 'peak MiB' 'deleted MiB' 'page tabl. kB' VMAs 'exit ms'
		for name in "${allocators[@]}"; do
			printf "$row" "$name" "$(median "$work/$name.set")" "$(median "$work/$name.get")" "$((peak[$name] / 1024))" \
				"$(awk "BEGIN { printf \"%.1f\", ${rss[$name]} / 1024 }")" "${pte[$name]}" "${vmas[$name]}" \
				"${exit_ms[$name]}"
		done
	}
	cat <<END

SET/s, GET/s    operations per second, as redis-benchmark counts them; median of $rounds rounds
peak MiB        the most memory that was resident (VmHWM)
deleted MiB     what is still resident $settle s after everything was deleted (VmRSS)
page tabl. kB   the page tables that are still there at that moment (VmPTE)
VMAs            mappings of the full server (lines of /proc/PID/maps)
exit ms         from SHUTDOWN, the server filled again, to the return of its parent's wait()
END
}

build_helpers
for name in "${allocators[@]}"; do
	say "== $name: starting redis-server"
	start_server "$name"
	check_server "$name"
done
benchmark_servers
for name in "${allocators[@]}"; do
	fill_and_delete "$name"
done
for name in "${allocators[@]}"; do
	say "== $name: reading its memory, filling it again, ending it"
	read_server "$name"
	stop_server "$name"
done
print_table

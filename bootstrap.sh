#!/bin/bash
# SPDX-License-Identifier: MIT
# From a fresh Debian 12 to a running demo, or to a tested build, in one command.
set -euo pipefail

cd "$(dirname "$0")"
source_dir=$PWD
build=$source_dir/build
artifacts=${PMD_ARTIFACTS:-$source_dir/artifacts}
policy=/usr/sbin/policy-rc.d
policy_saved=
log=

build_packages=(autoconf automake binutils g++ gcc libc6-dev libtool liburing-dev make pkg-config)
demo_packages=(libjemalloc2 libmimalloc2.0 redis-server redis-tools)
bench_packages=(bpftrace gnuplot-nox libbenchmark-dev libclang-rt-dev libgoogle-perftools4 libtbbmalloc2)
check_packages=(apache2-utils bc bison busybox-static clang clang-format cpio default-jdk-headless dpkg-dev flex gdb git
	groff-base libpython3.11-testsuite libtcmalloc-minimal4 llvm man-db memcached nginx-light nodejs
	perl postgresql procps python3 python3-prometheus-client qemu-system-x86 shellcheck sqlite3 strace stress-ng
	systemd tcl tcl-dev valgrind xz-utils zlib1g-dev)

usage()
{
	cat <<'END'
Usage: ./bootstrap.sh COMMAND

  demo   installs what is missing, builds, and runs redis-server under four
         allocators: one table, in less than three minutes
  check  installs what is missing, builds, and runs every test and every
         configuration; then half a minute of benchmarks, kept in artifacts/
         (or where PMD_ARTIFACTS says): bench-report.html, .json, -table.md
  bench  installs what is missing, builds, and compares the allocators that
         there are in three minutes: build/bench-report.html
  build  installs what is missing and builds, in build/
  deps   installs what demo, check and make bench need, and nothing else
  help   prints this text

Debian 12, as root or with sudo. Nothing is installed but Debian's packages, and
no service is started.
END
}

say()
{
	printf '== %s\n' "$*"
}

fail()
{
	printf 'bootstrap.sh: %s\n' "$*" >&2
	exit 1
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		fail "installing packages needs root or sudo: $*"
	fi
}

# Packages that bring a service ask this file whether they may start it.
forbid_services()
{
	local answer
	answer=$(mktemp)
	printf '#!/bin/sh\nexit 101\n' >"$answer"
	if [ -e "$policy" ]; then
		policy_saved=$policy.saved-by-bootstrap
		as_root mv "$policy" "$policy_saved"
	else
		policy_saved=none
	fi
	as_root install -m 755 "$answer" "$policy"
	rm -f "$answer"
}

allow_services()
{
	case $policy_saved in
	'') ;;
	none) as_root rm -f "$policy" ;;
	*) as_root mv "$policy_saved" "$policy" ;;
	esac
	policy_saved=
}

clean_up()
{
	allow_services
	[ -z "$log" ] || rm -f "$log"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# nginx comes in several flavours, node from more than one place: the program decides.
provided()
{
	case $1 in
	nginx-light) [ -x /usr/sbin/nginx ] ;;
	nodejs) command -v node >/dev/null ;;
	default-jdk-headless) command -v javac >/dev/null ;;
	*) false ;;
	esac
}

install_missing()
{
	local package missing=()
	for package in "$@"; do
		installed "$package" || provided "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || fail "this needs Debian's apt-get, to install: ${missing[*]}"
	say "installing ${missing[*]}"
	forbid_services
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null
	allow_services
}

jobs_at_once()
{
	nproc 2>/dev/null || echo 2
}

# Runs a step quietly, and shows all of its output if it fails.
quietly()
{
	log=${log:-$(mktemp)}
	"$@" >"$log" 2>&1 || {
		cat "$log"
		fail "failed: $*"
	}
}

generate_configure()
{
	local made=$source_dir/configure part
	for part in configure.ac Makefile.am ./*/local.mk ./*/*.mk ./*/*/local.mk; do
		if [ ! -e "$made" ] || { [ -e "$part" ] && [ "$part" -nt "$made" ]; }; then
			say "autoreconf"
			quietly autoreconf -fi
			return
		fi
	done
}

build_library()
{
	[ ! -e "$source_dir/config.status" ] || fail "the source directory is configured; run 'make distclean' there first"
	generate_configure
	mkdir -p "$build"
	cd "$build"
	say "configure, in $build"
	quietly "$source_dir/configure"
	say "make"
	quietly make -j"$(jobs_at_once)"
	cd "$source_dir"
}

command_demo()
{
	install_missing "${build_packages[@]}" "${demo_packages[@]}"
	build_library
	"$source_dir/demo/run.sh" "$build"
}

# The tests' and the configurations' "N passed, N failed" lines, added up.
add_up()
{
	sed -n 's/^\(.*: \)\{0,1\}\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$/\2 \3 \5/p' "$@" |
		awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s }'
}

# The last lines of each test of `make check` that failed: its log is gone with the machine.
tell_why()
{
	{ grep -rlE --include='*.trs' --exclude-dir=configs '^:test-result: (FAIL|XPASS|ERROR)' "$build" || true; } |
		while read -r trs; do
			echo "FAIL: $(basename "$trs" .trs), the end of its log:"
			tail -n 6 "${trs%.trs}.log"
		done
}

command_check()
{
	local bad=0 tests=$build/check.out sum=$build/summary.out configs=$build/configs.out
	install_missing "${build_packages[@]}" "${demo_packages[@]}" "${check_packages[@]}" "${bench_packages[@]}"
	build_library
	rm -f "$tests" "$sum" "$configs"
	say "make check"
	make -C "$build" -k -j"$(jobs_at_once)" check 2>&1 | tee "$tests" || bad=1
	"$source_dir/test/summary.sh" "$build" >"$sum" || bad=1
	say "make check-configs"
	make -C "$build" check-configs 2>&1 | tee "$configs" || bad=1
	say "make bench-report, into $artifacts"
	make -C "$build" bench-report ARTIFACTS="$artifacts" >"$build/bench.out" 2>&1 || { cat "$build/bench.out"; bad=1; }
	[ ! -e "$artifacts/bench-table.md" ] || cat "$artifacts/bench-table.md"
	say "make check, the summary"
	sed -n '/^Testsuite summary/,/^# ERROR/p' "$tests"
	sed -n '/^FAIL/p;/^ERROR/p' "$tests" "$configs"
	tell_why
	grep -q '^[0-9]* passed' "$sum" || bad=1
	grep -q '^[0-9]* passed' "$configs" || bad=1
	[ "$bad" -eq 0 ] || echo "FAIL: something above failed"
	add_up "$sum" "$configs"
	return "$bad"
}

command_bench()
{
	install_missing "${build_packages[@]}" "${demo_packages[@]}" "${bench_packages[@]}" python3
	build_library
	make -C "$build" bench-quick
	say "the report is $build/bench-report.html"
}

case ${1-help} in
demo) command_demo ;;
check) command_check ;;
bench) command_bench ;;
build)
	install_missing "${build_packages[@]}"
	build_library
	;;
deps) install_missing "${build_packages[@]}" "${demo_packages[@]}" "${check_packages[@]}" "${bench_packages[@]}" ;;
help | -h | --help) usage ;;
*)
	usage >&2
	fail "unknown command '$1'"
	;;
esac

#!/bin/bash
# SPDX-License-Identifier: MIT
# systemctl stop and restart of a service with a large heap, by a real systemd, in a small machine: without a handoff, with
# one, and with one in another cgroup (LD_PRELOAD/pmdalloc-exit.conf), for which systemd does not wait: shown with a helper
# that cannot go on.
# Usage: systemd.sh [KERNEL_PACKAGE [MIB]]
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=test/qemu/machine.sh
. "$here/qemu/machine.sh"
build=${PMD_BUILD:-$PWD}
mib=${2:-512}
[ -e "$build/.libs/libpmdalloc.so.0" ] || machine_skip "this build has no library to preload"
[ -x /lib/systemd/systemd ] || machine_skip "there is no /lib/systemd/systemd (package systemd)"

machine_begin
machine_kernel "${1:-linux-image-cloud-amd64}"

# Programs of this machine, with what they are linked with, at their places.
install_programs()
{
	local file
	for file in "$@" $(ldd "$@" | grep -o '/[^ :]*lib[^ :]* ' | sort -u); do
		mkdir -p "$machine_tree$(dirname "$file")" && cp -L "$file" "$machine_tree$file" || exit
	done
}
install_programs /lib/systemd/systemd /lib/systemd/systemd-shutdown /bin/systemctl
cp "$build/bench/exit" "$build/.libs/libpmdalloc.so.0" "$machine_tree/test/" || exit

units=$machine_tree/etc/systemd/system
mkdir -p "$units" "$machine_tree"/{run,var,root}
echo 0123456789abcdef0123456789abcdef >"$machine_tree/etc/machine-id"
echo 'PRETTY_NAME="a small machine"' >"$machine_tree/etc/os-release"
printf 'root:x:0:0::/root:/bin/sh\nsomeone:x:1000:1000::/:/bin/sh\n' >"$machine_tree/etc/passwd"
printf 'root:x:0:\nsomeone:x:1000:\n' >"$machine_tree/etc/group"
cp "$here/../LD_PRELOAD/pmdalloc-exit@.service" "$units/"

# What systemd wants of every machine, with nothing in it.
for name in sysinit basic shutdown; do
	echo '[Unit]' >"$units/$name.target"
done

# service NAME OPTIONS [USER]
service()
{
	cat >"$units/$1.service" <<END
[Service]
ExecStart=/test/exit --serve 1 --mib $mib
StandardOutput=file:/run/$1.out
StandardError=file:/dev/ttyS0
Environment=LD_PRELOAD=/test/libpmdalloc.so.0
Environment=PMDALLOC_CONF=thp:never,handoff_despite:load,$2
${3:+User=$3}
END
}
service without handoff:off
service plain handoff:auto
for name in elsewhere unprivileged; do
	service $name handoff:auto
	mkdir -p "$units/$name.service.d"
	sed "s/SLICE/cache/g; s/USER/someone/g; s/handoff_cgroup/thp:never,handoff_despite:load,&/" \
		"$here/../LD_PRELOAD/pmdalloc-exit.conf" >"$units/$name.service.d/pmdalloc-exit.conf"
done
echo User=someone >>"$units/unprivileged.service"
sed -i 's/^#ExecStartPre/ExecStartPre/' "$units/unprivileged.service.d/pmdalloc-exit.conf"

cat >"$units/drill.service" <<'END'
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh /test/drill
StandardOutput=file:/dev/ttyS0
StandardError=inherit
END
cp "$here/systemd_drill.sh" "$machine_tree/test/drill" || exit

# systemd is the first process of a pid namespace, as in a container: how it ends, the script there has written down.
# shellcheck disable=SC2016
machine_run "${SECONDS_AT_MOST:-300}" $((3 * mib + 512)) '
	mount -t tmpfs run /run
	ln -s sh /bin/true 2>/dev/null
	unshare --pid --fork --mount sh -c "mount -t proc proc /proc &&
		container=pmdalloc exec /lib/systemd/systemd --unit=drill.service" >/run/systemd.out 2>&1 &
	until [ -e /run/status ]; do
		kill -0 $! || { cat /run/systemd.out; exit 1; }
		sleep 1
	done
	exit $(cat /run/status)'

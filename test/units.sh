#!/bin/sh
# SPDX-License-Identifier: MIT
# The systemd units that are installed as examples: systemd-analyze finds nothing to say about them.
set -eu
units=${srcdir:-.}/LD_PRELOAD
work=units.$$
trap 'rm -rf "$work"' EXIT

[ "$PMD_OVERRIDE" = yes ] || { echo "skipped: no preload in this build" >&2; exit 77; }
command -v systemd-analyze >/dev/null || { echo "skipped: no systemd-analyze (package systemd)" >&2; exit 77; }

# As the comments in them say.
mkdir -p "$work/example.service.d"
printf '[Service]\nExecStart=/bin/sleep 1\n' >"$work/example.service"
cp "$units/pmdalloc-exit@.service" "$work/pmdalloc-exit@cache.service"
cp LD_PRELOAD/pmdalloc.conf "$work/example.service.d/"
sed 's/SLICE/cache/g; s/USER/root/g; s/^#ExecStartPre/ExecStartPre/' "$units/pmdalloc-exit.conf" \
	>"$work/example.service.d/pmdalloc-exit.conf"

verify()
{
	(cd "$work" && SYSTEMD_UNIT_PATH=$PWD: systemd-analyze verify --man=no "./$1" 2>&1) || true
}

for unit in pmdalloc-exit@cache.service example.service; do
	said=$(verify "$unit")
	[ -z "$said" ] || { echo "units: $unit: $said"; exit 1; }
done

# That would be seen.
sed -i 's/^Delegate=/Delgate=/' "$work/pmdalloc-exit@cache.service"
said=$(verify pmdalloc-exit@cache.service)
case $said in
*Delgate*) ;;
*) echo "skipped: this systemd-analyze says nothing: $said" >&2; exit 77 ;;
esac

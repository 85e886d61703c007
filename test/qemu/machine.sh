# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# A small machine for tests that need a kernel of their own, or that would disturb the one they run on. To be sourced.
#
#   machine_begin                      ends the script as skipped where QEMU or a tool is missing
#   machine_suite SUITE                packages shall be those of this suite of Debian
#   machine_kernel PACKAGE             the Debian kernel to boot; also as skipped where it cannot be had
#   machine_built DIRECTORY            or one that was built: kernel/build-kernel
#   machine_file FILE                  or any other
#   machine_named NAME                 or one by name: a suite, for its linux-image-cloud-amd64; built, or built-OPTION,
#                                      for kernel/build-kernel's, without that option; or DIRECTORY/FILE
#   machine_check_name NAME            whether it can be one
#   machine_modules NAME...            modules of that kernel, loaded at the start with those that they need
#   machine_files FILE...              what shall be in the command's folder
#   machine_libraries PROGRAM...       and the libraries of those that are not static
#   machine_run SECONDS MIB COMMAND    boots with so much memory, runs COMMAND in busybox's shell, shows what it prints,
#                                      and returns its status; 124 when it took longer
#
# Nothing of this machine is changed but the folder machine_cache: packages are downloaded there by the machine's own
# apt sources, and unpacked, not installed. What is there is used as it is: who wants newer kernels removes the folder.
# Packages of another suite come from the same mirror, by a configuration of apt that is read for nothing else, and
# their signatures are verified as those of the machine's own are. The processors are emulated where KVM does not really
# work.

machine_cache=${PMD_KERNEL_CACHE:-${PMD_BUILD:-.}/kernels}
machine_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
machine_suites='oldstable|stable|testing|unstable|bullseye|bookworm|trixie|forky|sid'
machine_keys=/usr/share/keyrings/debian-archive-keyring.gpg
machine_apt=()    # options for apt-get and apt-cache, for packages of other suites
machine_from=''   # the suite, and a slash
machine_append='' # to the kernel's command line
machine_config='' # the kernel's configuration, where it has one beside it; for who sources this
machine_cpus=2
machine_work=''
machine_pid=''

machine_skip()
{
	echo "skipped: $*" >&2
	exit 77
}

machine_end()
{
	[ -z "$machine_pid" ] || kill "$machine_pid" 2>/dev/null
	[ -z "$machine_work" ] || rm -rf "$machine_work"
}

machine_begin()
{
	local tool
	[ "$(uname -m)" = x86_64 ] || machine_skip "the machine in QEMU is for x86_64"
	for tool in qemu-system-x86_64 cpio flock gzip xz dpkg-deb apt-get; do
		command -v "$tool" >/dev/null || machine_skip "there is no $tool"
	done
	[ -x /bin/busybox ] || machine_skip "there is no /bin/busybox (package busybox-static)"
	! ldd /bin/busybox >/dev/null 2>&1 || machine_skip "/bin/busybox is not static (package busybox-static)"
	trap machine_end EXIT
	trap 'exit 130' INT TERM HUP
	mkdir -p "$machine_cache" && machine_cache=$(cd "$machine_cache" && pwd -P) || exit
	machine_work=$(mktemp -d "${TMPDIR:-/tmp}/machine.XXXXXX") || exit
	machine_make_tree
}

# --- the kernel -------------------------------------------------------------------------------------------------------

# Where the machine's own apt finds Debian's packages. It knows both forms of its lists of sources, and need not have
# read any.
machine_mirror()
{
	# shellcheck disable=SC2016 # for apt-get
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
		awk -v suites="^($machine_suites)\$" '$1 ~ suites && $2 == "main" { print $3; exit }'
}

machine_apt_conf()
{
	cat <<-END
		Dir::Etc::SourceList "$1/sources.list";
		Dir::Etc::SourceParts "-";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "$1/none";
		Dir::State "$1/state";
		Dir::State::Status "$1/status";
		Dir::Cache "$1/cache";
		APT::Architecture "amd64";
		APT::Sandbox::User "root";
		APT::Update::Error-Mode "any";
		Acquire::Languages "none";
		#clear APT::Architectures;
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	END
}

machine_suite()
{
	machine_from=$1/
}

# apt for the suite, and for nothing else.
machine_own_apt()
{
	local dir=$machine_cache/apt-$1 mirror keys=''
	mirror=$(machine_mirror)
	[ -n "$mirror" ] || machine_skip "the machine's apt sources name no mirror of Debian's"
	[ ! -r "$machine_keys" ] || keys="[signed-by=$machine_keys] "
	mkdir -p "$dir"/{none,state/lists/partial,cache/archives/partial} && : >"$dir/status" &&
		echo "deb $keys$mirror $1 main" >"$dir/sources.list" &&
		machine_apt_conf "$dir" >"$dir/apt.conf" || exit
	machine_apt=(-c "$dir/apt.conf")
}

# What packages there are is asked when the first is wanted that is not in the cache.
machine_update()
{
	local log=$machine_cache/apt.log
	[ -n "$machine_from" ] || return 0
	machine_own_apt "${machine_from%/}"
	apt-get "${machine_apt[@]}" update -q >"$log" 2>&1 ||
		machine_skip "the list of packages of ${machine_from%/} cannot be had: $(grep -m 1 '^[EW]:' "$log")"
}

# The names of packages like $2 that package $1 depends on.
machine_needs()
{
	apt-cache "${machine_apt[@]}" depends --important "$1" 2>/dev/null | sed -n "s/^ *Depends: \\($2\\)\$/\\1/p"
}

# The package that the meta package $1 stands for, or $1 itself, and those that it was split into.
machine_packages()
{
	local real
	real=$(machine_needs "$1" 'linux-\(image\|source\)-[0-9].*' | head -n 1)
	real=${real:-$1}
	echo "$real"
	machine_needs "$real" 'linux-\(base\|binary\|modules\)-[0-9].*'
}

machine_unpack()
{
	local part=$2.part packages package
	mapfile -t packages < <(machine_packages "$1")
	rm -rf "$part"
	mkdir -p "$part" && cd "$part" || return
	apt-get "${machine_apt[@]}" download -q "${packages[@]}" >"$machine_cache/apt.log" 2>&1 || return
	for package in ./*.deb; do
		dpkg-deb -x "$package" . || return
	done
	rm -f ./*.deb && mv "$part" "$2"
}

# machine_have PACKAGE: it is in machine_dir, unpacked. One at a time, as all may want the same.
machine_have()
{
	machine_dir=$machine_cache/$machine_from$1
	[ ! -d "$machine_dir" ] || return 0
	exec {machine_lock}>"$machine_cache/lock" && flock "$machine_lock" || exit
	if [ ! -d "$machine_dir" ]; then
		machine_update
		(machine_unpack "$1" "$machine_dir") ||
			machine_skip "package $1 cannot be had: $(grep -m 1 '^E:' "$machine_cache/apt.log")"
	fi
	exec {machine_lock}>&-
}

# The first file there is.
machine_first()
{
	local file
	for file in "$@"; do
		[ ! -e "$file" ] || { echo "$file" && return; }
	done
}

machine_kernel()
{
	machine_have "$1"
	machine_image=$(machine_first "$machine_dir"/{boot/vmlinuz-*,usr/lib/modules/*/vmlinuz})
	machine_config=$(machine_first "$machine_dir"/{boot/config-*,usr/lib/modules/*/config})
	machine_library=$(machine_first "$machine_dir"/{lib,usr/lib}/modules)
	[ -n "$machine_image" ] || machine_skip "package $1 holds no kernel"
}

machine_built()
{
	machine_file "$(machine_first "$1"/vmlinuz-*)"
	[ -n "$machine_image" ] || machine_skip "there is no kernel in $1"
}

machine_file()
{
	machine_image=$1
	# shellcheck disable=SC2034
	machine_config=$(machine_first "${1%/*}/config-${1##*/vmlinuz-}")
	machine_library=''
}

# The options that the name of a kernel takes out.
machine_taken_out()
{
	case $1 in
	built-*) tr '-' '\n' <<<"${1#built-}" ;;
	esac
}

machine_check_name()
{
	case $1 in
	built*) [[ $1 =~ ^built(-[A-Z0-9_]+)*$ ]] ;;
	*/*) [ -f "$1" ] ;;
	*) [[ $1 =~ ^($machine_suites)(-backports)?$ ]] ;;
	esac
}

# In the background, so that an interrupt need not wait for it.
machine_build()
{
	local option arguments=() status
	for option in $(machine_taken_out "$1"); do
		arguments+=(--without "$option")
	done
	"$machine_here/../../kernel/build-kernel" "${arguments[@]}" >"$machine_work/built" &
	machine_pid=$!
	wait "$machine_pid"
	status=$?
	machine_pid=
	[ "$status" -eq 0 ] || exit "$status"
	machine_built "$(cat "$machine_work/built")"
}

machine_named()
{
	case $1 in
	built*) machine_build "$1" ;;
	*/*) machine_file "$1" ;;
	*)
		machine_suite "$1"
		machine_kernel linux-image-cloud-amd64
		;;
	esac
}

machine_module()
{
	local found out=$machine_tree/modules/$1.ko need
	[ ! -e "$out" ] || return 0
	[ -n "$machine_library" ] || return 0
	found=$(find "$machine_library" -name "$1.ko*" -o -name "${1//_/-}.ko*" | head -n 1)
	[ -n "$found" ] || return 0 # built in, or not in this kernel: the command will see
	case $found in
	*.xz) xz -dc "$found" >"$out" ;;
	*) cp "$found" "$out" ;;
	esac || return
	for need in $(tr '\0' '\n' <"$out" | sed -n 's/^depends=//p' | tr ',' ' '); do
		machine_module "$need" || return
	done
	echo "$1.ko" >>"$machine_tree/modules/order"
}

machine_modules()
{
	local name
	for name in "$@"; do
		machine_module "$name" || return
	done
}

# --- what is in the machine -------------------------------------------------------------------------------------------

# What runs first in it. The last line tells how the command ended: QEMU's own status cannot. It ends by a reboot, which
# QEMU takes for its end: to be switched off a small kernel would need more of ACPI.
machine_init()
{
	cat <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
[ ! -e /modules/order ] || while read -r module; do insmod "/modules/$module"; done </modules/order
cd /test
echo machine-start
sh /command
echo "machine-status $?"
reboot -f
END
}

machine_make_tree()
{
	machine_tree=$machine_work/tree
	mkdir -p "$machine_tree"/{bin,dev,modules,proc,sys,test,tmp} && cp /bin/busybox "$machine_tree/bin/" || exit
	machine_init >"$machine_tree/init" && chmod 755 "$machine_tree/init" || exit
}

machine_files()
{
	cp -L "$@" "$machine_tree/test/" || exit
}

# The libraries of programs, where they look for them.
machine_libraries()
{
	local library
	for library in $(ldd "$@" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*$/\1/p' | sort -u); do
		mkdir -p "$machine_tree/${library%/*}" && cp -L "$library" "$machine_tree$library" || exit
	done
}

# --- running it -------------------------------------------------------------------------------------------------------

# machine_boot ACCELERATOR SECONDS MEMORY_MIB COMMAND; what it prints is in machine_work/console. An emulated processor
# is a plain one, which is quicker, and has no cmpxchg16b: when an instruction that faults follows it, QEMU 7.2 finds
# flags that nobody has set, the direction of string instructions among them, and Debian's 6.12, whose kmalloc uses it,
# copies things to where they do not belong. A kernel that notices ends at once.
machine_boot()
{
	local status cpu=max
	[ "$1" != tcg ] || cpu=qemu64,+rdrand,-cx16
	echo "$4" >"$machine_tree/command"
	(cd "$machine_tree" && find . | cpio -o -H newc --quiet) | gzip -1 >"$machine_work/initramfs" || return
	timeout -k 5 "$2" qemu-system-x86_64 -accel "$1" -cpu "$cpu" -m "$3" -smp "$machine_cpus" -nodefaults \
		-no-user-config -no-reboot -display none -serial stdio \
		-kernel "$machine_image" -initrd "$machine_work/initramfs" \
		-append "console=ttyS0 panic=-1 oops=panic reboot=t quiet $machine_append" \
		</dev/null >"$machine_work/raw" 2>&1 &
	machine_pid=$!
	wait "$machine_pid"
	status=$?
	machine_pid=
	tr -d '\r' <"$machine_work/raw" >"$machine_work/console"
	return $status
}

# KVM where it really starts this kernel: there are machines that have /dev/kvm, and on which nothing comes of it.
machine_accelerator()
{
	local known=$machine_cache/accelerator found=tcg
	machine_accel=tcg
	[ -w /dev/kvm ] || return 0
	exec {machine_lock}>"$machine_cache/lock" && flock "$machine_lock" || exit
	if [ ! -e "$known" ]; then
		machine_boot kvm 10 512 true 2>/dev/null
		! grep -q '^machine-status 0' "$machine_work/console" || found=kvm
		echo "$found" >"$known"
	fi
	exec {machine_lock}>&-
	machine_accel=$(cat "$known")
}

machine_run()
{
	local status
	machine_accelerator
	machine_boot "$machine_accel" "$@"
	status=$?
	sed -n '/^machine-start/,$p' "$machine_work/console" | grep -v -e '^machine-' -e 'reboot: '
	if grep -q '^machine-status' "$machine_work/console"; then
		return "$(sed -n 's/^machine-status //p' "$machine_work/console")"
	fi
	echo "the machine did not come to its end (QEMU's status: $status); its last words:" >&2
	tail -n 20 "$machine_work/console" >&2
	return $((status ? status : 1))
}

/* SPDX-License-Identifier: MIT */
/* What the running kernel does, by what it does: each thing is tried, in a process that may die of it. */
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor.h"

#define REGION      ((size_t)2 << 20)
#define THIS_GROUP  (-10001) /* PIDFD_SELF_THREAD_GROUP, since Linux 6.14 */
#define RING_OPS    64
#define REGIONS     16
#define TABLE_BYTES 4096

enum { NOT_TRIED = -1 };

bool kernel_frees_page_tables;

/* What a probe found: errno values, or NOT_TRIED where it did not come to that. */
struct advised {
	long long before, after; /* page tables */
	int error;
	bool dropped;
};

static const char *errno_name(int error, char *buf, size_t len)
{
	const char *name = strerrorname_np(error);

	snprintf(buf, len, "%s", name ? name : "unknown error");
	return buf;
}

/* ---- Giving memory back ------------------------------------------------------------------------------------------ */

static char *map_regions(void)
{
	char *p = mmap(NULL, (REGIONS + 1) * REGION, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p += -(uintptr_t)p & (REGION - 1);
	madvise(p, REGIONS * REGION, MADV_NOHUGEPAGE);
	return p;
}

static void probe_with(struct advised *a, long (*give_back)(char *p))
{
	char *p = map_regions();

	page_table_bytes(); /* what a first look takes for itself is none of the probe's */
	a->error = p ? 0 : errno;
	if (!p)
		return;
	for (size_t i = 0; i < REGIONS; i++)
		*(volatile char *)(p + i * REGION) = 1;
	a->before = page_table_bytes();
	a->error = give_back(p) < 0 ? errno : 0;
	a->after = page_table_bytes();
	a->dropped = true;
	for (size_t i = 0; i < REGIONS; i++)
		a->dropped = a->dropped && !*(volatile char *)(p + i * REGION);
}

static long by_madvise(char *p)
{
	return madvise(p, REGIONS * REGION, MADV_DONTNEED);
}

/* Several ranges, every other region, so that they cannot be one. */
static long by_vector(int process, char *p)
{
	struct iovec ranges[REGIONS / 2];
	long done;

	for (size_t i = 0; i < REGIONS / 2; i++)
		ranges[i] = (struct iovec){p + 2 * i * REGION, REGION};
	done = syscall(SYS_process_madvise, process, ranges, REGIONS / 2, MADV_DONTNEED, 0);
	if (done >= 0 && done < (long)(REGIONS / 2 * REGION)) {
		errno = EIO;
		return -1;
	}
	if (done >= 0)
		for (size_t i = 0; i < REGIONS / 2; i++)
			*(char *)(p + (2 * i + 1) * REGION) = 0; /* so that all read as zero */
	return done;
}

static long by_descriptor(char *p)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	return fd < 0 ? -1 : by_vector(fd, p);
}

static long by_pidfd_self(char *p)
{
	return by_vector(THIS_GROUP, p);
}

static void try_madvise(void *result)
{
	probe_with(result, by_madvise);
}

static void try_descriptor(void *result)
{
	probe_with(result, by_descriptor);
}

static void try_pidfd_self(void *result)
{
	probe_with(result, by_pidfd_self);
}

/* False when there is no more to be said than that it went wrong. */
static bool say_outcome(struct fact *f, int ended, int error)
{
	char name[32];

	if (ended > 0)
		say_value(f, "kills (%s)", sigabbrev_np(ended) ? sigabbrev_np(ended) : "?");
	else if (ended < 0)
		say_value(f, "unknown: no process could be made");
	else if (error)
		say_value(f, "no (%s)", errno_name(error, name, sizeof name));
	return !ended && !error;
}

static void probe_page_tables(void)
{
	struct fact *f = doctor_fact("page tables");
	struct advised a = {0};
	int ended = doctor_try(try_madvise, &a, sizeof a);

	if (!say_outcome(f, ended, a.error)) {
		say_how(f, "madvise(MADV_DONTNEED) on a scratch area");
		doctor_advise(true, "madvise does not give memory back here: CONFIG_ADVISE_SYSCALLS, a sandbox, or a "
				    "limit of the address space. Whole regions are mapped anew, if they can be; "
				    "what is free in others stays.");
		return;
	}
	if (a.before < 0 || !a.dropped) {
		say_value(f, a.dropped ? "unknown: no VmPTE" : "pages stay");
		say_how(f, "madvise(MADV_DONTNEED) on a scratch area; /proc/self/status");
		return;
	}
	kernel_frees_page_tables = a.before - a.after >= REGIONS * TABLE_BYTES * 7 / 8;
	say_value(f, kernel_frees_page_tables ? "freed by MADV_DONTNEED" : "kept by MADV_DONTNEED");
	say_how(f, "%d whole regions of 2 MiB given back: VmPTE %lld -> %lld kB", REGIONS, a.before / 1024,
		a.after / 1024);
	if (!kernel_frees_page_tables)
		doctor_advise(true, "This kernel's madvise keeps page tables: take Linux 6.14 or later (x86-64) with "
				    "CONFIG_PT_RECLAIM. Until then regions are mapped anew, which does free them.");
}

static void probe_vectors(void)
{
	struct fact *several = doctor_fact("process_madvise"), *self = doctor_fact("PIDFD_SELF");
	struct advised a = {0};
	int ended = doctor_try(try_descriptor, &a, sizeof a);

	if (say_outcome(several, ended, a.error))
		say_value(several, "yes");
	say_how(several, "%d ranges of this process in one call", REGIONS / 2);
	a = (struct advised){0};
	ended = doctor_try(try_pidfd_self, &a, sizeof a);
	if (say_outcome(self, ended, a.error))
		say_value(self, "yes");
	say_how(self, "the same without a descriptor");
}

/* ---- io_uring ---------------------------------------------------------------------------------------------------- */

struct ring {
	int error;   /* of io_uring_setup */
	int advises; /* IORING_OP_MADVISE is known; NOT_TRIED */
};

static void try_ring(void *result)
{
	struct io_uring_params params = {0};
	struct ring *r = result;
	struct io_uring_probe *ops;
	int fd;

	r->advises = NOT_TRIED;
	fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	r->error = fd < 0 ? errno : 0;
	if (fd < 0)
		return;
	ops = calloc(1, sizeof *ops + RING_OPS * sizeof ops->ops[0]);
	if (ops && syscall(SYS_io_uring_register, fd, IORING_REGISTER_PROBE, ops, RING_OPS) >= 0)
		r->advises = IORING_OP_MADVISE <= ops->last_op &&
			     (ops->ops[IORING_OP_MADVISE].flags & IO_URING_OP_SUPPORTED) != 0;
	free(ops);
	close(fd);
}

static void probe_ring(void)
{
	struct fact *f = doctor_fact("io_uring");
	char setting[32] = "";
	struct ring r = {0};
	int ended = doctor_try(try_ring, &r, sizeof r);

	if (!ended && r.error == EPERM)
		say_value(f, "forbidden (EPERM)");
	else if (say_outcome(f, ended, r.error))
		say_value(f, r.advises == 0 ? "allowed, without madvise" : "allowed");
	read_text("/proc/sys/kernel/io_uring_disabled", setting, sizeof setting);
	say_how(f, "io_uring_setup; kernel.io_uring_disabled is %s; only release:io_uring needs it",
		*setting ? setting : "not there");
}

/* ---- Per-VMA locks ----------------------------------------------------------------------------------------------- */

enum { FAULTS = 512 };

static void try_faults(void *result)
{
	long long *counted = result, before = read_field("/proc/vmstat", "vma_lock_success");
	char *p = map_regions();

	*counted = NOT_TRIED;
	if (before < 0 || !p)
		return;
	for (size_t i = 0; i < FAULTS; i++)
		*(volatile char *)(p + i * 4096) = 1;
	*counted = read_field("/proc/vmstat", "vma_lock_success") - before;
}

/* 1, 0, or -1: nobody tells. */
static int configured(const char *option, const char *release)
{
	char command[512], answer[8] = "";
	FILE *out;

	snprintf(command, sizeof command,
		 "{ gzip -dc /proc/config.gz || cat '/boot/config-%s' '/lib/modules/%s/config'; } 2>/dev/null | "
		 "sed -n 's/^%s=y$/y/p; s/^CONFIG_64BIT=y$/b/p'",
		 release, release, option);
	out = popen(command, "re");
	if (!out)
		return -1;
	answer[fread(answer, 1, sizeof answer - 1, out)] = 0;
	pclose(out);
	return strchr(answer, 'y') ? 1 : *answer ? 0 : -1;
}

static void probe_vma_locks(const struct utsname *u)
{
	struct fact *f = doctor_fact("per-VMA locks");
	long long counted = NOT_TRIED;
	int major = 0, minor = 0, set;

	if (!doctor_try(try_faults, &counted, sizeof counted) && counted >= 0) {
		say_value(f, counted >= FAULTS / 2 ? "yes" : "no");
		say_how(f, "%d faults; /proc/vmstat counts %lld by such a lock meanwhile", FAULTS, counted);
		return;
	}
	set = configured("CONFIG_PER_VMA_LOCK", u->release);
	sscanf(u->release, "%d.%d", &major, &minor);
	if (set >= 0) {
		say_value(f, set ? "yes" : "no");
		say_how(f, "not tried: by the kernel's configuration");
	} else {
		set = major > 6 || (major == 6 && minor >= 4);
		say_value(f, set ? "yes, it seems" : "no, it seems");
		say_how(f, "not tried: by the kernel's version; 6.4 and later have them");
	}
	if (!set)
		doctor_advise(true, "Without per-VMA locks giving memory back waits for every mmap of the program: "
				    "take Linux 6.4 or later, with SMP.");
}

/* ---- The rest ---------------------------------------------------------------------------------------------------- */

static void try_membarrier(void *result)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	*(int *)result = commands < 0 ? -errno : (int)commands;
}

static void probe_membarrier(void)
{
	struct fact *f = doctor_fact("membarrier");
	int commands = 0, ended = doctor_try(try_membarrier, &commands, sizeof commands);

	if (say_outcome(f, ended, commands < 0 ? -commands : 0))
		say_value(f, "yes");
	say_how(f, "its commands: 0x%x; pmdalloc needs none", commands < 0 ? 0 : (unsigned)commands);
}

void probe_kernel(void)
{
	struct fact *f = doctor_fact("kernel");
	struct utsname u;

	uname(&u);
	say_value(f, "%s %s", u.release, u.machine);
	say_how(f, "uname");
	probe_page_tables();
	probe_vectors();
	probe_ring();
	probe_vma_locks(&u);
	probe_membarrier();
}

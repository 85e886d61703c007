/* SPDX-License-Identifier: MIT */
/* What reports consist of, and the printing of them: on request, and at exit. */
#include <errno.h>

#include "api/report.h"
#include "api/stats.h"
#include "base/errno_name.h"
#include "cache/cache.h"
#include "conf/options.h"
#include "os/os.h"

/* As release_counters, at one moment. */
struct backend {
	size_t calls, ranges, bytes, failures, micros;
	size_t latency[RELEASE_BUCKETS];
};

struct report {
	struct pmd_stats stats;
	struct stats_detail detail;
	struct backend backends[RELEASE_BACKENDS];
	size_t batches[RELEASE_SIZES];
	size_t errors[RELEASE_ERRNOS];
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Figures of the whole ---------------------------------------------------------------------------------------- */

#define FIGURE(name, kind, unit, meaning)                                    \
	{                                                                    \
#name, unit, meaning, kind, offsetof(struct pmd_stats, name) \
	}
static const struct column figures[] = {
	FIGURE(live_bytes, GAUGE, "bytes", "bytes in live blocks"),
	FIGURE(live_blocks, GAUGE, NULL, "live blocks"),
	FIGURE(slab_bytes, GAUGE, "bytes", "bytes cut into slabs"),
	FIGURE(large_bytes, GAUGE, "bytes", "bytes of large blocks"),
	FIGURE(large_blocks, GAUGE, NULL, "large blocks"),
	FIGURE(free_blocks, GAUGE, NULL, "free blocks of slabs"),
	FIGURE(dirty_bytes, GAUGE, "bytes", "free bytes not given back yet, slabs not included"),
	FIGURE(free_in_active_bytes, GAUGE, "bytes", "free bytes in regions that hold something else"),
	FIGURE(free_slice_bytes, GAUGE, "bytes", "free bytes in free slices of such regions"),
	FIGURE(free_in_active_dirty_bytes, GAUGE, "bytes",
	       "free bytes in such regions that were touched and not given back"),
	FIGURE(resident_bytes, GAUGE, "bytes", "bytes of memory held by the heap, by our account"),
	FIGURE(heap_committed, GAUGE, "bytes", "bytes of heap made writable"),
	FIGURE(heap_reserved, GAUGE, "bytes", "bytes of address space reserved"),
	FIGURE(metadata_bytes, GAUGE, "bytes", "bytes of metadata"),
	FIGURE(vm_pte_bytes, GAUGE, "bytes", "bytes of page tables of the process (VmPTE)"),
	FIGURE(pte_pages_held, GAUGE, NULL, "regions handed out since their last release, with a page table each"),
	FIGURE(pte_pages_returned, COUNTER, NULL, "page tables given back"),
	FIGURE(regions_active, GAUGE, NULL, "regions in use"),
	FIGURE(regions_dirty, GAUGE, NULL, "empty regions waiting for release"),
	FIGURE(regions_releasing, GAUGE, NULL, "empty regions that the kernel has not answered for yet"),
	FIGURE(regions_clean, GAUGE, NULL, "empty regions that are released"),
	FIGURE(regions_untouched, GAUGE, NULL, "regions never used so far"),
	FIGURE(regions_emptied, COUNTER, NULL, "times that a region emptied"),
	FIGURE(slabs_waiting, GAUGE, NULL, "slabs of no thread waiting for purge"),
	FIGURE(releases, COUNTER, NULL, "regions released with their page table"),
	FIGURE(release_calls, COUNTER, NULL, "system calls made to release regions"),
	FIGURE(release_failures, COUNTER, NULL, "ranges that the kernel refused to take"),
	FIGURE(purged_bytes, COUNTER, "bytes", "bytes purged in regions that stay in use"),
	FIGURE(collapsed, COUNTER, NULL, "dense regions made huge pages in the background"),
	FIGURE(collapse_failures, COUNTER, NULL, "and those that the kernel refused"),
	FIGURE(lazy_bytes, COUNTER, "bytes", "bytes that the kernel was told it may take instead of swapping them"),
	FIGURE(moved_bytes, COUNTER, "bytes", "bytes moved by mremap"),
	FIGURE(limit_refusals, COUNTER, NULL, "requests refused for limit_hard"),
	FIGURE(limit_releases, COUNTER, NULL, "times that all that is free went back for a limit"),
	FIGURE(threads, GAUGE, NULL, "thread caches in use"),
	FIGURE(arenas, GAUGE, NULL, "arenas"),
	FIGURE(heaps, GAUGE, NULL, "reservations"),
};

/* ---- Regions, slabs and classes ---------------------------------------------------------------------------------- */

static uint64_t occupancy_upper(size_t i)
{
	return (i + 1) * (REGION_BYTES / OCCUPANCIES);
}

static const struct histogram occupancy = {
	.name = "occupancy",
	.bound = "le_bytes",
	.metric = "region_live",
	.unit = "bytes",
	.meaning = "regions in use by the bytes that live in them",
	.kind = GAUGE,
	.upper = occupancy_upper,
	.buckets = OCCUPANCIES,
	.offset = offsetof(struct stats_detail, occupancy),
	.total = offsetof(struct stats_detail, occupancy_bytes),
};

static const char *slab_state_name(size_t row, char *buf, size_t len)
{
	static const char *const names[SLAB_STATES] = {
		[SLAB_NONE] = "none", [SLAB_CURRENT] = "current", [SLAB_PARTIAL] = "partial",
		[SLAB_FULL] = "full", [SLAB_HELD] = "held",       [SLAB_PURGING] = "purging",
	};

	(void)buf, (void)len;
	return names[row];
}

static const struct column slab_columns[] = {
	{"slabs", NULL, "slabs by what is done with them", GAUGE, 0},
};

static const char *holder_name(size_t row, char *buf, size_t len)
{
	struct text t;

	if (row >= CLASSES)
		return row == HOLDER_LARGE ? "large" : "several";
	text_init(&t, buf, len);
	text_put_number(&t, class_size((unsigned)row));
	return buf;
}

#define HOLDER(name, kind, unit, meaning)                                       \
	{                                                                       \
#name, unit, meaning, kind, offsetof(struct stats_holder, name) \
	}
static const struct column holder_columns[] = {
	HOLDER(block_bytes, CONSTANT, NULL, NULL),
	HOLDER(slabs, GAUGE, NULL, "slabs of the class"),
	HOLDER(live_blocks, GAUGE, NULL, "live blocks"),
	HOLDER(live_bytes, GAUGE, "bytes", "bytes in live blocks"),
	HOLDER(free_blocks, GAUGE, NULL, "free blocks of its slabs"),
	HOLDER(free_bytes, GAUGE, "bytes", "bytes in free blocks of its slabs"),
	HOLDER(regions, GAUGE, NULL, "regions in which it has blocks"),
	HOLDER(pinned_regions, GAUGE, NULL, "regions in which nothing else has blocks"),
	HOLDER(pinned_bytes, GAUGE, "bytes", "free bytes in regions in which nothing else has blocks"),
	HOLDER(shared_bytes, GAUGE, "bytes", "free bytes in regions in which other classes have blocks too"),
};

/* ---- Release ----------------------------------------------------------------------------------------------------- */

static uint64_t latency_upper(size_t i)
{
	return (uint64_t)1 << i;
}

static const struct histogram latency = {
	.name = "latency",
	.bound = "le_us",
	.metric = "backend_latency",
	.unit = "seconds",
	.meaning = "system calls by the time they took",
	.kind = COUNTER,
	.in_seconds = true,
	.unbounded = true,
	.upper = latency_upper,
	.buckets = RELEASE_BUCKETS,
	.offset = offsetof(struct backend, latency),
	.total = offsetof(struct backend, micros),
};

static const char *backend_name(size_t row, char *buf, size_t len)
{
	(void)buf, (void)len;
	return release_name((enum release_backend)row);
}

#define BACKEND(name, unit, meaning)                                          \
	{                                                                     \
#name, unit, meaning, COUNTER, offsetof(struct backend, name) \
	}
static const struct column backend_columns[] = {
	BACKEND(calls, NULL, "system calls made to release regions"),
	BACKEND(ranges, NULL, "ranges released by them"),
	BACKEND(bytes, "bytes", "bytes released by them"),
	BACKEND(failures, NULL, "ranges that the kernel refused"),
};

static uint64_t batch_upper(size_t i)
{
	return ((uint64_t)2 << i) - 1;
}

static const struct histogram batches = {
	.name = "batches",
	.bound = "le",
	.metric = "release_batch_regions",
	.unit = "regions",
	.meaning = "requests for release by the number of their regions",
	.kind = COUNTER,
	.unbounded = true,
	.upper = batch_upper,
	.buckets = RELEASE_SIZES,
	.offset = 0,
	.total = NO_TOTAL,
};

static const char *error_name(size_t row, char *buf, size_t len)
{
	struct text t;

	text_init(&t, buf, len);
	text_put_errno(&t, (int)row);
	return buf;
}

static const struct column error_columns[] = {
	{"refused", NULL, "ranges that the kernel refused, by errno", COUNTER, 0},
};

/* ---- The report -------------------------------------------------------------------------------------------------- */

static const struct section sections[] = {
	{
		.name = "statistics",
		.prefix = "",
		.columns = figures,
		.column_count = LENGTH(figures),
		.offset = offsetof(struct report, stats),
		.rows = 1,
	},
	{
		.name = "occupancy",
		.prefix = "",
		.histogram = &occupancy,
		.offset = offsetof(struct report, detail),
		.rows = 1,
	},
	{
		.name = "slabs",
		.title = "slabs",
		.prefix = "",
		.label = "state",
		.row_name = slab_state_name,
		.columns = slab_columns,
		.column_count = LENGTH(slab_columns),
		.offset = offsetof(struct report, detail.slab_states),
		.stride = sizeof(size_t),
		.rows = SLAB_STATES,
	},
	{
		.name = "classes",
		.title = "size classes, and the free memory in regions that each keeps in use alone (pinned) or with "
			 "others (shared)",
		.prefix = "class_",
		.label = "class",
		.row_name = holder_name,
		.columns = holder_columns,
		.column_count = LENGTH(holder_columns),
		.offset = offsetof(struct report, detail.holders),
		.stride = sizeof(struct stats_holder),
		.rows = HOLDERS,
	},
	{
		.name = "backends",
		.title = "release, by the way of it",
		.prefix = "backend_",
		.label = "backend",
		.row_name = backend_name,
		.columns = backend_columns,
		.histogram = &latency,
		.column_count = LENGTH(backend_columns),
		.offset = offsetof(struct report, backends),
		.stride = sizeof(struct backend),
		.rows = RELEASE_BACKENDS,
	},
	{
		.name = "batches",
		.prefix = "",
		.histogram = &batches,
		.offset = offsetof(struct report, batches),
		.rows = 1,
	},
	{
		.name = "errors",
		.title = "what the kernel refused to take, by the error",
		.prefix = "release_",
		.label = "errno",
		.row_name = error_name,
		.columns = error_columns,
		.column_count = LENGTH(error_columns),
		.offset = offsetof(struct report, errors),
		.stride = sizeof(size_t),
		.rows = RELEASE_ERRNOS,
	},
};

static void copy(size_t *to, _Atomic size_t *from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		to[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
}

static void copy_backend(struct backend *to, struct release_counters *from)
{
	copy(&to->calls, &from->calls, 1);
	copy(&to->ranges, &from->ranges, 1);
	copy(&to->bytes, &from->bytes, 1);
	copy(&to->failures, &from->failures, 1);
	copy(&to->micros, &from->micros, 1);
	copy(to->latency, from->latency, RELEASE_BUCKETS);
}

static void collect(struct report *r)
{
	stats_collect(&r->stats, &r->detail);
	for (int b = 0; b < RELEASE_BACKENDS; b++)
		copy_backend(&r->backends[b], &release_counters[b]);
	copy(r->batches, release_batches, RELEASE_SIZES);
	copy(r->errors, release_errors, RELEASE_ERRNOS);
}

static const struct format *format_of(enum pmd_format format)
{
	switch (format) {
	case PMD_FORMAT_TEXT:
		return &format_text;
	case PMD_FORMAT_JSON:
		return &format_json;
	case PMD_FORMAT_OPENMETRICS:
		return &format_openmetrics;
	}
	return NULL;
}

static void print(struct writer *w, const struct format *f, const struct report *r)
{
	f->begin(w);
	f->fact(w, "release", "the way in which regions are released", "backend", release_name(release_chosen()));
	for (size_t i = 0; i < LENGTH(sections); i++)
		f->section(w, &sections[i], r);
	f->options(w);
	f->end(w);
}

int pmd_stats_print(int fd, enum pmd_format format)
{
	const struct format *f = format_of(format);
	struct report r;
	struct writer w;

	if (!f)
		return EINVAL;
	collect(&r);
	writer_init(&w, fd);
	print(&w, f, &r);
	return writer_end(&w);
}

/* ---- At exit ----------------------------------------------------------------------------------------------------- */

/* Many programs close stderr before the last destructor runs: a copy of it is kept. */
static int exit_fd = -1;

__attribute__((constructor)) static void prepare_exit(void)
{
	if (cache_init() && OPTION(stats) != STATS_OFF)
		exit_fd = os_copy_fd(2);
}

__attribute__((destructor)) static void print_at_exit(void)
{
	static const enum pmd_format formats[] = {
		[STATS_TEXT] = PMD_FORMAT_TEXT,
		[STATS_JSON] = PMD_FORMAT_JSON,
		[STATS_OPENMETRICS] = PMD_FORMAT_OPENMETRICS,
	};

	if (exit_fd >= 0)
		pmd_stats_print(exit_fd, formats[OPTION(stats)]);
}

/* SPDX-License-Identifier: MIT */
/*
 * Statistics are counted when somebody asks, by walking the descriptors: nothing is counted on the fast paths. The
 * walk takes no lock; each figure is one that was true of its slab at some moment.
 */
#include <string.h>

#include "api/alloc.h"
#include "api/stats.h"
#include "conf/options.h"
#include "os/os.h"
#include "release/release.h"

static void add_slab(struct pmd_stats *stats, const struct slice *s)
{
	int32_t live = slab_live(s) - (int32_t)remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));

	if (live < 0 || live > s->capacity)
		return;
	stats->slab_bytes += large_usable(s);
	stats->live_blocks += (size_t)live;
	stats->live_bytes += (size_t)live * s->block_size;
}

static void add_region(struct pmd_stats *stats, struct region *r)
{
	if (r->state != REGION_ACTIVE)
		return;
	stats->regions_active++;
	for (int i = 0; i < SLICES_PER_REGION; i++) {
		const struct slice *s = r->slices + i;

		if (s->kind == SLICE_SLAB) {
			add_slab(stats, s);
		} else if (s->kind == SLICE_LARGE) {
			stats->large_bytes += large_usable(s);
			stats->live_bytes += large_usable(s);
			stats->live_blocks++;
		}
	}
}

static void add_heap(struct pmd_stats *stats, struct heap *h)
{
	size_t top = atomic_load_explicit(&h->top, memory_order_acquire);

	stats->heaps++;
	stats->heap_reserved += h->region_count << REGION_SHIFT;
	stats->heap_committed += h->committed << REGION_SHIFT;
	for (size_t i = 0; i < top; i++)
		add_region(stats, heap_region(h, i));
}

static size_t release_calls(void)
{
	size_t n = 0;

	for (int b = 0; b < RELEASE_BACKENDS; b++)
		n += atomic_load_explicit(&release_counters[b].calls, memory_order_relaxed);
	return n;
}

void stats_collect(struct pmd_stats *stats)
{
	memset(stats, 0, sizeof *stats);
	if (!cache_init())
		return;
	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++)
		add_heap(stats, heaps[i]);
	stats->metadata_bytes = meta_bytes();
	stats->regions_dirty = COUNT_GET(dirty_regions);
	stats->regions_clean = COUNT_GET(clean_regions);
	stats->dirty_bytes = (stats->regions_dirty << REGION_SHIFT) +
			     (atomic_load_explicit(&arena_dirty_slices, memory_order_relaxed) << SLICE_SHIFT);
	stats->releases = COUNT_GET(releases);
	stats->release_calls = release_calls();
	stats->release_failures = COUNT_GET(release_failures);
	stats->purged_bytes = COUNT_GET(purged_bytes);
	stats->moved_bytes = COUNT_GET(moved_bytes);
	stats->threads = cache_threads();
	stats->arenas = arena_count();
	stats->vm_pte_bytes = os_page_table_bytes();
	stats->resident_bytes = limit_held_bytes();
	stats->limit_refusals = atomic_load_explicit(&limit_refusals, memory_order_relaxed);
	stats->limit_releases = atomic_load_explicit(&limit_releases, memory_order_relaxed);
}

int pmd_stats_get(struct pmd_stats *stats)
{
	struct pmd_stats all;
	size_t size = stats->size;

	if (!size)
		return EINVAL;
	stats_collect(&all);
	memcpy(stats, &all, min_size(size, sizeof all));
	stats->size = size;
	return 0;
}

/*
 * ---- Output
 * -------------------------------------------------------------------------------------------------------
 */

#define FIELD(name, meaning)                                     \
	{                                                        \
#name, meaning, offsetof(struct pmd_stats, name) \
	}
static const struct {
	const char *name, *meaning;
	size_t offset;
} fields[] = {
	FIELD(live_bytes, "bytes in live blocks"),
	FIELD(live_blocks, "live blocks"),
	FIELD(slab_bytes, "bytes cut into slabs"),
	FIELD(large_bytes, "bytes of large blocks"),
	FIELD(dirty_bytes, "free bytes not given back yet"),
	FIELD(heap_committed, "bytes of heap made writable"),
	FIELD(heap_reserved, "bytes of address space reserved"),
	FIELD(metadata_bytes, "bytes of metadata"),
	FIELD(vm_pte_bytes, "bytes of page tables (VmPTE)"),
	FIELD(regions_active, "regions in use"),
	FIELD(regions_dirty, "empty regions waiting for release"),
	FIELD(regions_clean, "empty regions that are released"),
	FIELD(releases, "regions released with their page table"),
	FIELD(release_calls, "system calls made for it"),
	FIELD(release_failures, "of those refused by the kernel"),
	FIELD(purged_bytes, "bytes purged in regions that stay in use"),
	FIELD(moved_bytes, "bytes moved by mremap"),
	FIELD(threads, "thread caches in use"),
	FIELD(arenas, "arenas"),
	FIELD(heaps, "reservations"),
	FIELD(resident_bytes, "bytes of memory held by the heap, by our account"),
	FIELD(limit_refusals, "requests refused for limit_hard"),
	FIELD(limit_releases, "times all that is free went back for a limit"),
};

struct output {
	struct text text;
	enum pmd_format format;
	bool first;
};

static size_t field_value(const struct pmd_stats *stats, size_t offset)
{
	size_t value;

	memcpy(&value, (const char *)stats + offset, sizeof value);
	return value;
}

static void put_field(struct output *o, const char *name, const char *meaning, size_t value)
{
	size_t start = o->text.len;

	if (o->format == PMD_FORMAT_JSON) {
		text_put(&o->text, o->first ? "\n  \"" : ",\n  \"");
		text_put(&o->text, name);
		text_put(&o->text, "\": ");
		text_put_number(&o->text, (int64_t)value);
	} else {
		text_put(&o->text, "  ");
		text_put(&o->text, name);
		text_pad(&o->text, start, 22);
		text_put_number(&o->text, (int64_t)value);
		text_pad(&o->text, start, 40);
		text_put(&o->text, meaning);
		text_put(&o->text, "\n");
	}
	o->first = false;
}

static void put_option(void *arg, const char *name, const char *value)
{
	struct output *o = arg;

	if (o->format == PMD_FORMAT_JSON) {
		text_put(&o->text, o->first ? "\"" : ", \"");
		text_put(&o->text, name);
		text_put(&o->text, "\": \"");
		text_put(&o->text, value);
		text_put(&o->text, "\"");
	} else {
		text_put(&o->text, o->first ? "" : ",");
		text_put(&o->text, name);
		text_put(&o->text, ":");
		text_put(&o->text, value);
	}
	o->first = false;
}

int pmd_stats_print(int fd, enum pmd_format format)
{
	char buf[4096];
	struct output o = {.format = format, .first = true};
	struct pmd_stats stats;

	if (format != PMD_FORMAT_TEXT && format != PMD_FORMAT_JSON)
		return EINVAL;
	stats_collect(&stats);
	text_init(&o.text, buf, sizeof buf);
	text_put(&o.text, format == PMD_FORMAT_JSON ? "{\n  \"version\": \"" PMDALLOC_VERSION "\",\n  \"statistics\": {"
						    : "pmdalloc " PMDALLOC_VERSION " statistics\n");
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		put_field(&o, fields[i].name, fields[i].meaning, field_value(&stats, fields[i].offset));
	text_put(&o.text, format == PMD_FORMAT_JSON ? "},\n  \"options\": {" : "  options ");
	o.first = true;
	options_each(put_option, &o);
	text_put(&o.text, format == PMD_FORMAT_JSON ? "}\n}\n" : "\n");
	return os_write(fd, buf, o.text.len);
}

/* Many programs close stderr before the last destructor runs: a copy of it is kept. */
static int exit_fd = -1;

__attribute__((constructor)) static void prepare_exit(void)
{
	if (cache_init() && OPTION(stats) != STATS_OFF)
		exit_fd = os_copy_fd(2);
}

__attribute__((destructor)) static void print_at_exit(void)
{
	if (exit_fd >= 0)
		pmd_stats_print(exit_fd, OPTION(stats) == STATS_JSON ? PMD_FORMAT_JSON : PMD_FORMAT_TEXT);
}

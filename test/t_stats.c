/* SPDX-License-Identifier: MIT */
/* Statistics follow what the program does, and are printed as text and as JSON that a parser accepts. */
#include "api.h"
#include "proc.h"

#define HELD  (100 * MIB)
#define SMALL 10000

static struct pmd_stats stats(void)
{
	struct pmd_stats now = {.size = sizeof now};
	CHECK(pmd_stats_get(&now) == 0);
	return now;
}

static void test_counts(void)
{
	static void *small[SMALL];
	struct pmd_stats before = stats();
	for (size_t i = 0; i < SMALL; i++) {
		small[i] = t_malloc(100);
		CHECK(small[i]);
	}
	char *large = t_malloc(HELD);
	CHECK(large);
	memset(large, 1, HELD);
	struct pmd_stats during = stats();
	CHECK(during.live_blocks >= before.live_blocks + SMALL + 1);
	CHECK(during.live_blocks <= before.live_blocks + SMALL + 64);
	CHECK(during.live_bytes >= before.live_bytes + HELD + SMALL * 100);
	CHECK(during.large_bytes >= before.large_bytes + HELD);
	CHECK(during.slab_bytes >= SMALL * 100);
	CHECK(during.heap_committed >= HELD && during.heap_reserved >= during.heap_committed);
	CHECK(during.regions_active >= HELD / (2 * MIB));
	CHECK_SAY(during.metadata_bytes <= 512 * KIB + during.heap_committed / 200, "%zu bytes of metadata",
		  during.metadata_bytes);
	for (size_t i = 0; i < SMALL; i++)
		t_free(small[i]);
	t_free(large);
	struct pmd_stats after = stats();
	CHECK(after.live_blocks <= before.live_blocks + 64);
	CHECK(after.live_bytes <= before.live_bytes + MIB);
	CHECK(after.dirty_bytes >= HELD / 2);
	size_t given_back = pmd_release();
	struct pmd_stats released = stats();
	CHECK(given_back >= HELD / 2);
	CHECK(released.releases + released.purged_bytes > after.releases + after.purged_bytes);
	CHECK(released.dirty_bytes < after.dirty_bytes);
	CHECK(released.threads >= 1 && released.arenas >= 1 && released.heaps >= 1);
}

/* What is dirty is counted right however often it is used again. */
static void test_dirty_cycles(void)
{
	void *blocks[200];
	for (size_t cycle = 0; cycle < 8; cycle++) {
		for (size_t i = 0; i < LENGTH(blocks); i++) {
			size_t size = 50000 + i * 1000;
			blocks[i] = t_malloc(size);
			CHECK(blocks[i]);
			memset(blocks[i], 1, size);
		}
		struct pmd_stats held = stats();
		CHECK_SAY(held.dirty_bytes <= 32 * MIB, "cycle %zu: %zu dirty bytes", cycle, held.dirty_bytes);
		for (size_t i = 0; i < LENGTH(blocks); i++)
			t_free(blocks[i]);
		struct pmd_stats freed = stats();
		CHECK_SAY(freed.dirty_bytes >= 16 * MIB && freed.dirty_bytes <= 128 * MIB, "cycle %zu: %zu dirty bytes",
			  cycle, freed.dirty_bytes);
		CHECK(freed.regions_dirty * 2 * MIB <= freed.dirty_bytes);
	}
}

/* Older programs know a smaller structure: nothing behind it is written. */
static void test_size(void)
{
	struct {
		struct pmd_stats stats;
		size_t guard[4];
	} area;
	memset(&area, 0x11, sizeof area);
	area.stats.size = 0;
	CHECK(pmd_stats_get(&area.stats) == EINVAL);
	area.stats.size = 4 * sizeof(size_t);
	CHECK(pmd_stats_get(&area.stats) == 0);
	const unsigned char *bytes = (const unsigned char *)&area;
	for (size_t i = 4 * sizeof(size_t); i < sizeof area; i++)
		CHECK(bytes[i] == 0x11);
}

static size_t print(enum pmd_format format, char *text, size_t size)
{
	int out[2];
	CHECK(pipe(out) == 0);
	CHECK(pmd_stats_print(out[1], format) == 0);
	close(out[1]);
	size_t length = 0;
	for (ssize_t n; (n = read(out[0], text + length, size - 1 - length)) > 0;)
		length += (size_t)n;
	CHECK(length > 0 && length < size - 1);
	text[length] = 0;
	close(out[0]);
	return length;
}

static const char *json_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Past the JSON value at P; fails the test when there is none. Strings of ours have no escapes. */
static const char *json_value(const char *p)
{
	p = json_space(p);
	if (*p == '"') {
		p = strchr(p + 1, '"');
		CHECK(p);
		return p + 1;
	}
	if (*p == '{' || *p == '[') {
		const char close = *p == '{' ? '}' : ']';
		p = json_space(p + 1);
		while (*p != close) {
			p = json_space(json_value(p));
			if (close == '}') {
				CHECK(*p == ':');
				p = json_space(json_value(p + 1));
			}
			if (*p == ',')
				p = json_space(p + 1);
			else
				CHECK(*p == close);
		}
		return p + 1;
	}
	size_t length = strspn(p, "-+.eE0123456789truefalsn");
	CHECK_SAY(length > 0, "no JSON value at: %.20s", p);
	return p + length;
}

static void test_print(void)
{
	static char text[65536];
	print(PMD_FORMAT_TEXT, text, sizeof text);
	CHECK(strstr(text, "live") && strstr(text, "decay_ms"));
	print(PMD_FORMAT_JSON, text, sizeof text);
	CHECK(*json_space(text) == '{');
	CHECK(*json_space(json_value(text)) == 0);
	CHECK(strstr(text, "\"live_bytes\"") && strstr(text, "\"decay_ms\""));
	CHECK(pmd_stats_print(-1, PMD_FORMAT_TEXT) == EBADF);
}

static void test_arenas(void)
{
	unsigned mine = pmd_thread_arena();
	CHECK(pmd_arena_count() >= 1 && mine < 256);
	CHECK(pmd_thread_set_arena(256) == EINVAL);
	CHECK(pmd_thread_set_arena(7) == 0);
	CHECK(pmd_thread_arena() == 7);
	for (size_t size = 1; size < 4 * MIB; size *= 2)
		t_free(t_malloc(size));
	CHECK(pmd_thread_set_arena(mine) == 0);
	CHECK(strcmp(pmd_version(), PMDALLOC_VERSION) == 0);
}

int main(void)
{
	CHECK(pmd_option_set("decay_ms", "-1") == 0);
	test_counts();
	test_dirty_cycles();
	test_size();
	test_print();
	test_arenas();
	return 0;
}

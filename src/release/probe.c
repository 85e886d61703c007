/* SPDX-License-Identifier: MIT */
/*
 * Page tables are counted for the whole process, whose other threads may be mapping and unmapping meanwhile. So a
 * probe uses several regions, takes only an answer near all or near nothing, and asks again otherwise.
 */
#include "release/probe.h"
#include "os/os.h"

enum {
	REGIONS = 16,
	PAGE_TABLES = REGIONS << PAGE_SHIFT,
	ROUNDS = 4,
};

static void touch(const struct iovec *ranges)
{
	for (int i = 0; i < REGIONS; i++)
		*(volatile char *)ranges[i].iov_base = 1;
}

static bool is_dropped(const struct iovec *ranges, const int *errors)
{
	bool ok = true;

	for (int i = 0; i < REGIONS; i++)
		ok = ok && !errors[i] && !*(volatile char *)ranges[i].iov_base;
	return ok;
}

static enum probe_result one_round(probe_subject *subject, enum release_backend b, const struct iovec *ranges)
{
	int errors[REGIONS];
	size_t before, after;

	touch(ranges);
	before = os_page_table_bytes();
	subject(b, ranges, REGIONS, errors);
	after = os_page_table_bytes();
	if (!is_dropped(ranges, errors))
		return PROBE_REFUSED;
	if (before && after + PAGE_TABLES - PAGE_TABLES / 8 <= before &&
	    after + PAGE_TABLES + PAGE_TABLES / 8 >= before)
		return PROBE_FREES;
	return before && after + PAGE_TABLES / 8 >= before && before + PAGE_TABLES / 8 >= after ? PROBE_KEEPS
												: PROBE_UNKNOWN;
}

enum probe_result probe_backend(probe_subject *subject, enum release_backend b)
{
	size_t bytes = (REGIONS + 1) * REGION_BYTES;
	enum probe_result result = PROBE_UNKNOWN;
	struct iovec ranges[REGIONS];
	void *scratch;

	if (os_reserve(bytes, &scratch))
		return PROBE_UNKNOWN;
	if (!os_commit(scratch, bytes)) {
		os_advise_huge(scratch, bytes, false);
		for (size_t i = 0; i < REGIONS; i++) {
			uintptr_t base = align_up((uintptr_t)scratch, REGION_BYTES) + i * REGION_BYTES;

			ranges[i] = (struct iovec){(void *)base, REGION_BYTES};
		}
		for (int i = 0; i < ROUNDS && result == PROBE_UNKNOWN; i++)
			result = one_round(subject, b, ranges);
	}
	os_unmap(scratch, bytes);
	return result;
}

/* SPDX-License-Identifier: MIT */
/*
 * Sizes as programs ask for them. A distribution is a table of steps: a share of all requests is between two sizes,
 * evenly.
 */
#ifndef BENCH_SIZES_H
#define BENCH_SIZES_H

#include "bench.h"

struct sizes {
	struct {
		unsigned share;
		size_t low, high;
	} step[17]; /* ends with a share of 0 */
};

/*
 * A cache of web objects: small keys, values of a generalized Pareto distribution as Atikoglu et al. measured it for
 * the pool ETC ("Workload analysis of a large-scale key-value store", SIGMETRICS 2012).
 */
extern const struct sizes sizes_keyvalue;
/*
 * All programs of a data centre: nearly every object is small, half of the bytes are in those above 8 KiB, as Zhou et
 * al. found ("Characterizing a memory allocator at warehouse scale", ASPLOS 2024).
 */
extern const struct sizes sizes_fleet;
/* What gcc, python3 and redis ask for: counted in traces that pmdalloc-trace recorded (make bench-traces). */
extern const struct sizes sizes_gcc, sizes_python, sizes_redis;

enum { SIZES_DRAWN = 1 << 16 };

/* SIZES_DRAWN sizes in random order, so that a benchmark only looks one up; table_drop gives them back. */
uint32_t *sizes_draw(const struct sizes *sizes);

#endif

/* SPDX-License-Identifier: MIT */
/* Figures for pmd_stats_get, mallinfo and the like. */
#ifndef PMD_API_STATS_H
#define PMD_API_STATS_H

#include "pmdalloc/pmdalloc.h"

void stats_collect(struct pmd_stats *stats);

#endif

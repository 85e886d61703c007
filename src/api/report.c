/* SPDX-License-Identifier: MIT */
#include "api/report.h"

bool histogram_is_empty(const struct histogram *h, const void *row)
{
	for (size_t i = 0; i < h->buckets; i++)
		if (buckets_at(h, row)[i])
			return false;
	return true;
}

bool row_is_empty(const struct section *s, const void *row)
{
	for (size_t i = 0; i < s->column_count; i++)
		if (s->columns[i].kind != CONSTANT && number_at(row, s->columns[i].offset))
			return false;
	return !s->histogram || histogram_is_empty(s->histogram, row);
}

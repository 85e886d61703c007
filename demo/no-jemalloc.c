/* SPDX-License-Identifier: MIT */
/*
 * An empty libjemalloc.so.2: what redis-server calls besides the standard names, and nothing else.
 *
 * Debian's redis-server is linked with libjemalloc, so whatever is preloaded, jemalloc stays in the process, and
 * without a preload it serves. Found first in LD_LIBRARY_PATH, this takes its place and leaves malloc to whoever comes
 * next.
 */
#include <errno.h>
#include <stddef.h>

int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
{
	(void)name, (void)old, (void)old_len, (void)new, (void)new_len;
	return ENOENT;
}

size_t nallocx(size_t size, int flags)
{
	(void)flags;
	return size;
}

void malloc_stats_print(void (*write)(void *, const char *), void *arg, const char *options)
{
	(void)write, (void)arg, (void)options;
}

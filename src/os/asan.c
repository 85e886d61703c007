/* SPDX-License-Identifier: MIT */
#include "os/asan.h"
#include "os/os.h"

#ifndef PMD_SANITIZED

extern void __asan_get_shadow_mapping(size_t *scale, size_t *offset) __attribute__((weak));

bool asan_ready(void)
{
	static _Atomic bool ready;
	static char here;
	unsigned char resident;
	size_t scale, offset;
	uintptr_t shadow;

	if (ready || !__asan_get_shadow_mapping)
		return true;
	__asan_get_shadow_mapping(&scale, &offset);
	shadow = (((uintptr_t)&here >> scale) + offset) & ~(uintptr_t)(PAGE_BYTES - 1);
	ready = !os_resident((void *)shadow, PAGE_BYTES, &resident);
	return ready;
}

#endif

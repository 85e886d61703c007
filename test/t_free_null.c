/* SPDX-License-Identifier: MIT */
/*
 * free(NULL) while another thread makes slabs where large blocks were, and where nothing was: in the slice to whose descriptor
 * null pointers lead, the first of the heap, among others.
 */
#include "api.h"
#include "variants.h"

#include <pthread.h>
#include <stdatomic.h>

#define CYCLES 600000
#define SLABS  8

static _Atomic bool stop;
static void *volatile null;

static void *free_null(void *unused)
{
	t_free(t_malloc(24));
	while (!atomic_load(&stop))
		for (int i = 0; i < 64; i++)
			t_free(null);
	return unused;
}

static void cycle(void)
{
	void *large = t_malloc(100000), *beside = t_malloc(150000), *blocks[SLABS];

	CHECK(large && beside);
	t_free(large);
	t_free(beside);
	for (size_t i = 0; i < SLABS; i++)
		CHECK((blocks[i] = t_malloc(20000)));
	for (size_t i = 0; i < SLABS; i++)
		t_free(blocks[i]);
	pmd_thread_flush();
}

int main(int argc, char **argv)
{
	pthread_t thread;

	VARIANTS(argc, argv, "guard_rate:0,arenas:1", "guard_rate:0,arenas:1,decay_ms:0");
	CHECK(pthread_create(&thread, NULL, free_null, NULL) == 0);
	for (size_t i = 0; i < (SANITIZED ? CYCLES / 20 : CYCLES); i++)
		cycle();
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	return 0;
}

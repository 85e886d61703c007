/* SPDX-License-Identifier: MIT */
/*
 * Free slices of a region that stays in use: src/heap/arena.c (arena_take, arena_put, begin_purge, end_purge), with the
 * region's way through the heap's pool and from one arena to another, two threads that purge, and the release of the
 * whole region.
 *
 * A step is what one thread does under the arena's lock, or without one, or one thing that the kernel does. What may be
 * changed under one arena's lock alone is checked to be: holding the lock of the arena that the region had is wrong.
 * Slices are one page large here.
 */
#include "explore.h"

enum { SLICES = 3, PURGERS = 2, ARENAS = 2 };

static const struct variant variants[] = {{"a region of three slices", false}};
static const char *const purgers[PURGERS] = {"the scavenger", "pmd_release()"};

enum region_state { CLEAN, DIRTY, RELEASING, ACTIVE };
enum contents { ZERO, JUNK, LIVE };
enum request { NONE, TAKEN, CALLED, DROPPED, REFUSED };

enum wrong { NOTHING, LIVE_DROPPED, NOT_ZERO, TABLE_STAYS, NO_LOCK };

enum mistakes {
	NO_MISTAKE,
	NOT_MARKED_USED,
	FREED_BEFORE_ANSWER,
	REFUSAL_IS_CONSENT,
	PURGED_IS_CLEAN,
	PURGED_COUNT_AS_FREE,
	ARENA_NOT_LOOKED_AT_AGAIN,
	TOUCHED_NOT_SET,
	NEVER_FREED,
	MISTAKES,
};

static const char *const wrong_words[] = {
	[LIVE_DROPPED] = "live data is lost",
	[NOT_ZERO] = "what is handed out as zero is not",
	[TABLE_STAYS] = "a clean region has kept its page table",
	[NO_LOCK] = "a region is changed without the lock of its arena",
};

static const struct mistake mistakes[MISTAKES] = {
	[NOT_MARKED_USED] = {"slices are not marked as used while they are purged", "live data is lost"},
	[FREED_BEFORE_ANSWER] = {"slices are free again before the kernel has answered", "live data is lost"},
	[REFUSAL_IS_CONSENT] = {"refused slices count as dropped", "what is handed out as zero is not"},
	[PURGED_IS_CLEAN] = {"a region that empties with every slice purged counts as clean",
			     "a clean region has kept its page table"},
	[PURGED_COUNT_AS_FREE] = {"a region goes back to the heap while slices of it are purged", "live data is lost"},
	[ARENA_NOT_LOOKED_AT_AGAIN] = {"the region's arena is not looked at again under the lock",
				       "a region is changed without the lock of its arena"},
	[TOUCHED_NOT_SET] = {"a slice that is handed out does not count as touched",
			     "what is handed out as zero is not"},
	[NEVER_FREED] = {"refused slices are not freed", NULL},
};

struct state {
	uint8_t region;       /* its state */
	uint8_t arena;        /* 1 + the arena's number, 0 while it has none */
	bool used[SLICES];    /* the allocator's bits ... */
	bool touched[SLICES]; /* ... */
	bool owned[SLICES];   /* the program's: not the allocator's view, but the truth */
	uint8_t contents[SLICES];
	bool table;      /* the kernel has a page table for it */
	uint8_t release; /* of the whole region: enum request */
	uint8_t request[PURGERS][SLICES];
	uint8_t seen[PURGERS]; /* 1 + the arena that was seen without a lock */
	uint8_t wrong;
};

static bool is_mistake(enum mistakes m)
{
	return explore_mistake == m;
}

static void begin(void *p)
{
	(void)p; /* clean, nobody's, all zero */
}

static bool is_free(const struct state *s, int i)
{
	return s->region == ACTIVE && !s->used[i];
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

static void take(struct state *n, int i)
{
	if (!n->touched[i] && n->contents[i] != ZERO)
		n->wrong = NOT_ZERO;
	n->used[i] = n->owned[i] = true;
	n->touched[i] = !is_mistake(TOUCHED_NOT_SET);
}

/* take_short: from the region that the arena has, or one that heap_take hands out. */
static void program_takes(const struct state *s, int i)
{
	struct state n = *s;

	if (is_free(s, i)) {
		take(&n, i);
		explore_chance(&n, "the program takes slice %d", i);
	}
	if (s->region != CLEAN && s->region != DIRTY)
		return;
	for (int a = 0; a < ARENAS; a++) {
		n = *s;
		n.region = ACTIVE;
		n.arena = (uint8_t)(1 + a);
		take(&n, i);
		explore_chance(&n, "arena %d gets the region, and the program slice %d of it", a, i);
	}
}

static void program_writes(const struct state *s, int i)
{
	struct state n = *s;

	if (!s->owned[i] || s->contents[i] == LIVE)
		return;
	n.contents[i] = LIVE;
	n.table = true;
	explore_step(&n, "the program writes to slice %d", i);
}

static bool is_purged(const struct state *s, int i)
{
	return s->request[0][i] || s->request[1][i];
}

/* heap_put, when no slice is used any more. */
static void put_if_empty(struct state *n)
{
	bool clean = is_mistake(PURGED_IS_CLEAN);

	for (int i = 0; i < SLICES; i++) {
		if (n->used[i] && !(is_mistake(PURGED_COUNT_AS_FREE) && is_purged(n, i)))
			return;
		clean = clean && !n->touched[i];
	}
	n->region = clean ? CLEAN : DIRTY;
	n->arena = 0;
	memset(n->used, 0, sizeof n->used);
}

static void program_frees(const struct state *s, int i)
{
	struct state n = *s;

	if (!s->owned[i] || s->contents[i] != LIVE)
		return;
	n.contents[i] = JUNK;
	n.used[i] = n.owned[i] = false;
	put_if_empty(&n);
	explore_step(&n, "the program frees slice %d%s", i, n.region == ACTIVE ? "" : ": the region goes to the heap");
}

/* ---- Purge ------------------------------------------------------------------------------------------------------- */

static bool is_idle(const struct state *s, int p)
{
	for (int i = 0; i < SLICES; i++)
		if (s->request[p][i])
			return false;
	return true;
}

/* begin_purge, the look at the arena. */
static void purger_sees_arena(const struct state *s, int p)
{
	struct state n = *s;

	if (!s->arena || s->seen[p] || !is_idle(s, p))
		return;
	n.seen[p] = s->arena;
	explore_chance(&n, "%s sees that the region is arena %d's", purgers[p], s->arena - 1);
}

/* begin_purge, the rest. Any of the idle slices: which depends on their age. */
static void purger_takes(const struct state *s, int p, unsigned which)
{
	struct state n = *s;
	bool any = false;

	n.seen[p] = 0;
	if (s->seen[p] != s->arena && !is_mistake(ARENA_NOT_LOOKED_AT_AGAIN)) {
		explore_step(&n, "%s, under the arena's lock, sees that the region is not its any more", purgers[p]);
		return;
	}
	for (int i = 0; i < SLICES; i++) {
		if (!(which >> i & 1) || !is_free(s, i) || !s->touched[i])
			continue;
		any = true;
		n.request[p][i] = TAKEN;
		n.used[i] = !is_mistake(NOT_MARKED_USED);
	}
	if (any && s->seen[p] != s->arena)
		n.wrong = NO_LOCK;
	explore_step(&n, "%s, under arena %d's lock, takes idle slices out, set %u", purgers[p], s->seen[p] - 1, which);
}

/* end_purge. */
static void purger_ends(const struct state *s, int p, int i)
{
	struct state n = *s;
	bool dropped = s->request[p][i] == DROPPED || is_mistake(REFUSAL_IS_CONSENT);

	n.request[p][i] = NONE;
	if (dropped)
		n.touched[i] = false;
	if (!(is_mistake(NEVER_FREED) && !dropped) && !is_mistake(FREED_BEFORE_ANSWER) && n.region == ACTIVE &&
	    !s->owned[i]) {
		n.used[i] = false;
		put_if_empty(&n);
	}
	explore_step(&n, "%s, under the lock, frees slice %d: it is %s%s", purgers[p], i, dropped ? "clean" : "dirty",
		     n.region == ACTIVE ? "" : "; the region goes to the heap");
}

static void purger_calls(const struct state *s, int p)
{
	struct state n = *s;
	bool any = false;

	for (int i = 0; i < SLICES; i++) {
		if (s->request[p][i] != TAKEN)
			continue;
		any = true;
		n.request[p][i] = CALLED;
		if (is_mistake(FREED_BEFORE_ANSWER))
			n.used[i] = false;
	}
	if (any)
		explore_step(&n, "%s asks the kernel to drop its slices", purgers[p]);
}

static bool is_waiting(const struct state *s, int p)
{
	for (int i = 0; i < SLICES; i++)
		if (s->request[p][i] == CALLED)
			return true;
	return false;
}

static void purger_steps(const struct state *s, int p)
{
	purger_sees_arena(s, p);
	for (unsigned which = 1; s->seen[p] && which < 1u << SLICES; which++)
		purger_takes(s, p, which);
	purger_calls(s, p);
	for (int i = 0; i < SLICES && !is_waiting(s, p); i++)
		if (s->request[p][i] >= DROPPED)
			purger_ends(s, p, i);
}

/* ---- Release of the whole region; regions.c has the details -------------------------------------------------------- */

static void region_is_released(const struct state *s)
{
	struct state n = *s;

	if (s->region != DIRTY)
		return;
	n.region = RELEASING;
	n.release = CALLED;
	explore_step(&n, "the scavenger releases the whole region");
}

static void release_ends(const struct state *s)
{
	struct state n = *s;

	if (s->release < DROPPED)
		return;
	n.release = NONE;
	n.region = s->release == DROPPED ? CLEAN : DIRTY;
	if (s->release == DROPPED)
		memset(n.touched, 0, sizeof n.touched);
	explore_step(&n, "the region is %s", s->release == DROPPED ? "clean" : "dirty again");
}

/* ---- The kernel -------------------------------------------------------------------------------------------------- */

static void drop(struct state *n, int i)
{
	if (n->contents[i] == LIVE)
		n->wrong = LIVE_DROPPED;
	n->contents[i] = ZERO;
}

static void kernel_steps(const struct state *s)
{
	struct state n;

	for (int p = 0; p < PURGERS; p++)
		for (int i = 0; i < SLICES; i++) {
			if (s->request[p][i] != CALLED)
				continue;
			n = *s;
			n.request[p][i] = REFUSED;
			explore_chance(&n, "the kernel refuses to drop slice %d", i);
			n.request[p][i] = DROPPED;
			drop(&n, i);
			explore_step(&n, "the kernel drops slice %d", i);
		}
	if (s->release != CALLED)
		return;
	n = *s;
	n.release = REFUSED;
	explore_chance(&n, "the kernel refuses to drop the region");
	n.release = DROPPED;
	for (int i = 0; i < SLICES; i++)
		drop(&n, i);
	n.table = false;
	explore_step(&n, "the kernel drops the region, and its page table");
}

static void steps(const void *p)
{
	const struct state *s = p;

	for (int i = 0; i < SLICES; i++) {
		program_takes(s, i);
		program_writes(s, i);
		program_frees(s, i);
	}
	for (int i = 0; i < PURGERS; i++)
		purger_steps(s, i);
	region_is_released(s);
	release_ends(s);
	kernel_steps(s);
}

static const char *wrong(const void *p)
{
	const struct state *s = p;

	return s->region == CLEAN && s->table ? wrong_words[TABLE_STAYS] : wrong_words[s->wrong];
}

static bool settled(const void *p)
{
	const struct state *s = p;

	return s->region == CLEAN;
}

const struct model model_slices = {
	.name = "slices",
	.variants = variants,
	.variant_count = 1,
	.size = sizeof(struct state),
	.start = begin,
	.steps = steps,
	.wrong = wrong,
	.settled = settled,
	.unsettled = "the region can never be released any more",
	.mistakes = mistakes,
	.mistake_count = MISTAKES,
};

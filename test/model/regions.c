/* SPDX-License-Identifier: MIT */
/*
 * The life of empty regions: src/heap/pool.c (the pool, take_out, settle, recover, pool_after_fork), src/release/ (the
 * backends, what is outstanding in the ring) and the kernel behind them, with the scavenger and a thread in
 * pmd_release() giving back at once, a program that takes, writes and frees, and a fork at any moment.
 *
 * A step is what one thread does under the heap's lock, or one call to the kernel, or one thing that the kernel does.
 * Sections under the lock are cut in two, so that a fork can find the lock held. README.md says which function is which.
 */
#include "explore.h"

enum { REGIONS = 3 };
enum releaser { SCAVENGER, CALLER, RELEASERS };
static const char *const names[RELEASERS] = {"the scavenger", "pmd_release()"};

enum backend { BY_CALL, BY_RING, BY_REMAP, BACKENDS };
static const struct variant variants[] = {
	[BY_CALL] = {"two regions, one call for a batch", false},
	[BY_RING] = {"two regions, io_uring", false},
	[BY_REMAP] = {"two regions, remap", false},
	[BACKENDS + BY_CALL] = {"three regions, one call for a batch", true},
	[BACKENDS + BY_RING] = {"three regions, io_uring", true},
	[BACKENDS + BY_REMAP] = {"three regions, remap", true},
};

static enum backend backend(void)
{
	return explore_variant % BACKENDS;
}

static int regions(void)
{
	return explore_variant < BACKENDS ? REGIONS - 1 : REGIONS;
}

enum region_state { CLEAN, DIRTY, RELEASING, ACTIVE };
static const char *const state_names[] = {"clean", "dirty", "releasing", "active"};

enum contents { ZERO, JUNK, LIVE };
enum mapping { OURS, HOLE, FOREIGN };

/* Where a releaser's request for a region has got to. */
enum request {
	NONE,
	TAKEN,       /* out of the pool; the kernel does not know yet */
	TAKEN_MARK,  /* the same, to be marked MADV_FREE */
	TAKEN_REMAP, /* dropped, and to be mapped anew: the remap backend's second call */
	TAKEN_LOST,  /* not mapped any more: to be mapped where nothing is */
	CALLED,      /* the kernel has it, and the caller waits */
	CALLED_MARK,
	CALLED_REMAP,
	CALLED_LOST,
	IN_RING,      /* the kernel has it, and the scavenger goes on */
	RING_DROPPED, /* its completion is in the ring */
	RING_REFUSED,
	DROPPED, /* the answers that have arrived */
	REFUSED,
	MARKED,
	LOST,
};

enum doing {
	IDLE,
	TAKING,   /* under the heap's lock */
	CALLING,  /* makes the system calls for its batch */
	SETTLING, /* has the answers */
	LOCKED,   /* one is settled, the lock not dropped yet */
	ENDING,   /* the scavenger: its thread is on its way out */
	GONE,
};

enum wrong {
	NOTHING,
	LIVE_DROPPED,
	NOT_ZERO,
	HANDED_TWICE,
	HOLE_HANDED_OUT,
	FOREIGN_OVERWRITTEN,
	DESCRIPTORS_DROPPED,
	HALF_CHANGED,
};

enum mistakes {
	NO_MISTAKE,
	END_AT_SUBMISSION,
	HAND_OUT_RELEASING,
	STAYS_IN_LIST,
	REFUSAL_IS_CONSENT,
	SHORT_IS_WHOLE,
	DESCRIPTORS_LATE,
	MARK_IN_POOL,
	MARKED_IS_CLEAN,
	REMAP_AVAILABLE_EARLY,
	LOST_IS_DIRTY,
	RECOVER_UNCLAIMED,
	RECOVER_FIXED,
	STOP_RETURNS,
	STOP_FORGETS,
	CHILD_LEAVES,
	CHILD_TRUSTS,
	CHILD_REAPS,
	CHILD_KEEPS_HOLE,
	CHILD_USES_LOCKED,
	MISTAKES,
};

static const char *const wrong_words[] = {
	[LIVE_DROPPED] = "live data is lost",
	[NOT_ZERO] = "what is handed out as zero is not",
	[HANDED_TWICE] = "a region is handed out that is somebody's",
	[HOLE_HANDED_OUT] = "a region is handed out that is not mapped",
	[FOREIGN_OVERWRITTEN] = "somebody else's mapping is overwritten",
	[DESCRIPTORS_DROPPED] = "a live region's descriptors are lost",
	[HALF_CHANGED] = "lists that a thread of the parent left half changed are used",
};

static const struct mistake mistakes[MISTAKES] = {
	[END_AT_SUBMISSION] = {"a region is available again when its request is submitted", "live data is lost"},
	[HAND_OUT_RELEASING] = {"a region is handed out while it is released", "live data is lost"},
	[STAYS_IN_LIST] = {"a region that is taken out stays in the dirty list", "live data is lost"},
	[REFUSAL_IS_CONSENT] = {"a refused region counts as dropped", "what is handed out as zero is not"},
	[SHORT_IS_WHOLE] = {"a call that did only part of its ranges counts for all",
			    "what is handed out as zero is not"},
	[DESCRIPTORS_LATE] = {"the descriptors' pages go after the region is available again",
			      "a live region's descriptors are lost"},
	[MARK_IN_POOL] = {"MADV_FREE is called on a dirty region that stays in the pool", "live data is lost"},
	[MARKED_IS_CLEAN] = {"a marked region counts as clean", "what is handed out as zero is not"},
	[REMAP_AVAILABLE_EARLY] = {"a region is available again between the two calls of the remap backend",
				   "live data is lost"},
	[LOST_IS_DIRTY] = {"a region that a failed mmap left unmapped becomes dirty",
			   "a region is handed out that is not mapped"},
	[RECOVER_UNCLAIMED] = {"two threads map the same lost region anew", "live data is lost"},
	[RECOVER_FIXED] = {"a lost region is mapped anew with MAP_FIXED", "somebody else's mapping is overwritten"},
	[STOP_RETURNS] = {"the scavenger ends and makes available what the ring has not answered", "live data is lost"},
	[STOP_FORGETS] = {"the scavenger ends and forgets what the ring has not answered", NULL},
	[CHILD_LEAVES] = {"a forked child leaves its parent's releasing regions alone", NULL},
	[CHILD_TRUSTS] = {"a forked child takes its parent's releasing regions for clean",
			  "what is handed out as zero is not"},
	[CHILD_REAPS] = {"a forked child reaps its parent's ring", "what is handed out as zero is not"},
	[CHILD_KEEPS_HOLE] = {"a forked child takes its parent's releasing regions without a look",
			      "a region is handed out that is not mapped"},
	[CHILD_USES_LOCKED] = {"a forked child uses a heap whose lock was held",
			       "lists that a thread of the parent left half changed are used"},
};

struct region {
	uint8_t state, contents, mapping;
	bool touched; /* the allocator's bit: may hold other than zero */
	bool free;    /* marked MADV_FREE since it was last written */
	bool lost;
	uint8_t request[RELEASERS];
};

struct state {
	struct region region[REGIONS];
	uint8_t doing[RELEASERS];
	uint8_t locked; /* the heap's lock: 1 + releaser */
	bool stopping, forked;
	bool half_changed; /* the lists; in a child they are made anew from the states */
	uint8_t wrong;
};

static bool is_mistake(enum mistakes m)
{
	return explore_mistake == m;
}

static void begin(void *p)
{
	struct state *s = p;

	for (int i = 0; i < regions(); i++)
		s->region[i] = (struct region){.state = CLEAN, .contents = ZERO};
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

static bool may_take(const struct region *r)
{
	return r->state == CLEAN || r->state == DIRTY || (is_mistake(HAND_OUT_RELEASING) && r->state == RELEASING);
}

/* heap_take, hand_out, and what the arena makes of `touched`. */
static void program_takes(const struct state *s, int i)
{
	struct state n = *s;
	struct region *r = &n.region[i];

	if (!may_take(r))
		return;
	if (s->half_changed)
		n.wrong = HALF_CHANGED;
	else if (r->mapping != OURS)
		n.wrong = HOLE_HANDED_OUT;
	else if (!r->touched && r->contents != ZERO)
		n.wrong = NOT_ZERO;
	r->state = ACTIVE;
	r->touched = true;
	explore_chance(&n, "the program gets region %d, which was %s", i, state_names[s->region[i].state]);
}

static void program_writes(const struct state *s, int i)
{
	struct state n = *s;

	if (s->region[i].state != ACTIVE || s->region[i].contents == LIVE)
		return;
	n.region[i].contents = LIVE;
	n.region[i].free = false;
	explore_step(&n, "the program writes to region %d", i);
}

/* heap_put. */
static void program_frees(const struct state *s, int i)
{
	struct state n = *s;

	if (s->region[i].state != ACTIVE || s->region[i].contents != LIVE)
		return;
	n.region[i].contents = JUNK;
	n.region[i].state = DIRTY;
	explore_step(&n, "the program frees all of region %d: it is dirty", i);
}

static void program_steps(const struct state *s)
{
	for (int i = 0; i < regions() && !s->locked; i++) {
		program_takes(s, i);
		program_writes(s, i);
		program_frees(s, i);
	}
}

/* ---- Taking regions out of the pool ------------------------------------------------------------------------------ */

static bool is_empty_handed(const struct state *s, enum releaser who)
{
	for (int i = 0; i < regions(); i++)
		if (s->region[i].request[who])
			return false;
	return true;
}

static bool has(const struct state *s, enum releaser who, enum request from, enum request to)
{
	for (int i = 0; i < regions(); i++)
		if (s->region[i].request[who] >= from && s->region[i].request[who] <= to)
			return true;
	return false;
}

/* take_out: begins, takes one region more, ends. The scavenger may have earlier ones in the ring. */
static void takes_out(const struct state *s, enum releaser who, int i, enum request how)
{
	struct state n = *s;
	struct region *r = &n.region[i];

	if (r->request[who])
		return;
	if (how == TAKEN_LOST) { /* recover: the lost region is claimed, so that one thread alone maps it anew */
		if (r->state != RELEASING || !r->lost)
			return;
		r->lost = is_mistake(RECOVER_UNCLAIMED);
	} else {
		if (r->state != DIRTY &&
		    !(is_mistake(STAYS_IN_LIST) && r->state == RELEASING && r->request[1 - who] != NONE))
			return;
		if (!(is_mistake(MARK_IN_POOL) && how == TAKEN_MARK))
			r->state = RELEASING;
	}
	r->request[who] = (uint8_t)how;
	n.doing[who] = TAKING;
	n.locked = (uint8_t)(1 + who);
	explore_step(&n, "%s, under the lock, takes region %d out of the pool%s", names[who], i,
		     how == TAKEN_MARK   ? ", to mark it MADV_FREE"
		     : how == TAKEN_LOST ? " of lost ones, to map it anew"
					 : "");
}

static void takes_more(const struct state *s, enum releaser who)
{
	bool marks = has(s, who, TAKEN_MARK, TAKEN_MARK), recovers = has(s, who, TAKEN_LOST, TAKEN_LOST);

	for (int i = 0; i < regions(); i++) {
		bool first = s->doing[who] == IDLE;

		if (first || (!marks && !recovers))
			takes_out(s, who, i, TAKEN);
		if (first || marks)
			takes_out(s, who, i, TAKEN_MARK);
		if (first && backend() == BY_REMAP)
			takes_out(s, who, i, TAKEN_LOST);
	}
}

static void drop_descriptors(struct state *s, const struct region *r)
{
	if (r->state == ACTIVE)
		s->wrong = DESCRIPTORS_DROPPED;
}

/* release_regions, up to its first system call: the pages of descriptors go before. */
static void starts_calling(const struct state *s, enum releaser who)
{
	struct state n = *s;

	n.locked = 0;
	n.doing[who] = CALLING;
	for (int i = 0; i < regions(); i++)
		if (n.region[i].request[who] == TAKEN && !is_mistake(DESCRIPTORS_LATE))
			drop_descriptors(&n, &n.region[i]);
	explore_step(&n, "%s drops the lock, and the pages of its regions' descriptors", names[who]);
}

/* ---- Asking the kernel ------------------------------------------------------------------------------------------- */

static enum request called(enum request taken)
{
	return taken - TAKEN + CALLED;
}

/* One system call for all of one kind that were taken. */
static void calls(const struct state *s, enum releaser who)
{
	static const char *const words[] = {"to drop", "to mark", "to map anew", "to map again"};

	for (enum request kind = TAKEN; kind <= TAKEN_LOST; kind++) {
		struct state n = *s;

		if (!has(s, who, kind, kind) || has(s, who, CALLED, CALLED_LOST))
			continue;
		for (int i = 0; i < regions(); i++)
			if (n.region[i].request[who] == kind)
				n.region[i].request[who] = (uint8_t)called(kind);
		explore_step(&n, "%s asks the kernel %s its regions, and waits", names[who], words[kind - TAKEN]);
	}
}

/* uring_submit. What the ring does not take goes the way of a call. */
static void submits(const struct state *s, int i)
{
	struct state n = *s;

	if (backend() != BY_RING || s->region[i].request[SCAVENGER] != TAKEN)
		return;
	n.region[i].request[SCAVENGER] = IN_RING;
	if (is_mistake(END_AT_SUBMISSION))
		n.region[i].state = DIRTY;
	explore_step(&n, "the scavenger submits region %d to the ring", i);
}

static void stops_calling(const struct state *s, enum releaser who)
{
	struct state n = *s;

	if (has(s, who, TAKEN, CALLED_LOST))
		return;
	n.doing[who] = SETTLING;
	explore_step(&n, "%s has made its calls", names[who]);
}

/* ---- The kernel -------------------------------------------------------------------------------------------------- */

static void lose_contents(struct state *s, struct region *r)
{
	if (r->contents == LIVE)
		s->wrong = LIVE_DROPPED;
	r->contents = ZERO;
	r->free = false;
}

static void kernel_drops(const struct state *s, enum releaser who, int i)
{
	bool ring = s->region[i].request[who] == IN_RING;
	struct state n = *s;
	struct region *r = &n.region[i];

	r->request[who] = backend() == BY_REMAP ? TAKEN_REMAP : ring ? RING_DROPPED : DROPPED;
	if (backend() == BY_REMAP && is_mistake(REMAP_AVAILABLE_EARLY))
		r->state = CLEAN;
	lose_contents(&n, r);
	explore_step(&n, "the kernel drops region %d%s", i, ring ? ", and says so in the ring" : "");

	n = *s;
	r->request[who] = ring ? RING_REFUSED : REFUSED;
	if (is_mistake(SHORT_IS_WHOLE) && !ring && i)
		r->request[who] = DROPPED;
	explore_chance(&n, "the kernel %s region %d%s", is_mistake(SHORT_IS_WHOLE) ? "stops short of" : "refuses", i,
		       ring ? ", and says so in the ring" : "");
}

static void kernel_marks(const struct state *s, enum releaser who, int i)
{
	struct state n = *s;

	n.region[i].request[who] = MARKED;
	explore_chance(&n, "the kernel refuses to mark region %d", i);
	n.region[i].free = true;
	explore_step(&n, "the kernel marks region %d: it may drop it at any time", i);
}

static void kernel_maps(const struct state *s, enum releaser who, int i)
{
	bool lost = s->region[i].request[who] == CALLED_LOST;
	struct state n = *s;
	struct region *r = &n.region[i];

	r->request[who] = DROPPED;
	if (lost && r->mapping == FOREIGN) { /* MAP_FIXED_NOREPLACE: EEXIST */
		r->request[who] = LOST;
		if (is_mistake(RECOVER_FIXED))
			n.wrong = FOREIGN_OVERWRITTEN;
		explore_step(&n, "the kernel is asked to map region %d, where another mapping is now", i);
		return;
	}
	if (!lost)
		explore_chance(&n, "the kernel does not map region %d anew: the dropped pages' table stays", i);
	lose_contents(&n, r);
	r->mapping = OURS;
	explore_step(&n, "the kernel maps region %d anew", i);

	n = *s;
	r->request[who] = is_mistake(LOST_IS_DIRTY) ? REFUSED : LOST;
	r->mapping = HOLE;
	explore_chance(&n, "the kernel unmaps region %d, and fails to map it anew", i);
}

static void kernel_acts(const struct state *s, enum releaser who, int i)
{
	switch (s->region[i].request[who]) {
	case CALLED:
	case IN_RING:
		kernel_drops(s, who, i);
		break;
	case CALLED_MARK:
		kernel_marks(s, who, i);
		break;
	case CALLED_REMAP:
	case CALLED_LOST:
		kernel_maps(s, who, i);
		break;
	}
}

static void kernel_reclaims(const struct state *s, int i)
{
	struct state n = *s;

	if (!s->region[i].free)
		return;
	lose_contents(&n, &n.region[i]);
	explore_chance(&n, "the kernel needs memory, and drops region %d", i);
}

/*
 * Another thread's mmap finds the hole. That it does so between the call that made it and the look whether there is one
 * is left out: what would be there then could not be told from what was there before.
 */
static void hole_is_taken(const struct state *s, int i)
{
	const struct region *r = &s->region[i];
	struct state n = *s;

	if (r->mapping != HOLE || r->request[SCAVENGER] == LOST || r->request[CALLER] == LOST)
		return;
	n.region[i].mapping = FOREIGN;
	explore_chance(&n, "mmap puts something else where region %d was", i);
}

static void kernel_steps(const struct state *s)
{
	for (int i = 0; i < regions(); i++) {
		for (enum releaser who = 0; who < RELEASERS; who++)
			kernel_acts(s, who, i);
		kernel_reclaims(s, i);
		hole_is_taken(s, i);
	}
}

/* ---- The kernel's answer ----------------------------------------------------------------------------------------- */

static void make_available(struct region *r, bool clean)
{
	r->state = clean ? CLEAN : DIRTY;
	if (clean)
		r->touched = false;
	r->lost = false;
}

/* end_release, settle; the end of heap_make_lazy. */
static void settles(const struct state *s, enum releaser who, int i)
{
	struct state n = *s;
	struct region *r = &n.region[i];
	enum request answer = r->request[who];

	r->request[who] = NONE;
	if (answer == LOST)
		r->lost = true;
	else if (is_mistake(STAYS_IN_LIST) && r->state != RELEASING)
		;
	else if (!(is_mistake(MARK_IN_POOL) && answer == MARKED))
		make_available(r, answer == DROPPED || (answer == REFUSED && is_mistake(REFUSAL_IS_CONSENT)) ||
					  (answer == MARKED && is_mistake(MARKED_IS_CLEAN)));
	n.doing[who] = LOCKED;
	n.locked = (uint8_t)(1 + who);
	explore_step(&n, "%s, under the lock, puts region %d back: %s", names[who], i,
		     answer == LOST ? "it is lost" : state_names[r->state]);
}

static void drops_lock(const struct state *s, enum releaser who)
{
	struct state n = *s;

	n.locked = 0;
	n.doing[who] = SETTLING;
	for (int i = 0; i < regions(); i++)
		if (is_mistake(DESCRIPTORS_LATE) && s->region[i].state != RELEASING)
			drop_descriptors(&n, &n.region[i]);
	explore_step(&n, "%s drops the lock", names[who]);
}

static void stops_settling(const struct state *s, enum releaser who)
{
	struct state n = *s;

	if (has(s, who, DROPPED, LOST))
		return;
	n.doing[who] = IDLE;
	explore_step(&n, "%s is done with its answers", names[who]);
}

/* uring_reap. */
static void reaps(const struct state *s, int i)
{
	struct state n = *s;
	uint8_t *request = &n.region[i].request[SCAVENGER];

	if (*request != RING_DROPPED && *request != RING_REFUSED)
		return;
	*request = *request == RING_DROPPED ? DROPPED : REFUSED;
	n.doing[SCAVENGER] = SETTLING;
	explore_step(&n, "the scavenger finds the answer for region %d in the ring", i);
}

/* ---- The scavenger's end ----------------------------------------------------------------------------------------- */

/*
 * It waits for its answers, but not without end. A thread's exit waits for what its ring has in hand, so once it is
 * gone nothing can arrive any more.
 */
static void scavenger_ends(const struct state *s)
{
	struct state n = *s;

	n.stopping = false;
	n.doing[SCAVENGER] = ENDING;
	for (int i = 0; i < regions(); i++)
		if (n.region[i].request[SCAVENGER] && is_mistake(STOP_RETURNS))
			n.region[i].state = DIRTY;
	explore_chance(&n, "the scavenger ends%s",
		       is_empty_handed(s, SCAVENGER) ? "" : " without having seen all answers");
}

static void scavenger_is_gone(const struct state *s)
{
	struct state n = *s;

	if (has(s, SCAVENGER, IN_RING, IN_RING) && !is_mistake(STOP_RETURNS))
		return;
	n.doing[SCAVENGER] = GONE;
	explore_step(&n, "the scavenger's thread is gone");
}

/* The next one, or whoever releases: the answers are unknown, but nothing is outstanding. */
static void scavenger_starts(const struct state *s)
{
	struct state n = *s;

	n.doing[SCAVENGER] = IDLE;
	for (int i = 0; i < regions(); i++) {
		uint8_t *request = &n.region[i].request[SCAVENGER];

		if (*request == RING_DROPPED || *request == RING_REFUSED) {
			*request = is_mistake(STOP_FORGETS) ? NONE : REFUSED;
			n.doing[SCAVENGER] = SETTLING;
		}
	}
	explore_step(&n, "a new scavenger starts");
}

static void stop_is_asked_for(const struct state *s)
{
	struct state n = *s;

	if (s->stopping)
		return;
	n.stopping = true;
	explore_chance(&n, "scavenger_pause() is called");
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

static void child_takes_over(struct region *r)
{
	bool in_ring = r->request[SCAVENGER] >= IN_RING && r->request[SCAVENGER] <= RING_REFUSED;

	memset(r->request, 0, sizeof r->request);
	if (in_ring && is_mistake(CHILD_REAPS))
		r->request[SCAVENGER] = RING_DROPPED;
	else if (r->state != RELEASING || is_mistake(CHILD_LEAVES))
		return;
	else if (is_mistake(CHILD_TRUSTS))
		make_available(r, true);
	else if (r->mapping == OURS || (is_mistake(CHILD_KEEPS_HOLE) && !r->lost))
		make_available(r, false);
	else
		r->lost = true;
}

/* heap_after_fork, pool_after_fork, pool_rebuild. The child has a copy of everything and no thread but the one that forked. */
static void forks(const struct state *s)
{
	struct state n = *s;

	n.forked = true;
	n.stopping = false;
	n.half_changed = s->locked && is_mistake(CHILD_USES_LOCKED);
	n.locked = 0;
	for (enum releaser who = 0; who < RELEASERS; who++)
		n.doing[who] = IDLE;
	for (int i = 0; i < regions(); i++)
		child_takes_over(&n.region[i]);
	explore_chance(&n, "fork(): what follows is in the child%s", s->locked ? ", and the heap's lock was held" : "");
}

/* ---- Everything -------------------------------------------------------------------------------------------------- */

static void scavenger_steps(const struct state *s)
{
	switch (s->doing[SCAVENGER]) {
	case IDLE:
		for (int i = 0; i < regions(); i++)
			reaps(s, i);
		if (s->stopping)
			scavenger_ends(s);
		else if (!s->forked)
			stop_is_asked_for(s);
		break;
	case CALLING:
		for (int i = 0; i < regions(); i++)
			submits(s, i);
		break;
	case ENDING:
		scavenger_is_gone(s);
		break;
	case GONE:
		scavenger_starts(s);
		break;
	}
}

static void releaser_steps(const struct state *s, enum releaser who)
{
	switch (s->doing[who]) {
	case IDLE:
		if (!s->locked)
			takes_more(s, who);
		break;
	case TAKING:
		takes_more(s, who);
		starts_calling(s, who);
		break;
	case CALLING:
		calls(s, who);
		stops_calling(s, who);
		break;
	case SETTLING:
		for (int i = 0; i < regions(); i++)
			if (!s->locked && s->region[i].request[who] >= DROPPED)
				settles(s, who, i);
		stops_settling(s, who);
		break;
	case LOCKED:
		drops_lock(s, who);
		break;
	}
}

static void steps(const void *p)
{
	const struct state *s = p;

	program_steps(s);
	for (enum releaser who = 0; who < RELEASERS; who++)
		releaser_steps(s, who);
	scavenger_steps(s);
	kernel_steps(s);
	if (!s->forked)
		forks(s);
}

static const char *wrong(const void *p)
{
	const struct state *s = p;

	return wrong_words[s->wrong];
}

/* Every region is available, but those whose place something else has taken. */
static bool settled(const void *p)
{
	const struct state *s = p;

	for (int i = 0; i < regions(); i++)
		if (s->region[i].mapping != FOREIGN && s->region[i].state != CLEAN && s->region[i].state != DIRTY)
			return false;
	return is_empty_handed(s, SCAVENGER) && is_empty_handed(s, CALLER);
}

const struct model model_regions = {
	.name = "regions",
	.variants = variants,
	.variant_count = sizeof variants / sizeof variants[0],
	.size = sizeof(struct state),
	.start = begin,
	.steps = steps,
	.wrong = wrong,
	.settled = settled,
	.unsettled = "a region never becomes available again",
	.mistakes = mistakes,
	.mistake_count = MISTAKES,
};

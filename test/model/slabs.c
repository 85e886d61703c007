/* SPDX-License-Identifier: MIT */
/*
 * One slab, its owner, two threads that free its blocks from outside, and the scavenger: in src/cache, remote.c
 * (push and attention, the look at slabs that wait), cache.c (make_full, the owner's events) and held.c
 * (held_disown, held_adopt, held_block, purge).
 *
 * This model is about what is done without a lock, so its steps are single reads and writes of what threads share, and
 * memory is x86's: what a thread writes waits in its store buffer, the oldest first, and others see it later; a locked
 * instruction and a fence wait until the buffer is empty. Threads that only push have an empty buffer when it matters.
 * A section under a lock is one step where no order inside it matters.
 */
#include "explore.h"

enum { BLOCKS = 3, NOTIFY_AT = 2, PUSHERS = 2, BUFFER = 4 };
enum thread { OWNER, SCAVENGER, WRITERS };

static const struct variant variants[] = {
	{"three blocks, one thread that frees from outside", false},
	{"two blocks, two threads that free from outside", true},
};
static const char *const pushers[PUSHERS] = {"thread X", "thread Y"};

/* What threads share and write without a locked instruction. */
enum variable { STATE, COUNT, MARK, CACHE, VARIABLES };

enum slab_state { FREE_SLICE, CURRENT, PARTIAL, FULL, HELD, PURGING };
enum block { UNCARVED, IN_LIST, REMOTE, PURGED, OWNERS, PUSHERS_OWN }; /* the last + pusher: who will free it */

enum owner_at {
	RUNNING,
	IN_FREE,   /* saw that it is the owner, the block is not in the list yet */
	HAS_EVENT, /* counted down to 0 */
	EVENT,     /* has the cache's lock */
	EVENT_COLLECTED,
	REFILL,      /* in cache_refill, the slab is current, has the lock */
	MAKING_FULL, /* has written the state */
	ENDING,      /* in disown, has both locks, has written the state */
	UNLOCKING,
	SHARES, /* in held_block, has the arena's lock */
	TAKING_OUT,
	TOOK_OUT, /* without a lock: the slab is in no list */
	HAS_BLOCK,
	SHARED, /* has the lock again, has written the state */
	LEAVING,
};

enum scavenger_at { IDLE, TOOK, COLLECTED, FILTERED, DROPPED, RELISTING };
enum pusher_at { WAITS, LOOKED_TOO_EARLY, PUSHED, SAW_STATE, SAW_COUNT, ATTENDS };

enum wrong {
	NOTHING,
	LIVE_DROPPED,
	LIVE_RETIRED,
	HELD_FORGOTTEN,
	FULL_FORGOTTEN,
	NOT_LISTED,
	MISCOUNTED,
	EVENT_OF_NONE
};

enum mistakes {
	NO_MISTAKE,
	NO_FENCE_HELD,
	NO_FENCE_FULL,
	LOOK_BEFORE_PUSH,
	EVENT_UNCHECKED,
	PURGED_WITHOUT_LOOK,
	ATTENDED_WHILE_PURGED,
	NOT_TAKEN_OUT,
	OWNED_NOT_LOOKED_AT,
	LOOKED_AT_ONCE,
	SHARED_NOT_TAKEN_OUT,
	MISTAKES,
};

static const char *const wrong_words[] = {
	[LIVE_DROPPED] = "live data is lost",
	[LIVE_RETIRED] = "a slab with live blocks is given to the arena",
	[HELD_FORGOTTEN] = "an empty slab of no thread is forgotten",
	[FULL_FORGOTTEN] = "a full slab with enough free blocks stays full",
	[NOT_LISTED] = "a slab of no thread with free blocks is in no list",
	[MISCOUNTED] = "live blocks are miscounted",
	[EVENT_OF_NONE] = "the owner handles the event of a slab that is gone",
};

static const struct mistake mistakes[MISTAKES] = {
	[NO_FENCE_HELD] = {"no fence between writing that a slab is held and reading its remote list",
			   "an empty slab of no thread is forgotten"},
	[NO_FENCE_FULL] = {"no fence between writing that a slab is full and reading its remote list",
			   "a full slab with enough free blocks stays full"},
	[LOOK_BEFORE_PUSH] = {"the pusher reads the state before it pushes", "an empty slab of no thread is forgotten"},
	[EVENT_UNCHECKED] = {"the owner takes for granted that a slab that counted down is still its",
			     "the owner handles the event of a slab that is gone"},
	[PURGED_WITHOUT_LOOK] = {"after a purge the remote list is not looked at",
				 "an empty slab of no thread is forgotten"},
	[ATTENDED_WHILE_PURGED] = {"a pusher ends a slab that is being purged", "live data is lost"},
	[NOT_TAKEN_OUT] = {"a slab stays in its arena's list while it is purged", "live data is lost"},
	[OWNED_NOT_LOOKED_AT] = {"nobody looks at slabs of threads whose remote blocks wait", NULL},
	[LOOKED_AT_ONCE] = {"slabs whose remote blocks wait are looked at once only", NULL},
	[SHARED_NOT_TAKEN_OUT] = {"a slab of no thread stays in its list while a thread carves it",
				  "live data is lost"},
};

struct buffer {
	uint8_t count;
	struct {
		uint8_t variable, value;
	} entries[BUFFER];
};

struct pusher {
	uint8_t at, pushed, state, count;
};

struct state {
	uint8_t memory[VARIABLES];
	struct buffer buffers[WRITERS];
	uint8_t block[BLOCKS];
	bool going[BLOCKS]; /* pages that the kernel is asked to drop */
	uint8_t remote;     /* blocks on the remote list */
	bool listed;        /* in its arena's list */
	bool cache_locked, arena_locked;
	bool waiting; /* remote_waiting is not 0 */
	bool slow;    /* the owner's frees take the slow path: the anchor */
	uint8_t owner, scavenger;
	struct pusher pusher[PUSHERS];
	uint8_t wrong;
};

static bool is_mistake(enum mistakes m)
{
	return explore_mistake == m;
}

static int blocks(void)
{
	return explore_variant ? 2 : BLOCKS;
}

static int threads_outside(void)
{
	return explore_variant ? PUSHERS : 1;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static uint8_t get(const struct state *s, enum thread t, enum variable v)
{
	const struct buffer *b = &s->buffers[t];

	for (int i = b->count; i-- > 0;)
		if (b->entries[i].variable == v)
			return b->entries[i].value;
	return s->memory[v];
}

static void put(struct state *s, enum thread t, enum variable v, int value)
{
	struct buffer *b = &s->buffers[t];

	b->entries[b->count].variable = (uint8_t)v;
	b->entries[b->count++].value = (uint8_t)value;
}

static bool has_room(const struct state *s, enum thread t)
{
	return s->buffers[t].count <= BUFFER - 3;
}

static bool is_drained(const struct state *s, enum thread t)
{
	return !s->buffers[t].count;
}

static void drains(const struct state *s, enum thread t)
{
	static const char *const names[] = {"state", "count", "mark", "owner"};
	struct state n = *s;
	struct buffer *b = &n.buffers[t];
	enum variable v = b->entries[0].variable;

	if (is_drained(s, t))
		return;
	n.memory[v] = b->entries[0].value;
	b->count--;
	memmove(b->entries, b->entries + 1, b->count * sizeof b->entries[0]);
	memset(b->entries + b->count, 0, sizeof b->entries[0]);
	explore_step(&n, "what %s wrote to the slab's %s reaches memory: %d",
		     t == OWNER ? "the owner" : "the scavenger", names[v], (int8_t)n.memory[v]);
}

/* ---- The slab ---------------------------------------------------------------------------------------------------- */

static void begin(void *p)
{
	(void)p; /* a free slice */
}

static int find(const struct state *s, uint8_t what)
{
	for (int i = 0; i < blocks(); i++)
		if (s->block[i] == what)
			return i;
	return -1;
}

static int count_live(const struct state *s)
{
	int n = 0;

	for (int i = 0; i < blocks(); i++)
		n += s->block[i] >= OWNERS;
	return n;
}

static void turn_all(struct state *s, uint8_t from, uint8_t to)
{
	for (int i = 0; i < blocks(); i++)
		if (s->block[i] == from)
			s->block[i] = to;
}

static int live_seen(const struct state *s, enum thread t)
{
	return (int8_t)get(s, t, COUNT) + get(s, t, MARK);
}

static void set_mark(struct state *s, enum thread t, int live, int mark)
{
	put(s, t, MARK, mark);
	put(s, t, COUNT, live - mark);
}

/* slab_collect: the exchange is a locked instruction. */
static void collect(struct state *s, enum thread t)
{
	int live = live_seen(s, t) - s->remote;

	turn_all(s, REMOTE, IN_LIST);
	s->remote = 0;
	set_mark(s, t, live, 0);
}

static bool has_free(const struct state *s)
{
	return find(s, IN_LIST) >= 0 || find(s, PURGED) >= 0 || s->remote;
}

/* retire: from here on the slice may serve anything. */
static void retire(struct state *s)
{
	if (count_live(s))
		s->wrong = LIVE_RETIRED;
	memset(s->block, 0, sizeof s->block);
	s->remote = 0;
	s->listed = s->slow = false;
	s->memory[STATE] = FREE_SLICE;
	s->memory[CACHE] = 0;
}

/* ---- The owner --------------------------------------------------------------------------------------------------- */

/* cache_refill with nothing at hand: a new slab. */
static void owner_begins(const struct state *s)
{
	struct state n = *s;

	n.memory[STATE] = CURRENT;
	n.memory[CACHE] = 1;
	n.memory[COUNT] = n.memory[MARK] = 0;
	memset(n.block, IN_LIST, (size_t)blocks());
	explore_chance(&n, "the owner makes the slice a slab, its current one");
}

static void owner_takes(const struct state *s)
{
	struct state n = *s;
	int i = find(s, IN_LIST);

	if (i < 0 || !has_room(s, OWNER))
		return;
	n.block[i] = OWNERS;
	put(&n, OWNER, COUNT, get(s, OWNER, COUNT) + 1);
	explore_chance(&n, "the owner allocates block %d", i);
}

/* Whoever gets a pointer sees what was written before it. */
static void owner_gives(const struct state *s)
{
	int i = find(s, OWNERS);

	if (i < 0 || !is_drained(s, OWNER))
		return;
	for (int p = 0; p < threads_outside(); p++) {
		struct state n = *s;

		n.block[i] = (uint8_t)(PUSHERS_OWN + p);
		explore_chance(&n, "the owner gives block %d to %s", i, pushers[p]);
	}
}

/* pmd_free: what it does without a lock, in two steps; or the slow path, free_owned, under the lock. */
static void owner_frees(const struct state *s)
{
	struct state n = *s;
	int i = find(s, OWNERS);

	if (i < 0)
		return;
	if (!s->slow) {
		n.owner = IN_FREE;
		explore_step(&n, "the owner frees block %d: it is the slab's owner", i);
		return;
	}
	if (s->cache_locked || !is_drained(s, OWNER))
		return;
	n.cache_locked = true;
	n.slow = false;
	n.block[i] = IN_LIST;
	put(&n, OWNER, COUNT, get(s, OWNER, COUNT) - 1);
	n.owner = EVENT; /* as there are remote blocks, or were */
	explore_step(&n, "the owner frees block %d, on the slow path, under its cache's lock", i);
}

static void owner_counts(const struct state *s)
{
	struct state n = *s;
	int i = find(s, OWNERS);

	if (!has_room(s, OWNER))
		return;
	n.block[i] = IN_LIST;
	put(&n, OWNER, COUNT, get(s, OWNER, COUNT) - 1);
	n.owner = get(&n, OWNER, COUNT) ? RUNNING : HAS_EVENT;
	explore_step(&n, "the owner puts block %d in its list, and counts%s", i,
		     n.owner == HAS_EVENT ? " down to 0: an event" : "");
}

/* cache_event, handle_event. */
static void owner_has_event(const struct state *s)
{
	struct state n = *s;

	if (s->cache_locked || !is_drained(s, OWNER))
		return;
	if (!s->memory[CACHE]) {
		n.owner = RUNNING;
		n.wrong = is_mistake(EVENT_UNCHECKED) ? EVENT_OF_NONE : NOTHING;
		explore_step(&n, "the owner, under the lock, sees that the slab is not its any more");
		return;
	}
	n.cache_locked = true;
	n.owner = EVENT;
	explore_step(&n, "the owner takes its cache's lock for the event");
}

static void owner_collects(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER))
		return;
	n.owner = EVENT_COLLECTED;
	if (s->remote)
		collect(&n, OWNER);
	else
		set_mark(&n, OWNER, live_seen(s, OWNER), 0);
	explore_step(&n, "the owner collects %d blocks", s->remote);
}

static void owner_ends_event(const struct state *s)
{
	struct state n = *s;
	bool empty = !live_seen(s, OWNER) && s->memory[STATE] != CURRENT;

	if (!is_drained(s, OWNER))
		return;
	n.owner = UNLOCKING;
	if (empty)
		retire(&n);
	else if (s->memory[STATE] == FULL)
		put(&n, OWNER, STATE, PARTIAL);
	n.slow = false;
	explore_step(&n, "the owner %s", empty ? "gives the empty slab to its arena" : "has handled the event");
}

/* cache_refill: the slab that it looks at becomes current. */
static void owner_refills(const struct state *s)
{
	struct state n = *s;

	if (s->cache_locked || !is_drained(s, OWNER))
		return;
	if (s->memory[STATE] == HELD) {
		if (!s->listed || s->arena_locked)
			return;
		n.listed = false;
		n.memory[CACHE] = 1;
	}
	n.cache_locked = true;
	n.slow = false;
	n.owner = REFILL;
	put(&n, OWNER, STATE, CURRENT);
	set_mark(&n, OWNER, live_seen(s, OWNER), 0);
	explore_chance(&n, "the owner %s",
		       s->memory[STATE] == HELD ? "adopts the slab, to allocate from it"
						: "looks for free blocks in the slab");
}

/* replenish, and what becomes of a slab that has nothing. */
static void owner_replenishes(const struct state *s)
{
	struct state n = *s;
	int live = live_seen(s, OWNER);

	if (!is_drained(s, OWNER))
		return;
	n.owner = UNLOCKING;
	if (find(s, IN_LIST) >= 0) {
		explore_step(&n, "the owner finds free blocks");
	} else if (s->remote) {
		collect(&n, OWNER);
		explore_step(&n, "the owner collects %d blocks", s->remote);
	} else if (find(s, PURGED) >= 0) {
		turn_all(&n, PURGED, IN_LIST);
		explore_step(&n, "the owner carves the purged pages again");
	} else {
		set_mark(&n, OWNER, live, live > NOTIFY_AT ? live - NOTIFY_AT : 0);
		put(&n, OWNER, STATE, FULL);
		n.owner = MAKING_FULL;
		explore_step(&n, "the owner finds no free block, and writes that the slab is full");
	}
}

static void owner_makes_full(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER) && !is_mistake(NO_FENCE_FULL))
		return;
	n.owner = UNLOCKING;
	if (s->remote >= NOTIFY_AT)
		put(&n, OWNER, STATE, PARTIAL);
	n.waiting = s->waiting || s->remote;
	explore_step(&n, "the owner, after the fence, sees %d remote blocks", s->remote);
}

/* thread_exit: disown, up to the state. */
static void owner_ends(const struct state *s)
{
	struct state n = *s;

	if (s->cache_locked || s->arena_locked || !is_drained(s, OWNER))
		return;
	n.cache_locked = n.arena_locked = true;
	n.slow = true;
	turn_all(&n, OWNERS, PUSHERS_OWN);
	collect(&n, OWNER);
	for (enum variable v = COUNT; v <= MARK; v++)
		n.memory[v] = get(&n, OWNER, v); /* taking the arena's lock is a locked instruction */
	memset(&n.buffers[OWNER], 0, sizeof n.buffers[OWNER]);
	put(&n, OWNER, CACHE, 0);
	put(&n, OWNER, STATE, HELD);
	n.owner = ENDING;
	explore_chance(&n, "the owner's thread ends: it writes that the slab is held; X frees what it leaves");
}

/* relist_and_drop, from the fence on. */
static void relist(struct state *n, enum thread t)
{
	bool empty = live_seen(n, t) == n->remote;

	if (empty && !(t == SCAVENGER && is_mistake(PURGED_WITHOUT_LOOK))) {
		memset(&n->buffers[t], 0, sizeof n->buffers[t]);
		retire(n);
	} else {
		n->listed = has_free(n);
	}
}

static void owner_relists(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER) && !is_mistake(NO_FENCE_HELD))
		return;
	relist(&n, OWNER);
	n.owner = UNLOCKING;
	explore_step(&n, "the owner, after the fence, sees %d remote blocks", s->remote);
}

static void owner_unlocks(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER))
		return;
	n.cache_locked = false;
	if (get(s, OWNER, CACHE) == 0)
		n.arena_locked = false;
	n.owner = RUNNING;
	explore_step(&n, "the owner drops its locks");
}

/* held_block. The owner has the block in its hand until it drops the lock; as it is not the slab's owner, X frees it. */
static void owner_shares(const struct state *s)
{
	struct state n = *s;

	if (!s->listed || s->arena_locked || !is_drained(s, OWNER))
		return;
	n.arena_locked = true;
	n.owner = SHARES;
	explore_chance(&n, "the owner takes the arena's lock, for a block of the held slab");
	if (!is_mistake(SHARED_NOT_TAKEN_OUT)) {
		n.listed = false;
		put(&n, OWNER, STATE, PURGING);
	}
	n.owner = TAKING_OUT;
	explore_chance(&n, "the owner takes the held slab out, to carve it");
}

/* If that can be had at once. */
static void owner_takes_shared(const struct state *s)
{
	struct state n = *s;
	int i = find(s, IN_LIST);

	if (!is_drained(s, OWNER))
		return;
	if (i >= 0) {
		n.block[i] = OWNERS;
		put(&n, OWNER, COUNT, get(s, OWNER, COUNT) + 1);
		n.owner = LEAVING;
		if (find(&n, IN_LIST) < 0) {
			n.listed = false;
			put(&n, OWNER, STATE, PURGING);
			n.owner = TAKING_OUT;
		}
		explore_step(&n, "the owner takes block %d of the held slab", i);
	} else if (s->remote) {
		collect(&n, OWNER);
		explore_step(&n, "the owner collects %d blocks of the held slab", s->remote);
	} else {
		n.owner = LEAVING;
		explore_step(&n, "the owner leaves the slab to who carves it");
	}
}

static void owner_took_out(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER))
		return;
	n.arena_locked = false;
	n.owner = find(s, OWNERS) >= 0 ? HAS_BLOCK : TOOK_OUT;
	explore_step(&n, "the owner drops the arena's lock");
}

static void owner_carves_shared(const struct state *s)
{
	struct state n = *s;
	int i = find(s, IN_LIST);

	if (!has_room(s, OWNER))
		return;
	if (i >= 0) {
		n.block[i] = OWNERS;
		put(&n, OWNER, COUNT, get(s, OWNER, COUNT) + 1);
		n.owner = HAS_BLOCK;
		explore_step(&n, "the owner takes block %d of the slab that it took out", i);
	} else if (s->remote) {
		if (!is_drained(s, OWNER))
			return;
		collect(&n, OWNER);
		explore_step(&n, "the owner collects %d blocks of the slab that it took out", s->remote);
	} else {
		turn_all(&n, PURGED, IN_LIST);
		n.owner = find(&n, IN_LIST) >= 0 ? TOOK_OUT : HAS_BLOCK;
		explore_step(&n, "the owner carves the purged pages again");
	}
}

static void owner_puts_back(const struct state *s)
{
	struct state n = *s;

	if (s->arena_locked || !is_drained(s, OWNER))
		return;
	n.arena_locked = true;
	n.owner = SHARED;
	put(&n, OWNER, STATE, HELD);
	explore_step(&n, "the owner, under the arena's lock, writes that the slab is held");
}

static void owner_relists_shared(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER) && !is_mistake(NO_FENCE_HELD))
		return;
	relist(&n, OWNER);
	n.owner = LEAVING;
	explore_step(&n, "the owner, after the fence, sees %d remote blocks of the slab that it shares", s->remote);
}

static void owner_leaves(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, OWNER))
		return;
	n.arena_locked = false;
	n.owner = RUNNING;
	turn_all(&n, OWNERS, PUSHERS_OWN);
	explore_step(&n, "the owner drops the arena's lock, and gives X what it has of the slab");
}

static void owner_runs(const struct state *s)
{
	enum slab_state state = get(s, OWNER, STATE);
	bool owns = get(s, OWNER, CACHE);

	if (state == FREE_SLICE && is_drained(s, OWNER) && !s->cache_locked)
		owner_begins(s);
	if (owns) {
		owner_frees(s);
		owner_gives(s);
		owner_ends(s);
	}
	if (state == CURRENT && find(s, IN_LIST) >= 0)
		owner_takes(s);
	else if (state == CURRENT || state == PARTIAL || state == HELD)
		owner_refills(s);
	if (state == HELD)
		owner_shares(s);
}

static void owner_steps(const struct state *s)
{
	static void (*const step[])(const struct state *) = {
		[RUNNING] = owner_runs,
		[IN_FREE] = owner_counts,
		[HAS_EVENT] = owner_has_event,
		[EVENT] = owner_collects,
		[EVENT_COLLECTED] = owner_ends_event,
		[REFILL] = owner_replenishes,
		[MAKING_FULL] = owner_makes_full,
		[ENDING] = owner_relists,
		[UNLOCKING] = owner_unlocks,
		[SHARES] = owner_takes_shared,
		[TAKING_OUT] = owner_took_out,
		[TOOK_OUT] = owner_carves_shared,
		[HAS_BLOCK] = owner_puts_back,
		[SHARED] = owner_relists_shared,
		[LEAVING] = owner_leaves,
	};

	step[s->owner](s);
}

/* ---- The scavenger ----------------------------------------------------------------------------------------------- */

/* take_for_purge. */
static void scavenger_takes(const struct state *s)
{
	struct state n = *s;

	if (s->arena_locked || s->memory[STATE] != HELD || !s->listed)
		return;
	n.scavenger = TOOK;
	if (!is_mistake(NOT_TAKEN_OUT)) {
		n.listed = false;
		n.memory[STATE] = PURGING;
	}
	explore_chance(&n, "the scavenger takes the held slab out, to purge it");
}

static void scavenger_collects(const struct state *s)
{
	struct state n = *s;

	n.scavenger = COLLECTED;
	collect(&n, SCAVENGER);
	explore_step(&n, "the scavenger collects %d blocks", s->remote);
}

/* slab_purge: pages without a live block; their blocks leave the list. */
static void scavenger_filters(const struct state *s)
{
	struct state n = *s;

	n.scavenger = FILTERED;
	for (int i = 0; i < blocks(); i++)
		n.going[i] = s->block[i] == IN_LIST;
	turn_all(&n, IN_LIST, PURGED);
	explore_step(&n, "the scavenger takes the blocks of idle pages off the list");
}

static void kernel_drops(const struct state *s)
{
	struct state n = *s;

	n.scavenger = DROPPED;
	for (int i = 0; i < blocks(); i++)
		if (s->going[i] && s->block[i] >= OWNERS)
			n.wrong = LIVE_DROPPED;
	memset(n.going, 0, sizeof n.going);
	explore_step(&n, "the kernel drops the pages");
}

static void scavenger_puts_back(const struct state *s)
{
	struct state n = *s;

	if (s->arena_locked || !is_drained(s, SCAVENGER))
		return;
	n.arena_locked = true;
	n.scavenger = RELISTING;
	put(&n, SCAVENGER, STATE, HELD);
	explore_step(&n, "the scavenger, under the arena's lock, writes that the slab is held");
}

static void scavenger_relists(const struct state *s)
{
	struct state n = *s;

	if (!is_drained(s, SCAVENGER) && !is_mistake(NO_FENCE_HELD))
		return;
	relist(&n, SCAVENGER);
	n.arena_locked = false;
	n.scavenger = IDLE;
	for (int i = 0; i < n.buffers[SCAVENGER].count; i++) /* dropping the lock is a locked instruction */
		n.memory[n.buffers[SCAVENGER].entries[i].variable] = n.buffers[SCAVENGER].entries[i].value;
	memset(&n.buffers[SCAVENGER], 0, sizeof n.buffers[SCAVENGER]);
	explore_step(&n, "the scavenger, after the fence, sees %d remote blocks, and drops the lock", s->remote);
}

/*
 * remote_attend_waiting: an owned slab with remote blocks is ended if it is empty, and else its owner's next free shall
 * look. As one may be under way past the point where it would see this, the slab is looked at once more, a tick later.
 */
static void scavenger_looks(const struct state *s)
{
	struct state n = *s;
	bool owned = s->memory[STATE] == PARTIAL || s->memory[STATE] == FULL;
	const char *what = "nothing to do";

	if (!s->waiting || is_mistake(OWNED_NOT_LOOKED_AT) || s->cache_locked)
		return;
	if (s->slow && (s->owner == IN_FREE || !is_drained(s, OWNER)))
		return; /* a tick later: what was under way is done */
	n.waiting = false;
	if (owned && s->memory[CACHE] && s->remote) {
		if ((int8_t)s->memory[COUNT] + s->memory[MARK] == s->remote) {
			retire(&n);
			what = "that it is empty, and gives it to the arena";
		} else if (!s->slow) {
			n.slow = true;
			n.waiting = !is_mistake(LOOKED_AT_ONCE);
			what = "live blocks: the owner's next free shall look";
		} else {
			what = "live blocks still";
		}
	}
	explore_step(&n, "the scavenger, under the cache's lock, looks at the slab and sees %s", what);
}

static void scavenger_steps(const struct state *s)
{
	switch (s->scavenger) {
	case IDLE:
		scavenger_takes(s);
		scavenger_looks(s);
		break;
	case TOOK:
		scavenger_collects(s);
		break;
	case COLLECTED:
		scavenger_filters(s);
		break;
	case FILTERED:
		kernel_drops(s);
		break;
	case DROPPED:
		scavenger_puts_back(s);
		break;
	case RELISTING:
		scavenger_relists(s);
		break;
	}
}

/* ---- Frees by other threads -------------------------------------------------------------------------------------- */

/* free_remote: the push is a locked instruction. */
static void pushes(const struct state *s, int p)
{
	struct state n = *s;
	int i = find(s, (uint8_t)(PUSHERS_OWN + p));

	if (i < 0)
		return;
	if (is_mistake(LOOK_BEFORE_PUSH) && s->pusher[p].at == WAITS) {
		n.pusher[p] = (struct pusher){.at = LOOKED_TOO_EARLY, .state = s->memory[STATE]};
		explore_step(&n, "%s reads the state: %d", pushers[p], n.pusher[p].state);
		return;
	}
	n.block[i] = REMOTE;
	n.pusher[p].pushed = ++n.remote;
	n.pusher[p].at = is_mistake(LOOK_BEFORE_PUSH) ? SAW_STATE : PUSHED;
	explore_step(&n, "%s pushes block %d on the remote list, as number %d", pushers[p], i, n.remote);
}

static void done(struct state *n, int p)
{
	n->pusher[p] = (struct pusher){.at = WAITS};
}

/* needs_attention: three reads, while anything may change between them. */
static void reads_state(const struct state *s, int p)
{
	static const char *const names[] = {"free slice", "current", "partial", "full", "held", "being purged"};
	struct state n = *s;

	n.pusher[p].at = SAW_STATE;
	n.pusher[p].state = s->memory[STATE];
	if (s->memory[STATE] == CURRENT)
		done(&n, p);
	explore_step(&n, "%s reads the state: %s", pushers[p], names[s->memory[STATE]]);
}

static void reads_count(const struct state *s, int p)
{
	struct state n = *s;

	n.pusher[p].at = SAW_COUNT;
	n.pusher[p].count = s->memory[COUNT];
	explore_step(&n, "%s reads the count: %d", pushers[p], (int8_t)s->memory[COUNT]);
}

static void decides(const struct state *s, int p)
{
	struct state n = *s;
	const struct pusher *own = &s->pusher[p];
	int live = (int8_t)own->count + s->memory[MARK];
	bool attends = own->state != CURRENT &&
		       (own->pushed == NOTIFY_AT || own->pushed >= live || (own->state == HELD && own->pushed == 1));

	if (!attends && own->pushed == 1 && (own->state == FULL || own->state == PARTIAL))
		n.waiting = true;
	n.pusher[p] = (struct pusher){.at = attends ? ATTENDS : WAITS};
	explore_step(&n, "%s reads the mark: %d, which makes %d live blocks, and %s", pushers[p], s->memory[MARK], live,
		     attends ? "attends to the slab" : "leaves it at that");
}

static void attends_owned(const struct state *s, int p)
{
	struct state n = *s;
	enum slab_state state = s->memory[STATE];
	bool owned = state == FULL || state == PARTIAL;

	if (s->cache_locked)
		return;
	done(&n, p);
	if (owned && (int8_t)s->memory[COUNT] + s->memory[MARK] == s->remote)
		retire(&n);
	else if (state == FULL && s->remote >= NOTIFY_AT) {
		n.memory[STATE] = PARTIAL;
		n.slow = false;
		n.waiting = true;
	}
	explore_step(&n, "%s, under the cache's lock, %s", pushers[p],
		     n.memory[STATE] == FREE_SLICE ? "gives the empty slab to the arena"
		     : n.memory[STATE] != state    ? "makes the full slab partial"
						   : "finds nothing to do");
}

static void attends_held(const struct state *s, int p)
{
	struct state n = *s;
	enum slab_state state = s->memory[STATE];

	if (s->arena_locked)
		return;
	if (state != HELD && !(is_mistake(ATTENDED_WHILE_PURGED) && state == PURGING)) {
		if (s->memory[CACHE])
			return; /* adopted meanwhile: attends_owned */
		done(&n, p);
		explore_step(&n, "%s, under the arena's lock, finds nothing to do", pushers[p]);
		return;
	}
	done(&n, p);
	if ((int8_t)s->memory[COUNT] + s->memory[MARK] == s->remote)
		retire(&n);
	else if (state == HELD)
		n.listed = has_free(&n);
	explore_step(&n, "%s, under the arena's lock, %s", pushers[p],
		     n.memory[STATE] == FREE_SLICE ? "gives the empty slab to the arena" : "sees that it is listed");
}

static void pusher_steps(const struct state *s, int p)
{
	switch (s->pusher[p].at) {
	case WAITS:
	case LOOKED_TOO_EARLY:
		pushes(s, p);
		break;
	case PUSHED:
		reads_state(s, p);
		break;
	case SAW_STATE:
		reads_count(s, p);
		break;
	case SAW_COUNT:
		decides(s, p);
		break;
	case ATTENDS:
		if (s->memory[CACHE])
			attends_owned(s, p);
		else
			attends_held(s, p);
		break;
	}
}

/* ---- Everything -------------------------------------------------------------------------------------------------- */

static void steps(const void *p)
{
	const struct state *s = p;

	owner_steps(s);
	scavenger_steps(s);
	for (int i = 0; i < threads_outside(); i++)
		pusher_steps(s, i);
	for (enum thread t = 0; t < WRITERS; t++)
		drains(s, t);
}

/* Nobody is in the middle of anything. */
static bool is_quiet(const struct state *s)
{
	for (int i = 0; i < threads_outside(); i++)
		if (s->pusher[i].at != WAITS)
			return false;
	return s->owner == RUNNING && s->scavenger == IDLE && is_drained(s, OWNER) && is_drained(s, SCAVENGER);
}

static enum wrong wrong_when_quiet(const struct state *s)
{
	int live = count_live(s);
	enum slab_state state = s->memory[STATE];

	if (state == FREE_SLICE)
		return NOTHING;
	if ((int8_t)s->memory[COUNT] + s->memory[MARK] != live + s->remote)
		return MISCOUNTED;
	if (state == HELD && !live)
		return HELD_FORGOTTEN;
	if (state == HELD && !s->listed && has_free(s))
		return NOT_LISTED;
	if (state == FULL && s->remote >= NOTIFY_AT)
		return FULL_FORGOTTEN;
	return NOTHING;
}

static const char *wrong(const void *p)
{
	const struct state *s = p;

	return wrong_words[s->wrong ? s->wrong : is_quiet(s) ? wrong_when_quiet(s) : NOTHING];
}

/* The slab ends, without any help of its owner but frees; only a current one may wait for that. */
static bool settled(const void *p)
{
	const struct state *s = p;

	return s->memory[STATE] == FREE_SLICE || s->memory[STATE] == CURRENT;
}

const struct model model_slabs = {
	.name = "slabs",
	.variants = variants,
	.variant_count = 2,
	.size = sizeof(struct state),
	.start = begin,
	.steps = steps,
	.wrong = wrong,
	.settled = settled,
	.unsettled = "an empty slab of a thread is forgotten",
	.mistakes = mistakes,
	.mistake_count = MISTAKES,
};

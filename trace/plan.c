/* SPDX-License-Identifier: MIT */
#include "trace/plan.h"

#include <unistd.h>

enum { NONE = 0, FIRST_PLACES = 1 << 12 };

struct block {
	uint64_t size;
	uint32_t turn;
	uint32_t next_free; /* + 1 */
};

struct place {
	uint64_t address; /* 0: free */
	uint32_t slot;
};

/* While it is made. */
struct making {
	struct plan *plan;
	struct reader reader;
	enum threads threads;
	bool make;
	struct vector blocks; /* one for each slot */
	struct place *places; /* live blocks by address: open addressing */
	size_t room, used;
	uint32_t *pending; /* for each thread: the slot + 1 whose realloc has begun */
	uint32_t last_thread;
	bool last_done;
	uint32_t done; /* threads that have ended */
	bool *started;
	uint64_t live, live_blocks;
};

/* ---- Live blocks by address -------------------------------------------------------------------------------------- */

static size_t home(const struct making *m, uint64_t address)
{
	return (size_t)((address >> 4 ^ address >> 36) * 0x9e3779b97f4a7c15 >> 16) & (m->room - 1);
}

/* Where ADDRESS is, or would be. */
static size_t find(const struct making *m, uint64_t address)
{
	size_t at = home(m, address);

	while (m->places[at].address && m->places[at].address != address)
		at = (at + 1) & (m->room - 1);
	return at;
}

static void grow(struct making *m)
{
	struct place *before = m->places;
	size_t places = m->room;

	m->room *= 2;
	m->places = memory_new(m->room * sizeof *m->places);
	for (size_t i = 0; i < places; i++)
		if (before[i].address)
			m->places[find(m, before[i].address)] = before[i];
	memory_drop(before, places * sizeof *before);
}

static void insert(struct making *m, uint64_t address, uint32_t slot)
{
	if (2 * m->used >= m->room)
		grow(m);
	m->places[find(m, address)] = (struct place){address, slot};
	m->used++;
}

/* Takes AT out; those that follow move up, so that each is found from its home on. */
static void take_out(struct making *m, size_t at)
{
	for (size_t i = at;;) {
		i = (i + 1) & (m->room - 1);
		if (!m->places[i].address)
			break;
		if (((i - home(m, m->places[i].address)) & (m->room - 1)) >= ((i - at) & (m->room - 1))) {
			m->places[at] = m->places[i];
			at = i;
		}
	}
	m->places[at].address = 0;
	m->used--;
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

static struct lane *lane_of(struct making *m, uint32_t thread)
{
	return (struct lane *)m->plan->lanes.items + (m->threads == THREADS_SINGLE ? 0 : thread);
}

static struct block *block_of(struct making *m, uint32_t slot)
{
	return (struct block *)m->blocks.items + slot;
}

static void step(struct making *m, uint32_t thread, enum operation operation, uint32_t slot, uint64_t size,
		 unsigned shift)
{
	struct step *s;

	m->plan->facts.steps++;
	if (!m->make)
		return;
	s = vector_add(&lane_of(m, thread)->steps, sizeof *s);
	*s = (struct step){size, slot, block_of(m, slot)->turn++, (uint8_t)operation, (uint8_t)shift};
}

static uint32_t slot_new(struct making *m, uint32_t thread)
{
	struct lane *lane = lane_of(m, thread);
	uint32_t slot = lane->free_slot;

	if (slot) {
		lane->free_slot = block_of(m, slot - 1)->next_free;
		return slot - 1;
	}
	if (m->blocks.used == UINT32_MAX - 1)
		fail(m->reader.path, "more than 4 billion blocks at once");
	vector_add(&m->blocks, sizeof(struct block));
	return (uint32_t)m->blocks.used - 1;
}

static void becomes_live(struct making *m, uint32_t slot, uint64_t address, uint64_t size)
{
	struct facts *f = &m->plan->facts;

	block_of(m, slot)->size = size;
	insert(m, address, slot);
	m->live += size;
	f->live_peak = m->live > f->live_peak ? m->live : f->live_peak;
	f->blocks_peak = ++m->live_blocks > f->blocks_peak ? m->live_blocks : f->blocks_peak;
}

static void dies(struct making *m, uint32_t slot)
{
	m->live -= block_of(m, slot)->size;
	m->live_blocks--;
}

static void free_slot(struct making *m, uint32_t thread, uint32_t slot)
{
	struct lane *lane = lane_of(m, thread);

	step(m, thread, DO_FREE, slot, 0, 0);
	block_of(m, slot)->next_free = lane->free_slot;
	lane->free_slot = slot + 1;
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

static void ends(struct making *m, const struct event *e)
{
	bool resizes = trace_calls[e->call].has & HAS_RESULT;
	size_t at;

	if (!e->block) {
		m->plan->facts.null_frees += !resizes;
		return;
	}
	at = find(m, e->block);
	if (!m->places[at].address) {
		m->plan->facts.unknown++;
		return;
	}
	if (resizes) {
		m->pending[e->thread] = m->places[at].slot + 1;
	} else {
		dies(m, m->places[at].slot);
		free_slot(m, e->thread, m->places[at].slot);
	}
	take_out(m, at);
}

/* An older block at E's address, of which the end was not seen. */
static void end_older(struct making *m, const struct event *e)
{
	size_t at = find(m, e->result);

	if (!m->places[at].address)
		return;
	m->plan->facts.twice++;
	dies(m, m->places[at].slot);
	free_slot(m, e->thread, m->places[at].slot);
	take_out(m, at);
}

/* Nothing was given: what should be resized is as before, or was freed if that was meant. */
static void begins_nothing(struct making *m, const struct event *e, uint32_t pending)
{
	if (pending && !e->bytes) {
		dies(m, pending - 1);
		free_slot(m, e->thread, pending - 1);
		return;
	}
	m->plan->facts.failed++;
	if (!pending)
		return;
	/* Where another block came to its address meanwhile, it was not there any more. */
	if (m->places[find(m, e->block)].address) {
		m->plan->facts.twice++;
		dies(m, pending - 1);
		free_slot(m, e->thread, pending - 1);
	} else {
		insert(m, e->block, pending - 1);
	}
}

static unsigned shift_of(struct making *m, const struct event *e)
{
	uint64_t alignment = e->alignment;

	if (e->call == CALL_VALLOC || e->call == CALL_PVALLOC)
		alignment = (uint64_t)sysconf(_SC_PAGESIZE);
	if (!alignment || alignment & (alignment - 1)) {
		m->plan->facts.odd_alignments++;
		return 4;
	}
	return alignment < sizeof(void *) ? 3 : (unsigned)__builtin_ctzll(alignment);
}

static void begins(struct making *m, const struct event *e)
{
	uint32_t pending = m->pending[e->thread], slot;

	m->pending[e->thread] = 0;
	if (!e->result) {
		begins_nothing(m, e, pending);
		return;
	}
	end_older(m, e);
	if (pending)
		dies(m, pending - 1);
	slot = pending ? pending - 1 : slot_new(m, e->thread);
	m->plan->facts.allocated_bytes += e->bytes;
	if (trace_calls[e->call].has & HAS_BLOCK)
		step(m, e->thread, DO_REALLOC, slot, e->bytes, 0);
	else if (e->call == CALL_MALLOC)
		step(m, e->thread, DO_MALLOC, slot, e->bytes, 0);
	else if (e->call == CALL_CALLOC)
		step(m, e->thread, DO_CALLOC, slot, e->bytes, 0);
	else
		step(m, e->thread, DO_ALIGNED, slot, e->bytes, shift_of(m, e));
	becomes_live(m, slot, e->result, e->bytes);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

/* Whoever had the event before starts a thread that has its first. */
static void start_thread(struct making *m, uint32_t thread, bool is_first)
{
	struct step *s;

	if (m->started[thread])
		return;
	m->started[thread] = true;
	if (is_first) {
		m->plan->first_lane = m->threads == THREADS_SINGLE ? 0 : thread;
	} else if (m->make && m->threads == THREADS_RECORDED) {
		s = vector_add(&lane_of(m, m->last_thread)->steps, sizeof *s);
		*s = (struct step){0, thread, m->done - m->last_done, DO_START, 0};
	}
}

static void follow(struct making *m, plan_watcher *watch)
{
	struct facts *f = &m->plan->facts;
	double live_sum = 0;
	bool is_first = true;
	enum half half;
	struct event e;
	bool done;

	while ((half = reader_next(&m->reader, &e, &done))) {
		start_thread(m, e.thread, is_first);
		is_first = false;
		if (watch)
			watch(half, &e);
		if (half == HALF_ENDS)
			ends(m, &e);
		else
			begins(m, &e);
		if (half == HALF_BEGINS || !(trace_calls[e.call].has & HAS_RESULT)) {
			f->calls[e.call]++;
			live_sum += (double)m->live;
		}
		m->done += done;
		m->last_thread = e.thread;
		m->last_done = done;
	}
	f->live_average = f->events ? live_sum / (double)f->events : 0;
}

static void note_facts(struct facts *f, const struct reader *r)
{
	memcpy(f->name, r->name, sizeof f->name);
	f->pid = r->pid;
	f->parent = r->parent;
	f->forked = !!(r->flags & FLAG_FORKED);
	f->whole = r->whole;
	f->cut = r->cut;
	f->events = r->events;
	f->threads = r->threads.used;
	f->recorded_ns = r->recorded_ns;
}

void plan_make(struct plan *plan, const char *path, enum threads threads, bool make, plan_watcher *watch)
{
	struct making m = {.plan = plan, .threads = threads, .make = make, .room = FIRST_PLACES};
	size_t count;

	*plan = (struct plan){0};
	reader_open(&m.reader, path);
	note_facts(&plan->facts, &m.reader);
	count = m.reader.threads.used;
	m.places = memory_new(m.room * sizeof *m.places);
	m.pending = memory_new(count * sizeof *m.pending);
	m.started = memory_new(count * sizeof *m.started);
	for (size_t i = 0; i < (threads == THREADS_SINGLE ? 1 : count); i++)
		vector_add(&plan->lanes, sizeof(struct lane));
	follow(&m, watch);
	plan->facts.live_end = m.live;
	plan->facts.blocks_end = m.live_blocks;
	plan->slots = (uint32_t)m.blocks.used;
	memory_drop(m.started, count * sizeof *m.started);
	memory_drop(m.pending, count * sizeof *m.pending);
	memory_drop(m.places, m.room * sizeof *m.places);
	vector_drop(&m.blocks, sizeof(struct block));
	reader_close(&m.reader);
}

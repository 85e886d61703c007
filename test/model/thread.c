/* SPDX-License-Identifier: MIT */
/*
 * The life of the background thread: src/cache/scavenger.c (scavenger_kick, start_thread, run, scavenger_pause,
 * work_by_caller), os_thread_start, and a fork. Two threads of the program free memory and kick; two more ask for the
 * thread's end at once. A step is one read or write of what they share, or a system call.
 *
 * Free memory has to go without any further call of the program, so what the program does is left to chance, but for
 * what it has begun; only where no thread can be had may it take the next free.
 */
#include "explore.h"

enum { KICKERS = 2, STOPPERS = 2 };

static const struct variant variants[] = {{"two that free, two that stop", false}};

enum thread_at {
	ABSENT,
	LOOKING,
	LEAVING,     /* has closed its descriptors */
	LOOKS_AGAIN, /* nobody else is working, as far as anybody knows */
	EXITING,     /* on its stack still */
};
enum kicker_at { QUIET, KICKS, MAY_START, STARTS, SAW_NO_THREAD, HAS_WORKING, CLONES, WORKS };
enum stopper_at { CALM, WAITS, KICKS_AFTER };

enum wrong { NOTHING, ONE_STACK, STOP_IGNORED, TWO_REAPERS };

enum mistakes {
	NO_MISTAKE,
	NO_SECOND_LOOK,
	ALIVE_BEFORE_WORKING,
	STOP_IS_A_FLAG,
	STOP_WITHOUT_KICK,
	FAILURE_KEEPS_WORKING,
	CALLER_REAPS,
	CHILD_KEEPS_WORKING,
	CHILD_KEEPS_ALIVE,
	MISTAKES,
};

static const char *const wrong_words[] = {
	[ONE_STACK] = "two threads are on one stack",
	[STOP_IGNORED] = "the thread goes on though somebody waits for its end",
	[TWO_REAPERS] = "two threads use the ring",
};

static const struct mistake mistakes[MISTAKES] = {
	[NO_SECOND_LOOK] = {"the thread does not look again after it has said that it works no more", NULL},
	[ALIVE_BEFORE_WORKING] = {"whether an earlier thread is alive is looked at before working is taken only",
				  "two threads are on one stack"},
	[STOP_IS_A_FLAG] = {"two that stop the thread share a flag, which the first one clears",
			    "the thread goes on though somebody waits for its end"},
	[STOP_WITHOUT_KICK] = {"nobody kicks after a stop", NULL},
	[FAILURE_KEEPS_WORKING] = {"working stays set when the thread could not be made", NULL},
	[CALLER_REAPS] = {"a caller that does the thread's work uses the ring", "two threads use the ring"},
	[CHILD_KEEPS_WORKING] = {"a forked child keeps its parent's working", NULL},
	[CHILD_KEEPS_ALIVE] = {"a forked child keeps its parent's alive", NULL},
};

struct state {
	bool dirty;   /* there is memory worth a thread */
	bool working; /* kicks have nothing to do */
	bool alive;   /* the stack may be in use; the kernel clears it */
	uint8_t stopping;
	uint8_t threads[2]; /* enum thread_at: the one, and one too many */
	uint8_t kicker[KICKERS], stopper[STOPPERS];
	bool no_thread; /* the kernel refused one, and is not asked again for a while */
	bool forked;
	uint8_t wrong;
};

static bool is_mistake(enum mistakes m)
{
	return explore_mistake == m;
}

static void begin(void *p)
{
	(void)p;
}

/* ---- The thread -------------------------------------------------------------------------------------------------- */

static void thread_looks(const struct state *s, int t)
{
	struct state n = *s;

	if (s->stopping) {
		n.threads[t] = LEAVING;
		explore_step(&n, "the thread sees that it shall stop, and closes what it has open");
		return;
	}
	for (int i = 0; i < STOPPERS; i++)
		if (s->stopper[i] == WAITS)
			n.wrong = STOP_IGNORED;
	if (is_mistake(CALLER_REAPS))
		for (int i = 0; i < KICKERS; i++)
			if (s->kicker[i] == WORKS)
				n.wrong = TWO_REAPERS;
	n.dirty = false;
	if (!s->dirty)
		n.threads[t] = LEAVING;
	explore_step(&n, s->dirty ? "the thread gives back what is free"
				  : "the thread has seen nothing to do for some ticks, and closes what it has open");
}

static void thread_leaves(const struct state *s, int t)
{
	struct state n = *s;

	n.working = false;
	n.threads[t] = is_mistake(NO_SECOND_LOOK) ? EXITING : LOOKS_AGAIN;
	explore_step(&n, "the thread says that it works no more");
}

static void thread_looks_again(const struct state *s, int t)
{
	struct state n = *s;
	bool again = s->dirty && !s->stopping && !s->working;

	n.threads[t] = again ? LOOKING : EXITING;
	n.working = s->working || again;
	explore_step(&n, again ? "the thread sees that there is work again, and goes on"
			       : "the thread looks once more, and ends");
}

static void thread_exits(const struct state *s, int t)
{
	struct state n = *s;

	n.threads[t] = ABSENT;
	n.alive = false;
	explore_step(&n, "the thread has left its stack: the kernel clears alive");
}

static void thread_steps(const struct state *s, int t)
{
	static void (*const step[])(const struct state *, int) = {
		[LOOKING] = thread_looks,
		[LEAVING] = thread_leaves,
		[LOOKS_AGAIN] = thread_looks_again,
		[EXITING] = thread_exits,
	};

	if (s->threads[t])
		step[s->threads[t]](s, t);
}

/* ---- Who frees, and kicks ---------------------------------------------------------------------------------------- */

static void goes_on(const struct state *s, int k, enum kicker_at at, const char *words)
{
	struct state n = *s;

	n.kicker[k] = (uint8_t)at;
	explore_step(&n, "thread %d %s", k, words);
}

static void frees(const struct state *s, int k)
{
	struct state n = *s;

	n.dirty = true;
	n.kicker[k] = KICKS;
	/* Where no thread can be had, the next free has to do. */
	(s->no_thread ? explore_step : explore_chance)(&n, "thread %d frees much", k);
}

static void takes_working(const struct state *s, int k)
{
	struct state n = *s;

	if (s->working) {
		goes_on(s, k, QUIET, "sees that another was faster");
		return;
	}
	n.working = true;
	n.kicker[k] = is_mistake(ALIVE_BEFORE_WORKING) ? CLONES : HAS_WORKING;
	explore_step(&n, "thread %d takes working", k);
}

static void clones(const struct state *s, int k)
{
	struct state n = *s;

	n.kicker[k] = QUIET;
	n.alive = true;
	if (s->threads[0])
		n.wrong = ONE_STACK;
	n.threads[s->threads[0] ? 1 : 0] = LOOKING;
	explore_step(&n, "thread %d makes the background thread", k);
	n = *s;
	n.kicker[k] = WORKS;
	n.working = is_mistake(FAILURE_KEEPS_WORKING);
	n.no_thread = true;
	explore_chance(&n, "thread %d cannot make the background thread, and does the work itself", k);
}

static void works(const struct state *s, int k)
{
	struct state n = *s;

	n.dirty = false;
	n.kicker[k] = QUIET;
	explore_step(&n, "thread %d gives back what is free", k);
}

static void kicker_steps(const struct state *s, int k)
{
	switch (s->kicker[k]) {
	case QUIET:
		frees(s, k);
		break;
	case KICKS:
		goes_on(s, k, s->working || !s->dirty ? QUIET : MAY_START,
			s->working ? "kicks, and sees that the thread is working"
			: s->dirty ? "kicks, and sees that nobody is working"
				   : "kicks, and sees nothing to do");
		break;
	case MAY_START:
		goes_on(s, k,
			s->stopping    ? QUIET
			: s->no_thread ? WORKS
				       : STARTS,
			s->stopping    ? "sees that the thread is being stopped"
			: s->no_thread ? "does the work itself, as there was no thread to be had"
				       : "sees that a thread may be started");
		break;
	case STARTS:
		if (!is_mistake(ALIVE_BEFORE_WORKING))
			takes_working(s, k);
		else if (!s->alive)
			goes_on(s, k, SAW_NO_THREAD, "sees that the stack is free");
		break;
	case SAW_NO_THREAD:
		takes_working(s, k);
		break;
	case HAS_WORKING:
		if (!s->alive)
			goes_on(s, k, CLONES, "sees that the stack is free");
		break;
	case CLONES:
		clones(s, k);
		break;
	case WORKS:
		works(s, k);
		break;
	}
}

/* ---- Who stops it ------------------------------------------------------------------------------------------------ */

static void stopper_steps(const struct state *s, int i)
{
	struct state n = *s;

	switch (s->stopper[i]) {
	case CALM:
		n.stopping = is_mistake(STOP_IS_A_FLAG) ? 1 : s->stopping + 1;
		n.stopper[i] = WAITS;
		explore_chance(&n, "stopper %d asks for the thread's end", i);
		break;
	case WAITS:
		if (s->alive)
			return;
		n.stopping = is_mistake(STOP_IS_A_FLAG) ? 0 : s->stopping - 1;
		n.stopper[i] = is_mistake(STOP_WITHOUT_KICK) ? CALM : KICKS_AFTER;
		explore_step(&n, "stopper %d sees that the thread is gone, and asks no more", i);
		break;
	case KICKS_AFTER:
		if (s->kicker[0]) /* kicks as thread 0 would, whose steps are known */
			return;
		n.stopper[i] = CALM;
		n.kicker[0] = KICKS;
		explore_step(&n, "stopper %d kicks, in the place of thread 0", i);
		break;
	}
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

static void forks(const struct state *s)
{
	struct state n = {.dirty = s->dirty, .forked = true};

	n.working = s->working && is_mistake(CHILD_KEEPS_WORKING);
	n.alive = s->alive && is_mistake(CHILD_KEEPS_ALIVE);
	/* What the parent had left to give back is the business of the child's next kick. */
	n.kicker[0] = KICKS;
	explore_chance(&n, "fork(): what follows is in the child, which kicks once");
}

/* ---- Everything -------------------------------------------------------------------------------------------------- */

static void steps(const void *p)
{
	const struct state *s = p;

	for (int t = 0; t < 2; t++)
		thread_steps(s, t);
	for (int k = 0; k < KICKERS; k++)
		kicker_steps(s, k);
	for (int i = 0; i < STOPPERS; i++)
		stopper_steps(s, i);
	if (!s->forked)
		forks(s);
}

static const char *wrong(const void *p)
{
	const struct state *s = p;

	return wrong_words[s->wrong];
}

static bool settled(const void *p)
{
	const struct state *s = p;

	return !s->dirty && !s->alive && !s->stopping;
}

const struct model model_thread = {
	.name = "thread",
	.variants = variants,
	.variant_count = 1,
	.size = sizeof(struct state),
	.start = begin,
	.steps = steps,
	.wrong = wrong,
	.settled = settled,
	.unsettled = "free memory is forgotten, or somebody waits for ever",
	.mistakes = mistakes,
	.mistake_count = MISTAKES,
};

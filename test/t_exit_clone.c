/* SPDX-License-Identifier: MIT */
/*
 * clone(2), by which helpers and threads begin, fails with each errno that it can give, and meets every way to end, alone and
 * with 100 threads, before there is a resident helper and after: the exit status is right, nothing hangs, and there is a
 * helper only where it was started before.
 */
#include "inject.h"
#include "ways.h"

static const int errnos[] = {EAGAIN, ENOMEM, EPERM, ENOSYS, EINVAL, EACCES, EOPNOTSUPP,
			     ENOSPC, EUSERS, EBUSY, EEXIST, EINTR,  EFAULT};

enum { TRIES = 8, SIZE = 6 * 1024 * 1024 };

static const struct mode {
	const char *name, *handoff;
	bool late; /* it fails only when the heap is full, and a resident helper may be there */
} modes[] = {{"auto", "auto", true}, {"armed", "armed", false}, {"armed before", "armed", true}};

static void refuse(int error)
{
	inject_add((struct inject_rule){.nr = SYS_clone, .action = INJECT_FAIL, .error = error, .first = 1});
	inject_add((struct inject_rule){.nr = SYS_clone3, .action = INJECT_FAIL, .error = error, .first = 1});
}

/* A process under test. */
static void live(const struct mode *m, int error)
{
	CHECK(pmd_option_set("handoff", m->handoff) == 0);
	if (!m->late)
		refuse(error);
	fill(SIZE);
	if (m->late)
		refuse(error);
	gather();
	end();
}

static size_t try_it(const struct mode *m, int error, const char *what)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		live(m, error);
		CHECK(returns);
		return SIZE_MAX;
	}
	int status = check_wait(pid);
	CHECK_SAY((status & ~0x80) == way->status, "%s: wait status %#x", what, (unsigned)status);
	return helpers(what);
}

/* True in a process under test that is to return from main. */
static bool run(const struct mode *m, int error)
{
	size_t wanted = m->late && m->handoff[1] == 'r', found;
	char what[128];
	snprintf(what, sizeof what, "%s, errno %d, %s, %s", m->name, error, way->name,
		 crowded ? "100 threads" : "alone");
	for (int i = 0; i < TRIES; i++) {
		found = try_it(m, error, what);
		if (found == SIZE_MAX)
			return true;
		CHECK_SAY(found <= wanted, "%s: %zu helpers", what, found);
		if (found == wanted)
			return false;
		proc_sleep_ms(100L * i); /* on a busy machine it may come too late, now and then */
	}
	CHECK_SAY(false, "%s: no helper", what);
	return false;
}

/* With CHECK_SCALE n only every n-th case. */
static bool run_all(void)
{
	size_t scale = check_number("CHECK_SCALE", 1), count = 0;
	for (size_t i = 0; i < LENGTH(modes); i++)
		for (size_t j = 0; j < LENGTH(ways); j++)
			for (size_t k = 0; k < LENGTH(errnos); k++)
				for (int many = 0; many < 2; many++) {
					way = &ways[j];
					crowded = many;
					/* The threads make no difference to what is refused, but to who may be met. */
					if (many && (k + j) % 4)
						continue;
					if (count++ % scale == 0 && run(&modes[i], errnos[k]))
						return true;
				}
	return false;
}

int main(void)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	CHECK(pmd_option_set("handoff_min", "1M") == 0 && pmd_option_set("handoff_despite", "load") == 0);
	if (run_all())
		return STATUS;
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}

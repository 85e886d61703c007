/* SPDX-License-Identifier: MIT */
/*
 * Putting the helper into another cgroup. What is said at the end goes to standard error only if that is what it was at the
 * start (a daemon may have a file of its own there), and only if the line can be written at once. The helper writes it, all
 * of whose signals are blocked: the process could die of SIGPIPE.
 *
 * `errors` is written at the start; the rest by the one thread that ends the process, then by the helper.
 */
#include "exit/cgroup.h"

#include <errno.h>

#include "base/errno_name.h"
#include "conf/options.h"
#include "os/os.h"
#include "os/pressure.h"
#include "os/process.h"

static struct {
	bool known;
	struct os_identity file;
} errors;

static char path[PRESSURE_PATH]; /* not on the stack, which may be a signal handler's */
static int refusal;              /* why the helper is not in that cgroup: an errno value */
static bool entered;

static int open_cgroup(int *fd)
{
	struct text t;

	if (options.handoff_cgroup[0] == '/')
		text_init(&t, path, sizeof path);
	else if (pressure_find_mount(&t, path, sizeof path))
		text_put(&t, "/");
	else
		return ENODEV;
	text_put(&t, options.handoff_cgroup);
	return os_open_cgroup(path, fd);
}

static void say(int error)
{
	char buf[512];
	struct text t;

	text_init(&t, buf, sizeof buf);
	text_put(&t, "handoff_cgroup: no helper can be started in '");
	text_put(&t, options.handoff_cgroup);
	text_put(&t, "' (");
	text_put_errno(&t, error);
	text_put(&t, error == EINVAL ? ": no cgroup of version 2, or an old kernel" : "");
	text_put(&t, "); it stays in the process's own cgroup");
	os_message(&t);
}

void cgroup_check(void)
{
	int fd, error;

	if (LIKELY(!options.handoff_cgroup[0]))
		return;
	errors.known = os_identify(2, &errors.file);
	error = open_cgroup(&fd);
	if (error)
		say(error);
	else
		os_close_file(&fd);
}

int cgroup_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive, int *number)
{
	int fd;

	if (LIKELY(!options.handoff_cgroup[0]))
		return os_sharer_start(run, stack, stack_bytes, alive, number);
	refusal = open_cgroup(&fd);
	if (!refusal) {
		entered = true;
		refusal = os_sharer_start_in(fd, run, stack, stack_bytes, alive, number);
		os_close_file(&fd);
	}
	if (!refusal)
		return 0;
	entered = false;
	return os_sharer_start(run, stack, stack_bytes, alive, number);
}

void cgroup_tell(void)
{
	struct os_identity now;

	if (refusal && errors.known && os_identify(2, &now) && now.device == errors.file.device &&
	    now.number == errors.file.number && os_takes_text(2))
		say(refusal);
}

bool cgroup_is_other(void)
{
	return entered;
}

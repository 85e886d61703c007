/* SPDX-License-Identifier: MIT */
/*
 * Reads what there is to know about the process that ends. The buffers are static as the stack may be a signal handler's;
 * they belong to the one thread that comes here, and after that to the helper.
 */
#include "exit/conditions.h"

#include "base/text.h"
#include "conf/options.h"
#include "os/os.h"
#include "os/pressure.h"
#include "os/process.h"

static bool despite(int64_t what)
{
	int64_t option = OPTION(handoff_despite);

	return option == what || option == DESPITE_ALL;
}

/* ---- A tracer, a sandbox ----------------------------------------------------------------------------------------- */

/* Whether the line KEY of TEXT says something else than 0; also when it cannot be found. */
static bool is_set(const char *text, const char *key)
{
	const char *value = text_value(text, key);

	while (value && (*value == ' ' || *value == '\t'))
		value++;
	return !value || *value != '0' || value[1] != '\n';
}

/*
 * Where many want the CPUs, the process waits for the helper's turn, and then for its own: some three milliseconds each
 * for every other one. To tear down 1 MiB takes 65 microseconds.
 */
enum { TURNS_US = 6000, TEARDOWN_US = 65 };

static bool is_worth_waiting(size_t held)
{
	unsigned running = os_running(), cpus;

	if (running <= 1 || despite(DESPITE_LOAD))
		return true;
	cpus = os_machine_cpus();
	return (held >> 20) * TEARDOWN_US > (uint64_t)(running - 1) * TURNS_US / (cpus ? cpus : os_cpus());
}

/* The calling thread's: filters and tracers belong to threads. */
bool conditions_allow(bool sandbox, size_t held)
{
	static char status[4096];

	if (sandbox && !despite(DESPITE_SECCOMP))
		return false;
	if (!os_read_file("/proc/thread-self/status", status, sizeof status))
		return false;
	return (!is_set(status, "TracerPid:") || despite(DESPITE_PTRACE)) &&
	       (!is_set(status, "Seccomp:") || despite(DESPITE_SECCOMP)) && is_worth_waiting(held);
}

/* ---- Memory for whoever takes the process's place ---------------------------------------------------------------- */

static bool has_room(size_t held, uint32_t process)
{
	return despite(DESPITE_MEMORY) || pressure_room(process) >= held;
}

/* ---- Other mappings ---------------------------------------------------------------------------------------------- */

/*
 * A mapping holds what it maps. A file that is locked with flock(2), a System V segment whose attachments somebody
 * counts, an io_uring with the sockets in it must not be held longer than by the process. Private mappings of files are
 * those of the program and its libraries; shared memory without a name nobody else can come to; what the C library maps of
 * its own files (gconv-modules.cache, in every program with a locale) nobody locks.
 */
static const char harmless[][24] = {"/dev/zero (deleted)\n", "/memfd:", "[", "\n", "/usr/lib"};

enum {
	MAPS_BYTES = 256 << 10
}; /* some two thousand mappings; with more the helper does not look, and there is no handoff */

static const char *next_field(const char *s)
{
	while (*s != ' ' && *s != '\n' && *s)
		s++;
	while (*s == ' ')
		s++;
	return s;
}

/* LINE: "address permissions offset device inode   path". */
static bool is_harmless(const char *line)
{
	const char *field = next_field(line);

	if (!*field || field[3] != 's')
		return true;
	for (int i = 0; i < 4; i++)
		field = next_field(field);
	for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
		if (text_starts_with(field, harmless[i]))
			return true;
	return false;
}

/* The helper's mappings are the process's. */
static bool only_harmless_mappings(void)
{
	static char maps[MAPS_BYTES];
	size_t length = os_read_file("/proc/self/maps", maps, sizeof maps);

	if (!length || length == sizeof maps - 1)
		return false;
	for (const char *line = maps; *line;) {
		if (!is_harmless(line))
			return false;
		while (*line && *line++ != '\n')
			;
	}
	return true;
}

bool conditions_allow_helper(size_t held, uint32_t process)
{
	return only_harmless_mappings() && has_room(held, process);
}

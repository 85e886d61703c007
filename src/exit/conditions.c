/* SPDX-License-Identifier: MIT */
/*
 * Reads what there is to know about the process that ends. The buffers are static as the stack may be a signal handler's;
 * they belong to the one thread that comes here, and after that to the helper.
 */
#include "config.h"

#include "exit/conditions.h"

#include <fcntl.h>

#include "base/text.h"
#include "conf/options.h"
#include "os/os.h"
#include "os/pressure.h"
#include "os/process.h"
#include "release/uring.h"

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
	unsigned running = os_running();
	uint64_t teardown_us = (uint64_t)(held >> 20) * TEARDOWN_US, turns_us;

	if (running <= 1 || despite(DESPITE_LOAD))
		return true;
	turns_us = (uint64_t)(running - 1) * TURNS_US;
	/* The machine's CPUs take a file to count, and mostly the process may use them all. */
	return teardown_us > turns_us / os_cpus() || teardown_us > turns_us / max_size(os_machine_cpus(), 1);
}

enum { STATUS_BYTES = 4096 };

/*
 * The calling thread's: filters and tracers belong to threads, and a process's first one, which may have ended, has no
 * mappings. For the first, the shorter of two ways that lead to the same: each directory on it takes the kernel ten
 * microseconds to make.
 */
static const char status_path[] = "/proc/thread-self/status", maps_path[] = "/proc/thread-self/maps";
static const char first_status_path[] = "/proc/self/status", first_maps_path[] = "/proc/self/maps";

static bool is_first_thread(void)
{
	return (uint32_t)os_thread_number() == os_process_id();
}

bool conditions_rule_out(bool sandbox)
{
	return sandbox && !despite(DESPITE_SECCOMP);
}

static bool is_free(bool sandbox, char *status)
{
	if (conditions_rule_out(sandbox))
		return false;
	if (!os_read_file(is_first_thread() ? first_status_path : status_path, status, STATUS_BYTES))
		return false;
	return (!is_set(status, "TracerPid:") || despite(DESPITE_PTRACE)) &&
	       (!is_set(status, "Seccomp:") || despite(DESPITE_SECCOMP));
}

bool conditions_allow(bool sandbox, size_t held)
{
	static char status[STATUS_BYTES];

	return is_free(sandbox, status) && is_worth_waiting(held);
}

/* The second may be the library's. */
static bool has_few_threads(const char *status)
{
	const char *value = text_value(status, "Threads:");

	return value && value[0] == '\t' && (value[1] == '1' || value[1] == '2') && value[2] == '\n';
}

/* The other CPUs are what is to be won. */
static bool has_idle_cpu(void)
{
	unsigned running = os_running();

	return despite(DESPITE_LOAD) || (running && running < os_cpus());
}

/* Where memory is short the kernel swaps out what waits for a living process to drop it, and spares that of a dead one. */
bool conditions_allow_threads(bool sandbox, size_t held)
{
	static char status[STATUS_BYTES]; /* another thread may be about to start a helper */

	return is_free(sandbox, status) && has_few_threads(status) && has_idle_cpu() &&
	       (despite(DESPITE_MEMORY) || pressure_machine_has_room(held));
}

/* ---- Memory for whoever takes the process's place ---------------------------------------------------------------- */

static bool has_room(size_t held, uint32_t process)
{
	return despite(DESPITE_MEMORY) || pressure_has_room(held, process);
}

/* ---- Files line by line ------------------------------------------------------------------------------------------ */

static char *find_line_end(char *s)
{
	while (*s && *s != '\n')
		s++;
	return *s ? s : NULL;
}

enum { LINES_BYTES = 16 << 10, LINE_LONGEST = 4096 + 128, LINES_MAX = 100000, READS_MAX = 5 };

static char lines[LINES_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* Calls USE for each line of the file. Their number; -1 when USE answers false, or the file cannot be read or is too long. */
static long each_line(const char *path, bool (*use)(const char *line))
{
	int fd = os_open_file(path, O_RDONLY);
	size_t have = 0;
	long count = 0;
	bool good = fd >= 0, more = good;

	while (good && more) {
		long n = os_read_on(fd, lines + have, sizeof lines - 1 - have);
		char *line = lines, *end;

		good = n >= 0 && have < LINE_LONGEST && count < LINES_MAX;
		more = n > 0;
		have += more ? (size_t)n : 0;
		lines[have] = 0;
		for (; good && (end = find_line_end(line)); line = end + 1, count++)
			good = use(line);
		have -= (size_t)(line - lines);
		__builtin_memmove(lines, line, have);
	}
	os_close_file(&fd);
	return good && !have ? count : -1;
}

static long each_mapping(bool (*use)(const char *line))
{
	return each_line(is_first_thread() ? first_maps_path : maps_path, use);
}

/* ---- Other mappings ---------------------------------------------------------------------------------------------- */

/*
 * A mapping holds what it maps. A System V segment whose attachments somebody counts, an io_uring with the sockets in it
 * must not be held longer than by the process. Private mappings of files are those of the program and its libraries; shared
 * memory without a name nobody else can come to; what the C library maps of its own files (gconv-modules.cache, in every
 * program with a locale) nobody locks.
 */
static const char harmless[][24] = {"/dev/zero (deleted)\n", "/memfd:", "[", "\n"};

/* Where nobody locks anything: the C library's own files; of a build that counts what is covered, its counters. */
static bool is_nobodys(const char *path)
{
#ifdef PMD_COUNTERS
	if (text_starts_with(path, PMD_COUNTERS))
		return true;
#endif
	return text_starts_with(path, "/usr/lib");
}

/*
 * And a mapping of whatever kind holds the file that was open when it was made, with its locks (but POSIX's, which belong
 * to the process) and leases. Which file that was the kernel does not tell: so any mapping of a file with such a lock
 * counts, whoever has it. Files are "device inode", with one character between.
 */
enum { LOCKED_MAX = 64, FILE_NAME = 40 };

static struct {
	char file[LOCKED_MAX][FILE_NAME];
	size_t count;
} locked;

static const char *next_field(const char *s)
{
	while (*s != ' ' && *s != '\n' && *s)
		s++;
	while (*s == ' ')
		s++;
	return s;
}

/* The Nth field of LINE, from 0. */
static const char *field_of(const char *line, int n)
{
	while (n-- > 0)
		line = next_field(line);
	return line;
}

static bool same_file(const char *a, const char *b)
{
	for (; *b; a++, b++)
		if (*a != *b)
			return false;
	return *a == ' ' || *a == '\n';
}

/* LINE: "1: FLOCK ADVISORY WRITE process device:inode first last"; of those who wait for it "1: -> FLOCK ...". */
static bool note_lock(const char *line)
{
	const char *kind = field_of(line, 1), *file;
	char *out = locked.file[locked.count];
	size_t length = 0;
	int colons = 0;

	if (text_starts_with(kind, "POSIX") || text_starts_with(kind, "->"))
		return true;
	file = field_of(kind, 4);
	while (file[length] != ' ' && file[length])
		length++;
	if (length >= FILE_NAME || locked.count == LOCKED_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		colons += file[i] == ':';
		out[i] = file[i] == ':' && colons == 2 ? ' ' : file[i];
	}
	out[length] = 0;
	locked.count++;
	return true;
}

static uintptr_t parse_address(const char **at)
{
	uintptr_t address = 0;

	for (; (**at >= '0' && **at <= '9') || (**at >= 'a' && **at <= 'f'); ++*at)
		address = address << 4 | (uintptr_t)(**at <= '9' ? **at - '0' : **at - 'a' + 10);
	return address;
}

/* LINE: "address permissions offset device inode   path". The library's own ring has nothing of the program's. */
static bool is_harmless(const char *line)
{
	const char *permissions = field_of(line, 1), *device = field_of(line, 3), *path = field_of(line, 5);

	for (size_t i = 0; i < locked.count; i++)
		if (same_file(device, locked.file[i]))
			return false;
	if (!*permissions || permissions[3] != 's' || is_nobodys(path))
		return true;
	for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
		if (text_starts_with(path, harmless[i]))
			return true;
	return uring_is_at(parse_address(&line));
}

static bool is_no_device(const char *line)
{
	const char *path = field_of(line, 5);

	return !text_starts_with(path, "anon_inode:") &&
	       (!text_starts_with(path, "/dev/") || text_starts_with(path, "/dev/zero") ||
		text_starts_with(path, "/dev/shm/"));
}

bool conditions_no_device_mapped(void)
{
	return each_mapping(is_no_device) > 0;
}

static bool read_locks(void)
{
	locked.count = 0; /* a forked child may have its parent's */
	return each_line("/proc/locks", note_lock) >= 0;
}

/*
 * Who reads /proc/locks waits for an RCU grace period, some 15 ms, and everybody who wants a lock meanwhile waits too. So it
 * is read only where something is mapped that could be locked: not what a loader has mapped, the program and its libraries,
 * of which a part is executable, as nobody else ever had that descriptor; nor the C library's own files. The mappings of a
 * file that a loader has made lie side by side.
 */
static struct {
	char file[FILE_NAME]; /* of the last mapping; empty: none */
	bool executable;      /* one of those side by side */
	bool found;           /* what could be locked */
} lockable;

static void end_file(void)
{
	lockable.found |= lockable.file[0] && !lockable.executable;
	lockable.file[0] = 0;
	lockable.executable = false;
}

static void begin_file(const char *device)
{
	size_t length = (size_t)(field_of(device, 1) - device);

	while (device[length] != ' ' && device[length] != '\n' && device[length])
		length++;
	if (length >= FILE_NAME) {
		lockable.found = true;
		return;
	}
	__builtin_memcpy(lockable.file, device, length);
	lockable.file[length] = 0;
}

static bool note_mapping(const char *line)
{
	const char *permissions = field_of(line, 1), *device = field_of(line, 3), *path = field_of(line, 5);

	if (!is_harmless(line))
		return false;
	if (!lockable.file[0] || !same_file(device, lockable.file))
		end_file();
	if (*field_of(line, 4) == '0' || is_nobodys(path) || text_starts_with(path, "/dev/zero (deleted)"))
		return true;
	if (!lockable.file[0])
		begin_file(device);
	lockable.executable |= permissions[2] == 'x';
	return true;
}

static bool read_mappings(void)
{
	locked.count = 0;
	lockable.file[0] = 0;
	lockable.executable = lockable.found = false;
	if (each_mapping(note_mapping) <= 0)
		return false;
	end_file();
	if (!lockable.found)
		return true;
	return read_locks() && each_mapping(is_harmless) > 0;
}

/* The library's ring may come or go meanwhile: then what was read is looked at again. */
static bool only_harmless_mappings(void)
{
	for (int i = 0; i < READS_MAX; i++) {
		uint32_t before = uring_changes();

		if (read_mappings())
			return true;
		if (uring_changes() == before)
			return false;
	}
	return false;
}

/* The kernel tells what is mapped from where it has come to, whatever went before that meanwhile. */
static bool drop_if_harmful(const char *line)
{
	uintptr_t start;

	if (is_harmless(line))
		return true;
	start = parse_address(&line);
	line++;
	os_unmap((void *)start, parse_address(&line) - start);
	return true;
}

void conditions_drop_harmful(void)
{
	read_locks();
	each_mapping(drop_if_harmful);
}

bool conditions_allow_helper(size_t held, uint32_t process)
{
	return only_harmless_mappings() && has_room(held, process);
}

void conditions_forget(void)
{
	os_drop(lines, sizeof lines);
}

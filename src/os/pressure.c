/* SPDX-License-Identifier: MIT */
/*
 * Triggers, cgroup files and the sleep. Raw system calls only: the thread has no thread-local variables.
 *
 * Waking: `woken` holds the truth; whoever sets it from 0 sends WAKE_SIGNAL, which is blocked in the thread and makes its
 * signalfd readable. A signal that comes late makes pressure_wait look once more and sleep on. The signal goes to a
 * thread number, so the thread may not end, and its number not become another's, while somebody is about to send:
 * pressure_close waits for `wakers`, within reason, as one of them may have been killed.
 *
 * Stalls: to give a trigger back, the kernel waits for an RCU grace period, some 15 ms, also when the process exits.
 * So a process that may be done soon has none: its stalls are read off the counters once a second at first; and so are
 * those of one whose end nobody shall have to wait for, whenever that is.
 */
#include "os/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/text.h"
#include "os/os.h"
#include "os/syscall.h"

/* One that no program uses: a signalfd would also take those that the program blocked to wait for them. */
#ifdef SIGSTKFLT
#define WAKE_SIGNAL SIGSTKFLT
#else
#define WAKE_SIGNAL SIGURG
#endif

enum {
	STALL_PERCENT = 7,     /* so much of the time somebody waited for memory: as in the triggers below */
	STALL_MS = 950,        /* shorter samples say little */
	SAMPLE_MS = 1000,      /* how often stalls are looked at where there is no trigger */
	TRIGGERS_MS = 10000,   /* how long there are no triggers */
	AVAILABLE_SHARE = 8,   /* the machine is short when less than 1/8 of its memory is available */
	LIMIT_SHARE = 16,      /* a cgroup is close to its limit within 1/16 of it */
	EVENTS_QUIET_MS = 500, /* how often memory.events is looked at */
	CLOSE_TRIES = 1000,
	FILE_BYTES = 2048, /* what is looked for in memory.stat stands in its first KiB */
};

/* Windows below two seconds need CAP_SYS_RESOURCE; in kernels before 6.5, triggers do at all. */
static const char trigger_fast[] = "some 70000 1000000", trigger_slow[] = "some 150000 2000000";

const char *pressure_root = "";

static uint64_t now_ms(void)
{
	return os_now_us() / 1000;
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static void put_path(struct text *t, char *buf, size_t room, const char *path)
{
	text_init(t, buf, room);
	text_put(t, pressure_root);
	text_put(t, path);
}

/* A file in a cgroup. All their names are shorter than 64 bytes. */
struct group_path {
	char text[PRESSURE_PATH + 64];
};

/* NAME in the cgroup that is the first LEN bytes of dir. */
static const char *put_group_path(const struct pressure *p, size_t len, const char *name, struct group_path *path)
{
	struct text t;

	text_init(&t, path->text, sizeof path->text);
	text_put_n(&t, p->dir, len);
	text_put(&t, "/");
	text_put(&t, name);
	return path->text;
}

static bool exists(const char *path)
{
	return !os_syscall(SYS_faccessat, AT_FDCWD, (long)path, 0, 0, 0, 0);
}

static int open_root_file(const char *path)
{
	char full[PRESSURE_PATH];
	struct text t;

	put_path(&t, full, sizeof full, path);
	return os_open_file(full, O_RDONLY);
}

static size_t read_root_file(const char *path, char *buf, size_t len)
{
	char full[PRESSURE_PATH];
	struct text t;

	put_path(&t, full, sizeof full, path);
	return os_read_file(full, buf, len);
}

static size_t read_group_file(const struct pressure *p, size_t len, const char *name, char *buf, size_t room)
{
	struct group_path path;

	buf[0] = 0;
	return os_read_file(put_group_path(p, len, name, &path), buf, room);
}

static uint64_t number_at(const char *s)
{
	uint64_t n = 0;

	while (*s == ' ')
		s++;
	for (; *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	return n;
}

/* 0 when there is no line KEY. */
static uint64_t number_of(const char *text, const char *key)
{
	const char *value = text_value(text, key);

	return value ? number_at(value) : 0;
}

/* --- cgroups ---------------------------------------------------------------------------------------------------- */

/* The length of the cgroup around the one that is the first LEN bytes of dir; 0: that was the root. */
static size_t parent(const struct pressure *p, size_t len)
{
	if (len <= p->root_len)
		return 0;
	while (len > p->root_len && p->dir[len - 1] != '/')
		len--;
	return len > p->root_len ? len - 1 : p->root_len;
}

/* A limit's file; UINT64_MAX: there is no limit. */
static uint64_t limit_in(const struct pressure *p, size_t len, const char *name)
{
	char buf[32];

	if (!read_group_file(p, len, name, buf, sizeof buf) || buf[0] < '0' || buf[0] > '9')
		return UINT64_MAX;
	return number_at(buf);
}

static uint64_t limit_of(const struct pressure *p, size_t len)
{
	uint64_t high = limit_in(p, len, "memory.high"), max = limit_in(p, len, "memory.max");

	return high < max ? high : max;
}

static size_t nearest_limit(const struct pressure *p)
{
	size_t len = p->dir_len;

	while (len && limit_of(p, len) == UINT64_MAX)
		len = parent(p, len);
	return len;
}

static bool near_limit_at(const struct pressure *p, size_t len)
{
	char buf[FILE_BYTES];
	uint64_t limit = limit_of(p, len), used, cached;

	if (limit == UINT64_MAX || !read_group_file(p, len, "memory.current", buf, sizeof buf))
		return false;
	limit -= limit / LIMIT_SHARE;
	used = number_at(buf);
	if (used < limit)
		return false;
	read_group_file(p, len, "memory.stat", buf, sizeof buf);
	cached = number_of(buf, "inactive_file ");
	return used - (cached < used ? cached : used) >= limit;
}

static bool near_limit(const struct pressure *p)
{
	for (size_t len = p->dir_len; len; len = parent(p, len))
		if (near_limit_at(p, len))
			return true;
	return false;
}

/* Where version 2 is mounted: alone, or beside version 1. */
bool pressure_find_mount(struct text *t, char *buf, size_t room)
{
	static const char places[][32] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		size_t len;

		put_path(t, buf, room, places[i]);
		len = t->len;
		text_put(t, "/cgroup.controllers");
		if (exists(buf)) {
			t->len = len;
			buf[len] = 0;
			return true;
		}
	}
	buf[0] = 0;
	return false;
}

static const char own_cgroup[] = "/proc/self/cgroup";

/*
 * TEXT: what the file of a process says, see own_cgroup. Where the cgroup's directory is not below the mount, as in a
 * container that sees its host's names or was entered from outside, the mount's root is the nearest cgroup around that
 * can be seen.
 */
static void locate(const char *text, char *dir, size_t room, size_t *dir_len, size_t *root_len)
{
	const char *path, *end;
	struct text t;

	*dir_len = *root_len = 0;
	dir[0] = 0;
	path = text_value(text, "0::");
	if (!path || !pressure_find_mount(&t, dir, room))
		return;
	*dir_len = *root_len = t.len;
	for (end = path; *end && *end != '\n';)
		end++;
	if (end - path < 2 || !*end || text_starts_with(path, "/.."))
		return;
	text_put_n(&t, path, (size_t)(end - path));
	if (t.len + 1 < t.room && exists(dir))
		*dir_len = t.len;
	else
		dir[*root_len] = 0;
}

static void locate_own(char *dir, size_t room, size_t *dir_len, size_t *root_len)
{
	char buf[FILE_BYTES];

	read_root_file(own_cgroup, buf, sizeof buf);
	locate(buf, dir, room, dir_len, root_len);
}

/* The machine's root cgroup is the machine. The root of a cgroup namespace is a cgroup as others. */
static bool is_machine(const struct pressure *p)
{
	struct group_path path;

	return !p->dir_len || !exists(put_group_path(p, p->dir_len, "cgroup.events", &path));
}

/* --- what is listened to ---------------------------------------------------------------------------------------- */

static int open_trigger(const char *path)
{
	int fd = os_open_file(path, O_RDWR | O_NONBLOCK);

	if (fd >= 0 && os_syscall(SYS_write, fd, (long)trigger_fast, sizeof trigger_fast, 0, 0, 0) < 0 &&
	    os_syscall(SYS_write, fd, (long)trigger_slow, sizeof trigger_slow, 0, 0, 0) < 0)
		os_close_file(&fd);
	return fd;
}

/* Reads the counters, which also makes the next change of them known. False when they did not grow. */
static bool events_grew(struct pressure *p)
{
	char buf[512];
	long n = os_syscall(SYS_pread64, p->events, (long)buf, sizeof buf - 1, 0, 0, 0);
	uint64_t before = p->events_seen;

	if (n < 0) {
		os_close_file(&p->events);
		return false;
	}
	buf[n] = 0;
	p->events_seen = number_of(buf, "high ") + number_of(buf, "max ") + number_of(buf, "oom ");
	return p->events_seen > before;
}

static void open_events(struct pressure *p)
{
	struct group_path path;

	p->limit_len = nearest_limit(p);
	p->events_seen = p->events_from_ms = 0;
	if (!p->limit_len)
		return;
	p->events = os_open_file(put_group_path(p, p->limit_len, "memory.events", &path), O_RDONLY);
	if (p->events >= 0)
		events_grew(p);
}

static void open_triggers(struct pressure *p)
{
	struct group_path path;
	struct text t;

	p->triggers_at_ms = 0;
	p->without_triggers |= p->refuses_triggers && p->refuses_triggers();
	if (p->without_triggers)
		return;
	if (p->group < 0 && p->own_group)
		p->group = open_trigger(put_group_path(p, p->dir_len, "memory.pressure", &path));
	put_path(&t, path.text, sizeof path.text, "/proc/pressure/memory");
	if (p->machine < 0)
		p->machine = open_trigger(path.text);
}

static void open_group(struct pressure *p)
{
	p->own_group = !is_machine(p);
	p->group_stall = (struct pressure_stall){0};
	if (!p->triggers_at_ms)
		open_triggers(p);
	open_events(p);
}

static int open_wake(void)
{
	uint64_t set = (uint64_t)1 << (WAKE_SIGNAL - 1);
	long fd = os_syscall(SYS_signalfd4, -1, (long)&set, sizeof set, SFD_CLOEXEC | SFD_NONBLOCK, 0, 0);

	return fd < 0 ? -1 : (int)fd;
}

/* From now on the futex wakes. */
static void close_wake(struct pressure *p)
{
	atomic_store(&p->tid, 0);
	for (int tries = 0; tries < CLOSE_TRIES && atomic_load(&p->wakers); tries++)
		os_yield();
	os_close_file(&p->wake);
}

void pressure_close(struct pressure *p)
{
	close_wake(p);
	os_close_file(&p->group);
	os_close_file(&p->machine);
	os_close_file(&p->events);
	os_close_file(&p->stalls);
}

void pressure_after_fork(struct pressure *p)
{
	atomic_store(&p->tid, 0);
	atomic_store(&p->wakers, 0);
	atomic_store(&p->woken, 0);
}

/* --- is it short? ----------------------------------------------------------------------------------------------- */

static bool machine_is_short(void)
{
	char buf[512];
	uint64_t total, available;

	read_root_file("/proc/meminfo", buf, sizeof buf);
	total = number_of(buf, "MemTotal:");
	available = number_of(buf, "MemAvailable:");
	return total && available < total / AVAILABLE_SHARE;
}

/* TEXT: a PSI file. Whether somebody waited for memory too long since the last sample, if that is old enough to say. */
static bool stalled(struct pressure_stall *last, const char *text)
{
	const char *s = text_value(text, "some ");
	struct pressure_stall before = *last;
	uint64_t now = now_ms();

	while (s && *s && *s != '\n' && !text_starts_with(s, "total="))
		s++;
	if (!s || *s != 't' || now - before.at_ms < STALL_MS)
		return false;
	*last = (struct pressure_stall){number_at(s + text_length("total=")), now};
	return before.at_ms && last->total_us > before.total_us &&
	       (last->total_us - before.total_us) / ((now - before.at_ms) * 10) >= STALL_PERCENT;
}

static bool stalled_without_trigger(struct pressure *p)
{
	char buf[512];
	bool is_short = false;

	if (p->group < 0 && p->own_group && read_group_file(p, p->dir_len, "memory.pressure", buf, sizeof buf))
		is_short = stalled(&p->group_stall, buf);
	if (p->machine < 0 && p->stalls < 0)
		p->stalls = open_root_file("/proc/pressure/memory");
	if (p->machine < 0 && os_read_open_file(p->stalls, buf, sizeof buf))
		is_short |= stalled(&p->machine_stall, buf) && machine_is_short();
	p->sample_at_ms = now_ms() + SAMPLE_MS;
	return is_short;
}

void pressure_do_without_triggers(struct pressure *p)
{
	if (p->without_triggers || !p->listening)
		return;
	p->without_triggers = true;
	os_close_file(&p->group);
	os_close_file(&p->machine);
	stalled_without_trigger(p); /* what it answers is of long ago */
}

/* Whether there is something to sample: it was there before, and no trigger tells of it. */
static bool is_sampled(const struct pressure *p)
{
	return (p->group < 0 && p->group_stall.at_ms) || (p->machine < 0 && p->machine_stall.at_ms);
}

static bool same_dir(const struct pressure *p, const char *dir, size_t len)
{
	if (len != p->dir_len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (dir[i] != p->dir[i])
			return false;
	return true;
}

/* The process may have been moved, and limits may have come and gone. */
static void follow(struct pressure *p)
{
	char dir[PRESSURE_PATH];
	size_t dir_len, root_len;

	locate_own(dir, sizeof dir, &dir_len, &root_len);
	if (!same_dir(p, dir, dir_len)) {
		os_close_file(&p->group);
		os_close_file(&p->events);
		for (size_t i = 0; i <= dir_len; i++)
			p->dir[i] = dir[i];
		p->dir_len = dir_len;
		p->root_len = root_len;
		open_group(p);
	} else if (p->limit_len != nearest_limit(p)) {
		os_close_file(&p->events);
		open_events(p);
	}
}

bool pressure_check(struct pressure *p)
{
	bool stalls;

	if (!p->listening)
		return false;
	follow(p);
	stalls = stalled_without_trigger(p); /* to be sampled each time */
	return stalls || near_limit(p);
}

/* The end of the field or the line at S. */
static const char *field_end(const char *s)
{
	while (*s && *s != ':' && *s != '\n')
		s++;
	return s;
}

/* Whether "memory" is one of the words in S[0..END), between commas. */
static bool names_memory(const char *s, const char *end)
{
	for (; s < end; s++) {
		const char *word = s;

		while (s < end && *s != ',')
			s++;
		if (text_equal(word, (size_t)(s - word), "memory"))
			return true;
	}
	return false;
}

/* The path in the line "id:controllers:path" of the memory controller of version 1; NULL: there is none. */
static const char *old_group(const char *text)
{
	for (const char *line = text; *line;) {
		const char *id = field_end(line), *controllers = *id == ':' ? field_end(id + 1) : id;

		if (*controllers == ':' && names_memory(id + 1, controllers))
			return controllers + 1;
		for (line = controllers; *line && *line++ != '\n';)
			;
	}
	return NULL;
}

/* As locate, for version 1. */
static void locate_old(const char *text, struct pressure *p)
{
	const char *path, *end;
	struct text t;

	p->dir_len = p->root_len = 0;
	path = old_group(text);
	if (!path)
		return;
	put_path(&t, p->dir, sizeof p->dir, "/sys/fs/cgroup/memory");
	p->dir_len = p->root_len = t.len;
	for (end = path; *end && *end != '\n';)
		end++;
	if (end - path < 2 || !*end)
		return;
	text_put_n(&t, path, (size_t)(end - path));
	if (t.len + 1 < t.room && exists(p->dir))
		p->dir_len = t.len;
	else
		p->dir[p->root_len] = 0;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The files of a cgroup, by version. */
struct group_files {
	const char *limits[2]; /* the second may be missing */
	const char *used, *cached;
};

static const struct group_files new_files = {{"memory.high", "memory.max"}, "memory.current", "inactive_file "},
				old_files = {
					{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file "};

/* Version 1 has no word for it, but a number that no machine comes near. */
static const uint64_t no_limit = (uint64_t)1 << 62;

/* Whether the cgroup has so much left, file pages that nobody looked at again taken for free, if that is what it needs. */
static bool has_room_at(const struct pressure *p, size_t len, const struct group_files *files, uint64_t bytes)
{
	char buf[FILE_BYTES];
	uint64_t limit = UINT64_MAX, used, cached;

	for (size_t i = 0; i < sizeof files->limits / sizeof files->limits[0] && files->limits[i]; i++)
		limit = lesser(limit, limit_in(p, len, files->limits[i]));
	if (limit >= no_limit || !read_group_file(p, len, files->used, buf, sizeof buf))
		return true;
	used = number_at(buf);
	if (used <= limit && limit - used >= bytes)
		return true;
	read_group_file(p, len, "memory.stat", buf, sizeof buf);
	cached = number_of(buf, files->cached);
	used -= cached < used ? cached : used;
	return used <= limit && limit - used >= bytes;
}

/* All cgroups around a process. */
static bool have_room(const struct pressure *p, const struct group_files *files, uint64_t bytes)
{
	for (size_t len = p->dir_len; len; len = parent(p, len))
		if (!has_room_at(p, len, files, bytes))
			return false;
	return true;
}

/*
 * Of what is free some is a reserve, of which this call tells nothing: a sixteenth of all is more than machines keep. The
 * file that tells takes ten times as long.
 */
static bool has_free(uint64_t bytes)
{
	struct sysinfo info = {0};
	uint64_t reserve;

	if (pressure_root[0] || os_syscall(SYS_sysinfo, (long)&info, 0, 0, 0, 0, 0))
		return false;
	reserve = info.totalram / 16;
	return info.freeram > reserve && (info.freeram - reserve) * info.mem_unit >= bytes;
}

bool pressure_machine_has_room(uint64_t bytes)
{
	char buf[512];

	if (has_free(bytes))
		return true;
	read_root_file("/proc/meminfo", buf, sizeof buf);
	return number_of(buf, "MemAvailable:") << 10 >= bytes;
}

bool pressure_has_room(uint64_t bytes, uint32_t process)
{
	static struct pressure here;
	char buf[FILE_BYTES], file[64];
	struct text t;

	text_init(&t, file, sizeof file);
	text_put(&t, process ? "/proc/" : own_cgroup);
	if (process) {
		text_put_number(&t, process);
		text_put(&t, "/cgroup");
	}
	if (!pressure_machine_has_room(bytes) || (!read_root_file(file, buf, sizeof buf) && process))
		return false;
	locate(buf, here.dir, sizeof here.dir, &here.dir_len, &here.root_len);
	if (!have_room(&here, &new_files, bytes))
		return false;
	locate_old(buf, &here);
	return have_room(&here, &old_files, bytes);
}

bool pressure_swap_present(const struct pressure *p)
{
	struct sysinfo info = {0};

	if (os_syscall(SYS_sysinfo, (long)&info, 0, 0, 0, 0, 0) || !info.totalswap)
		return false;
	for (size_t len = p->dir_len; len; len = parent(p, len))
		if (!limit_in(p, len, "memory.swap.max"))
			return false;
	return true;
}

void pressure_open(struct pressure *p, bool listen)
{
	p->group = p->machine = p->events = p->stalls = p->wake = -1;
	p->dir_len = p->root_len = p->limit_len = 0;
	p->group_stall = p->machine_stall = (struct pressure_stall){0};
	p->events_from_ms = p->triggers_at_ms = 0;
	p->listening = listen;
	p->without_triggers = false;
	if (!listen)
		return;
	p->wake = open_wake();
	if (p->wake >= 0)
		atomic_store(&p->tid, (uint32_t)os_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0));
	p->triggers_at_ms = now_ms() + TRIGGERS_MS;
	locate_own(p->dir, sizeof p->dir, &p->dir_len, &p->root_len);
	open_group(p);
	stalled_without_trigger(p);
}

bool pressure_has_source(const struct pressure *p)
{
	return p->group >= 0 || p->machine >= 0 || p->events >= 0 || p->dir_len || is_sampled(p);
}

/* --- the sleep -------------------------------------------------------------------------------------------------- */

enum { AT_WAKE, AT_GROUP, AT_MACHINE, AT_EVENTS, AT_EXTRA, PLACES };

static void sleep_on_futex(struct pressure *p, int64_t ms)
{
	if (p->wake >= 0)
		close_wake(p);
	if (ms)
		os_wait(&p->woken, 0, ms);
}

/*
 * Answers false, with nothing in FDS, when it cannot be polled. Interrupted, it has found nothing: who waits looks at the
 * time before it is tried again.
 */
static bool poll_all(struct pollfd *fds, int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	long n;

	n = os_syscall(SYS_ppoll, (long)fds, PLACES, ms < 0 ? 0 : (long)&t, 0, 0, 0);
	return n >= 0 || n == -EINTR;
}

/* One that is broken, as its cgroup is gone, would be ready for ever. */
static bool trigger_fired(int *fd, short got)
{
	if (got & (POLLERR | POLLNVAL))
		os_close_file(fd);
	return !(got & (POLLERR | POLLNVAL)) && got & POLLPRI;
}

/* cgroup files answer POLLERR along with POLLPRI, and always so when the cgroup is gone: reading tells which it is. */
static bool events_fired(struct pressure *p, short got, uint64_t now)
{
	if (!got)
		return false;
	if (got & POLLNVAL) {
		os_close_file(&p->events);
		return false;
	}
	p->events_from_ms = now + EVENTS_QUIET_MS;
	return events_grew(p) && near_limit_at(p, p->limit_len);
}

static void drain_wake(struct pressure *p)
{
	struct signalfd_siginfo info;

	while (os_syscall(SYS_read, p->wake, (long)&info, sizeof info, 0, 0, 0) == sizeof info)
		;
}

/* Sleeps once, for at most MS. */
static unsigned wait_once(struct pressure *p, int extra_fd, int64_t ms, uint64_t now)
{
	bool quiet = now < p->events_from_ms;
	struct pollfd fds[PLACES] = {
		[AT_WAKE] = {.fd = p->wake, .events = POLLIN},
		[AT_GROUP] = {.fd = p->group, .events = POLLPRI},
		[AT_MACHINE] = {.fd = p->machine, .events = POLLPRI},
		[AT_EVENTS] = {.fd = quiet ? -1 : p->events, .events = POLLPRI},
		[AT_EXTRA] = {.fd = extra_fd, .events = POLLIN},
	};
	unsigned got = 0;

	if (p->wake < 0) {
		sleep_on_futex(p, ms);
		ms = 0;
	}
	if (!poll_all(fds, ms)) {
		if (p->wake >= 0)
			sleep_on_futex(p, ms);
		return 0;
	}
	if (fds[AT_WAKE].revents & POLLIN)
		drain_wake(p);
	else if (fds[AT_WAKE].revents)
		close_wake(p);
	if (fds[AT_EXTRA].revents)
		got |= WAIT_EXTRA;
	if (trigger_fired(&p->group, fds[AT_GROUP].revents))
		got |= WAIT_PRESSURE;
	if (trigger_fired(&p->machine, fds[AT_MACHINE].revents) && machine_is_short())
		got |= WAIT_PRESSURE;
	if (events_fired(p, fds[AT_EVENTS].revents, now_ms()))
		got |= WAIT_PRESSURE;
	return got;
}

/* How long to sleep at NOW: until END, or until there is something to do before. */
static int64_t sleep_ms(const struct pressure *p, uint64_t now, uint64_t end)
{
	if (p->events >= 0 && now < p->events_from_ms)
		end = lesser(end, p->events_from_ms);
	if (p->triggers_at_ms)
		end = lesser(end, p->triggers_at_ms);
	if (is_sampled(p))
		end = lesser(end, p->sample_at_ms);
	if (end == UINT64_MAX)
		return -1;
	return end > now ? (int64_t)(end - now) : 0;
}

/* What is due at NOW. */
static unsigned look_around(struct pressure *p, uint64_t now)
{
	if (p->triggers_at_ms && now >= p->triggers_at_ms)
		open_triggers(p);
	return is_sampled(p) && now >= p->sample_at_ms && stalled_without_trigger(p) ? WAIT_PRESSURE : 0;
}

unsigned pressure_wait(struct pressure *p, int extra_fd, int64_t ms)
{
	uint64_t now = now_ms(), end = ms < 0 ? UINT64_MAX : now + (uint64_t)ms;

	for (;;) {
		bool woken = atomic_exchange(&p->woken, 0);
		unsigned got = wait_once(p, extra_fd, woken ? 0 : sleep_ms(p, now, end), now);

		if (atomic_exchange(&p->woken, 0) || woken)
			got |= WAIT_WOKEN;
		now = now_ms();
		got |= look_around(p, now);
		if (got || now >= end)
			return got;
	}
}

void pressure_wake(struct pressure *p)
{
	uint32_t tid;

	if (atomic_exchange(&p->woken, 1))
		return;
	atomic_fetch_add(&p->wakers, 1);
	tid = atomic_load(&p->tid);
	if (!tid)
		os_wake(&p->woken);
	else if (os_syscall(SYS_tgkill, os_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0), tid, WAKE_SIGNAL, 0, 0, 0))
		atomic_store(&p->woken, 0); /* a vfork child, say: the next waker shall try again */
	atomic_fetch_sub(&p->wakers, 1);
}

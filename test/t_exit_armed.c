/* SPDX-License-Identifier: MIT */
/*
 * handoff:armed. A process that is killed or crashes hands its memory off; until then its resident helper does nothing,
 * holds nothing of it and is seen by nobody who does not look for it; it is gone when it must not be there, and when the
 * process runs another program.
 *
 * This program adopts orphans, so all residents are its children.
 */
#define CHECK_SECONDS 300
#include "exits.h"
#include "variants.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

enum { HEAP = 4 * 1024 * 1024, WAIT_MS = 20000, ASLEEP_MS = 2000 };

#define NOBODY 65534

static const char armed_name[] = "pmdalloc-armed";
static char self[] = "/proc/self/exe", word_wait[] = "wait", word_has_child[] = "has a child";

/* ---- /proc of another process ------------------------------------------------------------------------------------ */

static size_t read_proc(pid_t pid, const char *name, char *text, size_t room)
{
	char path[128];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

/* The resident helper that is this process's child and not yet dead; 0: none. */
static pid_t find_resident(void)
{
	char children[4096], name[64];
	snprintf(name, sizeof name, "task/%d/children", (int)getpid());
	read_proc(getpid(), name, children, sizeof children);
	for (char *at = children; *at; at += strspn(at, " ")) {
		pid_t pid = (pid_t)strtol(at, &at, 10);
		char comm[64] = "", link[16];
		read_proc(pid, "comm", comm, sizeof comm);
		snprintf(name, sizeof name, "/proc/%d/exe", (int)pid);
		if (strncmp(comm, armed_name, strlen(armed_name)) == 0 && readlink(name, link, sizeof link) > 0)
			return pid;
	}
	return 0;
}

static pid_t await_resident(const char *what)
{
	pid_t pid;
	for (int waited = 0; !(pid = find_resident()); waited++) {
		CHECK_SAY(waited < WAIT_MS, "%s: %s: no resident helper", conf, what);
		proc_sleep_ms(1);
	}
	return pid;
}

static void expect_resident_gone(const char *what)
{
	for (int waited = 0; find_resident(); waited++) {
		CHECK_SAY(waited < WAIT_MS, "%s: %s: the resident helper is still there", conf, what);
		proc_sleep_ms(1);
	}
}

static size_t count_descriptors(pid_t pid, const char *forbidden)
{
	char path[64], name[320], link[256];
	size_t count = 0;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	CHECK(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		ssize_t n = readlink(name, link, sizeof link - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		count++;
		CHECK_SAY(!strstr(link, forbidden) && !strstr(link, "/dev/"), "the resident holds %s", link);
	}
	closedir(dir);
	return count;
}

/* Context switches of all its threads, and clock ticks that it has used. */
static size_t count_wakes(pid_t pid)
{
	char path[64], name[320], text[4096];
	size_t count = 0, threads = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	CHECK(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "task/%s/status", e->d_name);
		CHECK(read_proc(pid, name, text, sizeof text));
		const char *line = strstr(text, "\nvoluntary_ctxt_switches:");
		CHECK(line);
		count += strtoul(strchr(line, ':') + 1, NULL, 10);
		threads++;
	}
	closedir(dir);
	CHECK(threads);
	return count;
}

/* ---- A service --------------------------------------------------------------------------------------------------- */

static int tell[2], go[2]; /* from the service, and to it */

static void say_ready(void)
{
	CHECK(write(tell[1], "", 1) == 1);
}

static void wait_ready(void)
{
	char byte;
	CHECK(read(tell[0], &byte, 1) == 1);
}

static void wait_go(void)
{
	char byte;
	CHECK(read(go[0], &byte, 1) == 1);
}

static void say_go(void)
{
	CHECK(write(go[1], "", 1) == 1);
}

static _Noreturn void sleep_on(void)
{
	for (;;)
		pause();
}

/* A process with a large heap that runs THEN, having said so; it comes back here in this one. */
static pid_t serve(void (*then)(void))
{
	pid_t pid = begin();
	if (pid == 0) {
		fill(HEAP);
		settle();
		say_ready();
		then();
		exit(STATUS);
	}
	wait_ready();
	return pid;
}

static void kill_it(pid_t pid, const char *what)
{
	CHECK(kill(pid, SIGKILL) == 0);
	int status = check_wait(pid);
	CHECK_SAY(status == SIGKILL, "%s: wait status %#x", what, (unsigned)status);
}

static void expect_helpers(size_t wanted, const char *what)
{
	size_t found = helpers(what);
	CHECK_SAY(found == wanted, "%s: %s: %zu helpers", conf, what, found);
}

/* ---- Ways to end ------------------------------------------------------------------------------------------------- */

static void by_kill(void)
{
	raise(SIGKILL);
}

static void by_term(void)
{
	raise(SIGTERM);
}

static void by_fault(void)
{
	static void *volatile nowhere;
	*(volatile char *)nowhere = 0;
}

static void by_exit(void)
{
	exit(STATUS);
}

/* The helper has done the work, which is seen by the time that it has used. */
static void ends(void (*how)(void), int status, const char *what)
{
	pid_t pid = begin(), helper;
	if (pid == 0) {
		fill(128 * MIB);
		settle();
		say_ready();
		wait_go();
		how();
		_exit(1);
	}
	wait_ready();
	await_resident(what);
	say_go();
	int got = check_wait(pid);
	CHECK_SAY(got == status, "%s: wait status %#x", what, (unsigned)got);
	struct rusage usage;
	for (int waited = 0; (helper = wait4(-1, NULL, __WALL | WNOHANG, &usage)) == 0; waited++) {
		CHECK_SAY(waited < WAIT_MS, "%s: a helper is left", what);
		proc_sleep_ms(1);
	}
	CHECK_SAY(helper > 0, "%s: no helper", what);
	/* Where no tick of the clock has met it, all of it counts as the user's. */
	long us = (usage.ru_stime.tv_sec + usage.ru_utime.tv_sec) * 1000000 + usage.ru_stime.tv_usec +
		  usage.ru_utime.tv_usec;
	CHECK_SAY(us > 1000, "%s: the helper has worked for %ld us", what, us);
	expect_helpers(0, what);
}

/* ---- What it is while it waits ----------------------------------------------------------------------------------- */

static char place[] = "/tmp/t_exit_armed.XXXXXX";

static int open_file(void)
{
	char name[64];
	snprintf(name, sizeof name, "%s/file", place);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	return fd;
}

/* Nothing that it waits for is its own, so that "no child" must be the answer. */
static void look_around(void)
{
	CHECK_SAY(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, "the resident is a child");
	say_ready();
	sleep_on();
}

/* It may not yet have come to its turn to fall asleep; but who wakes by himself does it again. */
static void expect_asleep(pid_t helper)
{
	size_t before, after = count_wakes(helper);
	for (int i = 0; i < 8; i++) {
		before = after;
		proc_sleep_ms(ASLEEP_MS);
		after = count_wakes(helper);
		if (before == after)
			return;
	}
	CHECK_SAY(before == after, "the resident was awake %zu times", after - before);
}

static void waits(void)
{
	char text[4096];
	int fd = open_file();
	pid_t pid = serve(look_around);
	wait_ready();
	pid_t helper = await_resident("waits");
	CHECK(count_descriptors(helper, place) <= 3); /* what it waits on */
	CHECK(getsid(helper) != getsid(pid) && getpgid(helper) != getpgid(pid));
	CHECK(read_proc(helper, "status", text, sizeof text));
	CHECK_SAY(strstr(text, "SigBlk:\tfffffffffffbfeff"), "not all signals are blocked in the resident");
	expect_asleep(helper);
	kill(helper, SIGTERM); /* as whoever stops a service by its cgroup does */
	kill_it(pid, "waits");
	expect_helpers(1, "waits");
	close(fd);
}

/* What it costs in memory of the program; that of the kernel is not seen from here. */
static void costs(void)
{
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(pmd_option_set("handoff", "off") == 0);
		fill(HEAP);
		CHECK(proc_kb("RssAnon:") && proc_pte_kb());
		size_t before = proc_kb("RssAnon:") + proc_pte_kb();
		CHECK(pmd_option_set("handoff", "armed") == 0);
		settle();
		size_t after = proc_kb("RssAnon:") + proc_pte_kb();
		CHECK_SAY(after <= before + 64, "arming takes %zu kB", after - before);
		exit(STATUS);
	}
	expect_end(pid, "costs");
	expect_helpers(1, "costs");
}

/* ---- Another program --------------------------------------------------------------------------------------------- */

static bool has_child;

static void run_other(void)
{
	char *const args[] = {self, has_child ? word_has_child : word_wait, NULL};
	CHECK(dup2(tell[1], 1) == 1 && dup2(go[0], 0) == 0);
	execv(self, args);
	CHECK(!"execv");
}

/* The program that it is replaced by: nobody is its child, and nobody becomes one. */
static void be_other(bool alone)
{
	char byte;
	CHECK(write(1, "", 1) == 1 && read(0, &byte, 1) == 1);
	if (alone)
		CHECK_SAY(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, "a new program has a child");
}

static void *run_in_thread(void *unused)
{
	run_other();
	return unused;
}

static void run_by_thread(void)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, run_in_thread, NULL) == 0);
	sleep_on();
}

/* A child of which the C library knows nothing has copies of all that the parent had. */
static void run_beside_child(void)
{
	int begun[2];
	char byte;
	CHECK(pipe2(begun, O_CLOEXEC) == 0);
	long child = syscall(SYS_fork);
	CHECK(child >= 0);
	if (child == 0) {
		check_child(60);
		CHECK(write(begun[1], "", 1) == 1);
		sleep_on();
	}
	CHECK(read(begun[0], &byte, 1) == 1);
	has_child = true;
	run_other();
}

static void execs(void (*how)(void), const char *what)
{
	pid_t pid = serve(how);
	wait_ready();
	expect_resident_gone(what);
	say_go();
	int status = check_wait(pid);
	CHECK_SAY(status == STATUS << 8, "%s: wait status %#x", what, (unsigned)status);
	helpers(what);
}

/* ---- Forked children --------------------------------------------------------------------------------------------- */

static bool requests;

/* Ends by SIGKILL: only a resident helper can be there then. */
static void be_child(void)
{
	if (requests)
		CHECK(pmd_option_set("handoff", "armed") == 0);
	fill(HEAP);
	settle();
	raise(SIGKILL);
}

static void forks(bool on, bool request, size_t wanted)
{
	char what[64];
	snprintf(what, sizeof what, "a child, handoff_fork:%s%s", on ? "on" : "off", request ? ", request" : "");
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(pmd_option_set("handoff_fork", on ? "on" : "off") == 0);
		CHECK(pmd_option_set("handoff", "off") == 0);
		fill(HEAP);
		CHECK(pmd_option_set("handoff", "armed") == 0);
		settle();
		pid_t child = begin();
		requests = request;
		if (child == 0)
			be_child();
		CHECK(check_wait(child) == SIGKILL);
		raise(SIGKILL);
	}
	CHECK(check_wait(pid) == SIGKILL);
	expect_helpers(wanted, what);
}

/* ---- When it is gone, and what then ------------------------------------------------------------------------------ */

static void end_when_told(void)
{
	wait_go();
}

/* As with handoff:auto. */
static void is_killed(void)
{
	pid_t pid = serve(end_when_told), helper = await_resident("a killed resident");
	CHECK(kill(helper, SIGKILL) == 0);
	CHECK(check_wait(helper) == SIGKILL);
	say_go();
	expect_end(pid, "a killed resident");
	expect_helpers(1, "a killed resident");
}

static void *go_on(void *unused)
{
	proc_sleep_ms(100);
	say_ready();
	wait_go();
	fill(16 * HEAP);
	settle();
	say_ready();
	sleep_on();
	return unused;
}

static void end_first_thread(void)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, go_on, NULL) == 0);
	pthread_exit(NULL);
}

/* The thread that it goes by ends: it leaves. When the heap has grown there is another one. */
static void loses_thread(void)
{
	pid_t pid = serve(end_first_thread);
	wait_ready();
	expect_resident_gone("the first thread ends");
	CHECK(waitpid(pid, NULL, WNOHANG) == 0);
	say_go();
	wait_ready();
	await_resident("growth after the first thread's end");
	kill_it(pid, "the first thread ends");
	expect_helpers(2, "the first thread ends");
}

static void grow_too_large(void)
{
	CHECK(pmd_option_set("handoff_max", "8M") == 0);
	wait_go();
	fill(4 * HEAP);
	say_ready();
	raise(SIGKILL);
}

static void is_too_large(void)
{
	pid_t pid = serve(grow_too_large);
	await_resident("handoff_max");
	say_go();
	wait_ready();
	CHECK(check_wait(pid) == SIGKILL);
	expect_helpers(1, "handoff_max");
}

static void turn_off(void)
{
	CHECK(pmd_option_set("handoff", "off") == 0);
	say_ready();
	sleep_on();
}

static void turns_off(void)
{
	pid_t pid = serve(turn_off);
	wait_ready();
	expect_resident_gone("handoff:off");
	kill_it(pid, "handoff:off");
	expect_helpers(1, "handoff:off");
}

/* What has come since may not stay longer than the process. */
static void map_file(void)
{
	int fd = open_file();
	CHECK(flock(fd, LOCK_EX | LOCK_NB) == 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
	say_ready();
	wait_go();
}

static void maps(bool killed)
{
	int fd = open_file();
	pid_t pid = serve(map_file);
	wait_ready();
	CHECK(flock(fd, LOCK_EX | LOCK_NB) < 0);
	if (killed) {
		kill_it(pid, "maps");
		for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB); waited++) {
			CHECK_SAY(waited < WAIT_MS, "a lock is held by the resident");
			proc_sleep_ms(1);
		}
	} else {
		say_go();
		expect_end(pid, "maps");
		CHECK_SAY(flock(fd, LOCK_EX | LOCK_NB) == 0, "a lock is still held");
	}
	close(fd);
	expect_helpers(1, "maps");
}

static void adopt(void)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	fill(HEAP);
	CHECK(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
	raise(SIGKILL);
}

/* Who adopts orphans would find one more. */
static void adopts(void)
{
	pid_t pid = begin();
	if (pid == 0)
		adopt();
	CHECK(check_wait(pid) == SIGKILL);
	expect_helpers(0, "a process that adopts orphans");
}

/* The namespace has its first process only with the first child, which is the program's. */
static void be_near(void)
{
	if (unshare(CLONE_NEWPID))
		exit(EXIT_SKIP);
	fill(HEAP);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(getpid() == 1 ? 0 : 1);
	CHECK_SAY(check_wait(child) == 0, "the helper was the first process of the program's namespace");
	raise(SIGKILL);
}

static void keeps_away(void)
{
	pid_t pid = begin();
	if (pid == 0)
		be_near();
	int status = check_wait(pid);
	CHECK_SAY(status == SIGKILL || status == EXIT_SKIP << 8, "wait status %#x", (unsigned)status);
	expect_helpers(0, "children in another namespace");
}

#ifndef PMD_PREFIXED
/* The rest is what only the library that has the standard names can see. */
static void drop_rights(void)
{
	wait_go();
	CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	settle();
	say_ready();
	sleep_on();
}

static void drops_rights(void)
{
	char text[4096];
	if (geteuid() != 0)
		return;
	pid_t pid = serve(drop_rights), before = await_resident("rights");
	say_go();
	wait_ready();
	pid_t after = await_resident("other rights");
	CHECK_SAY(after != before, "the resident is still as it was");
	CHECK(read_proc(after, "status", text, sizeof text) && strstr(text, "\nUid:\t65534\t65534\t65534\t65534\n"));
	kill_it(pid, "rights");
	helpers("rights");
}

/* Any thread of PROCESS but its first. */
static pid_t other_thread(pid_t process)
{
	char path[64];
	pid_t found = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)process);
	DIR *dir = opendir(path);
	CHECK(dir);
	for (struct dirent *e; !found && (e = readdir(dir));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != process)
			found = atoi(e->d_name);
	closedir(dir);
	return found;
}

static int next_stop(pid_t thread, int how)
{
	int status;
	CHECK(ptrace(how, thread, NULL, NULL) == 0);
	CHECK(waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status));
	return status >> 8;
}

enum { STOP_EXIT = SIGTRAP | PTRACE_EVENT_EXIT << 8 };

/* It has told the other thread to end the process, and is kept from ending itself, whoever of them is first. */
static void hold_back(pid_t thread)
{
	struct __ptrace_syscall_info info = {.op = 0};
	uint64_t number = 0;
	int status;
	while (info.op != PTRACE_SYSCALL_INFO_EXIT || number != SYS_close) {
		if (next_stop(thread, PTRACE_SYSCALL) == STOP_EXIT)
			return;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) < 0)
			break; /* it has just been killed, and will stop again */
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
			number = info.entry.nr;
	}
	CHECK(waitpid(thread, &status, __WALL) == thread && status >> 8 == STOP_EXIT);
}

/* The resident's second thread is the last of it to go, long after the first: the next one waits for that. */
static void drops_rights_slowly(void)
{
	if (geteuid() != 0)
		return;
	pid_t pid = serve(drop_rights), before = await_resident("slow rights"), slow;
	while (!(slow = other_thread(before)))
		proc_sleep_ms(1);
	bool traced = !ptrace(PTRACE_SEIZE, slow, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD);
	if (traced)
		next_stop(slow, PTRACE_INTERRUPT);
	say_go();
	if (traced) {
		hold_back(slow);
		proc_sleep_ms(300);
		CHECK(ptrace(PTRACE_DETACH, slow, NULL, NULL) == 0);
	}
	wait_ready();
	await_resident("other rights, late");
	kill_it(pid, "slow rights");
	helpers("slow rights");
}

static void enter_sandbox(void)
{
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	fill(4 * HEAP);
	say_ready();
	sleep_on();
}

static void sandboxes(void)
{
	pid_t pid = serve(enter_sandbox);
	wait_ready();
	expect_resident_gone("a sandbox");
	kill_it(pid, "a sandbox");
	expect_helpers(1, "a sandbox");
}
#else
static void drops_rights(void)
{
}

static void drops_rights_slowly(void)
{
}

static void sandboxes(void)
{
}
#endif

/* The parent's is not touched by what a vfork child does. */
static void vfork_once(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(0);
	CHECK(check_wait(pid) == 0);
}

static void vfork_some(void)
{
	for (int i = 0; i < 3; i++)
		vfork_once();
	say_ready();
	sleep_on();
}

static void vforks(void)
{
	pid_t pid = serve(vfork_some), before = await_resident("vfork");
	wait_ready();
	CHECK(before == find_resident());
	kill_it(pid, "vfork");
	expect_helpers(1, "vfork");
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	if (argc > 1 && (strcmp(argv[1], word_wait) == 0 || strcmp(argv[1], word_has_child) == 0)) {
		be_other(argv[1][0] == word_wait[0]);
		return STATUS;
	}
	conf = VARIANTS(argc, argv, "handoff:armed,handoff_fork:on,handoff_min:1M,handoff_despite:load,thp:never");
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	CHECK(pipe2(tell, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0 && mkdtemp(place));
	ends(by_kill, SIGKILL, "SIGKILL");
	ends(by_term, SIGTERM, "SIGTERM");
	ends(abort, SIGABRT, "abort");
	ends(by_fault, SIGSEGV, "a segmentation fault");
	ends(by_exit, STATUS << 8, "exit");
	waits();
	costs();
	execs(run_other, "exec");
	execs(run_by_thread, "exec by a thread");
	execs(run_beside_child, "exec beside a child");
	forks(true, false, 2);
	forks(false, false, 1);
	forks(false, true, 2);
	is_killed();
	loses_thread();
	is_too_large();
	turns_off();
	maps(true);
	maps(false);
	adopts();
	keeps_away();
	drops_rights();
	drops_rights_slowly();
	sandboxes();
	vforks();
	char name[64];
	snprintf(name, sizeof name, "%s/file", place);
	unlink(name);
	rmdir(place);
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}

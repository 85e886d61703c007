/* SPDX-License-Identifier: MIT */
/*
 * What must be as without a handoff, looked at while the process has ended and its helper, which is stopped, is certainly
 * still there: the terminal and its jobs, locks, semaphores, queues, ports and pipes, resource usage; what the OOM killer
 * would choose; what is in a core; and what a first process that waits for its own children only is left with.
 */
#include "exits.h"
#include "inject.h"
#include "late.h"
#include "variants.h"

#include "os/syscall.h"

#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>

enum { HEAP = 8 * 1024 * 1024, SOON_MS = 20000, ORPHANS = 3, NICE = 10 };

static bool is_auto;
/* A directory of each process of the test, in one that goes with all that is in it, however the test ends. */
static const char folder_name[] = "T_EXIT_SAME_FOLDER";
static char place[64];

static void make_place(void)
{
	snprintf(place, sizeof place, "%s/XXXXXX", getenv(folder_name));
	CHECK(mkdtemp(place));
}

/* ---- A process that ends, and its helper -------------------------------------------------------------------------- */

static _Noreturn void end(void)
{
	fill(HEAP);
	late = is_auto ? stop_helper : NULL;
	exit(STATUS);
}

/* The helper that was left to this program, stopped; 0 where there is no handoff. */
static pid_t left_helper(const char *what)
{
	pid_t helper = helper_of(getpid());
	CHECK_SAY(is_auto ? helper && state_of(helper) == 'T' : !helper, "%s: %s: process %d", conf, what, (int)helper);
	return helper;
}

static void let_go(pid_t helper, const char *what)
{
	if (helper)
		CHECK(kill(helper, SIGCONT) == 0);
	size_t found = helpers(what);
	CHECK_SAY(found == (helper != 0), "%s: %s: %zu helpers", conf, what, found);
}

static void wait_for(bool (*done)(void), const char *what)
{
	for (int waited = 0; !done(); waited++) {
		CHECK_SAY(waited < SOON_MS, "%s: waited in vain for %s", conf, what);
		proc_sleep_ms(1);
	}
}

/* ---- The terminal ------------------------------------------------------------------------------------------------- */

static int terminal;

static int open_terminal(char *name, size_t room)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, room) == 0);
	return master;
}

/* What a shell does with a job in the foreground that is stopped, goes on, and ends. */
static void run_job(void)
{
	signal(SIGTTOU, SIG_IGN);
	pid_t job = begin();
	int status;
	if (job == 0) {
		CHECK(setpgid(0, 0) == 0 && tcsetpgrp(terminal, getpid()) == 0);
		signal(SIGTTOU, SIG_DFL);
		raise(SIGTSTP);
		end();
	}
	CHECK(waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
	CHECK(kill(-job, SIGCONT) == 0);
	CHECK(waitpid(job, &status, WCONTINUED) == job && WIFCONTINUED(status));
	expect_end(job, "a job");
	CHECK_SAY(kill(-job, 0) < 0 && errno == ESRCH, "%s: somebody is left in the job", conf);
	CHECK(tcsetpgrp(terminal, getpgrp()) == 0 && tcgetpgrp(terminal) == getpgrp());
}

static volatile sig_atomic_t hung_up;

static void count_hangup(int signal)
{
	(void)signal;
	hung_up++;
}

static bool is_hung_up(void)
{
	return hung_up;
}

/* The leader of a session ends: its terminal hangs up, of which those in the foreground are told. */
static void lead(void)
{
	int ready[2];
	char byte;
	CHECK(pipe(ready) == 0);
	pid_t other = fork();
	CHECK(other >= 0);
	if (other == 0) {
		check_time_limit(60);
		signal(SIGHUP, count_hangup);
		CHECK(write(ready[1], "", 1) == 1);
		wait_for(is_hung_up, "SIGHUP");
		CHECK(pmd_option_set("handoff", "off") == 0);
		_exit(STATUS);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	end();
}

static pid_t begin_session(const char *name)
{
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(setsid() == getpid());
		terminal = open(name, O_RDWR);
		CHECK(terminal >= 0 && ioctl(terminal, TIOCSCTTY, 0) == 0 && tcgetpgrp(terminal) == getpid());
	}
	return pid;
}

static void terminals(void)
{
	char name[64], byte;
	int master = open_terminal(name, sizeof name);
	pid_t pid = begin_session(name);
	if (pid == 0) {
		run_job();
		CHECK(pmd_option_set("handoff", "off") == 0);
		_exit(STATUS);
	}
	expect_end(pid, "a shell");
	let_go(left_helper("a shell"), "a shell");
	pid = begin_session(name);
	if (pid == 0)
		lead();
	expect_end(pid, "the leader of a session");
	/* Of the two orphans the other one ends by itself; the terminal is no session's, and nobody has it open then. */
	int status;
	pid_t other;
	do
		other = waitpid(-1, &status, 0);
	while (other < 0 && errno == EINTR);
	CHECK_SAY(other > 0 && status == STATUS << 8, "%s: SIGHUP: %#x", conf, (unsigned)status);
	CHECK_SAY(read(master, &byte, 1) < 0 && errno == EIO, "%s: somebody has the terminal open", conf);
	pid_t helper = left_helper("the leader of a session");
	pid = begin_session(name);
	if (pid == 0) {
		CHECK(pmd_option_set("handoff", "off") == 0);
		_exit(STATUS);
	}
	CHECK_SAY(check_wait(pid) == STATUS << 8, "%s: no other session can have the terminal", conf);
	close(master);
	let_go(helper, "the leader of a session");
}

/* ---- What others wait for ----------------------------------------------------------------------------------------- */

static int open_in_place(const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", place, name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	return fd;
}

static int listen_at(struct sockaddr_in *address)
{
	socklen_t length = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK_SAY(!bind(fd, (struct sockaddr *)address, length) && !listen(fd, 5) &&
			  !getsockname(fd, (struct sockaddr *)address, &length),
		  "%s: the port is not free", conf);
	return fd;
}

static char queue_name[64];

static mqd_t open_queue(void)
{
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 1};
	return mq_open(queue_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attributes);
}

static int notify(mqd_t queue)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGURG};
	return mq_notify(queue, &event);
}

struct held {
	int ends[2], semaphore;
	struct sockaddr_in address;
	mqd_t queue;
};

static void hold_and_end(struct held *h)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct sembuf down = {.sem_op = -1, .sem_flg = SEM_UNDO | IPC_NOWAIT};
	int port = listen_at(&h->address), owned = open_in_place("ofd");
	CHECK(port >= 0 && write(h->ends[1], &h->address, sizeof h->address) == sizeof h->address);
	CHECK(flock(open_in_place("flock"), LOCK_EX | LOCK_NB) == 0);
	CHECK(fcntl(open_in_place("fcntl"), F_SETLK, &all) == 0);
	CHECK(lockf(open_in_place("lockf"), F_TLOCK, 0) == 0);
	CHECK(fcntl(owned, F_OFD_SETLK, &all) == 0);
	CHECK(h->semaphore < 0 || semop(h->semaphore, &down, 1) == 0);
	CHECK(h->queue == (mqd_t)-1 || notify(h->queue) == 0);
	end();
}

static void expect_free(struct held *h)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fds[] = {open_in_place("flock"), open_in_place("fcntl"), open_in_place("lockf"), open_in_place("ofd")};
	char byte;
	CHECK_SAY(flock(fds[0], LOCK_EX | LOCK_NB) == 0, "%s: flock is held", conf);
	CHECK_SAY(fcntl(fds[1], F_SETLK, &all) == 0, "%s: fcntl's lock is held", conf);
	CHECK_SAY(lockf(fds[2], F_TLOCK, 0) == 0, "%s: lockf's lock is held", conf);
	CHECK_SAY(fcntl(fds[3], F_OFD_SETLK, &all) == 0, "%s: an OFD lock is held", conf);
	CHECK_SAY(read(h->ends[0], &byte, 1) == 0, "%s: a pipe is open", conf);
	CHECK_SAY(h->semaphore < 0 || semctl(h->semaphore, 0, GETVAL) == 1, "%s: SEM_UNDO is not done", conf);
	CHECK_SAY(h->queue == (mqd_t)-1 || notify(h->queue) == 0, "%s: a queue's notification is taken", conf);
	close(listen_at(&h->address));
	for (size_t i = 0; i < LENGTH(fds); i++)
		close(fds[i]);
}

static void holdings(void)
{
	struct held h = {.address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	CHECK(pipe(h.ends) == 0);
	h.semaphore = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	CHECK(h.semaphore < 0 || semctl(h.semaphore, 0, SETVAL, 1) == 0);
	snprintf(queue_name, sizeof queue_name, "/pmdalloc-t_exit_same-%d", (int)getpid());
	h.queue = open_queue();
	pid_t pid = begin();
	if (pid == 0)
		hold_and_end(&h);
	close(h.ends[1]);
	CHECK(read(h.ends[0], &h.address, sizeof h.address) == sizeof h.address);
	expect_end(pid, "holdings");
	pid_t helper = left_helper("holdings");
	expect_free(&h);
	close(h.ends[0]);
	if (h.semaphore >= 0)
		semctl(h.semaphore, 0, IPC_RMID);
	if (h.queue != (mqd_t)-1) {
		mq_close(h.queue);
		mq_unlink(queue_name);
	}
	let_go(helper, "holdings");
}

/* ---- Resource usage ----------------------------------------------------------------------------------------------- */

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* All but the time of the teardown, which is the helper's. */
static void usage(void)
{
	struct rusage of_child, before, after;
	CHECK(getrusage(RUSAGE_CHILDREN, &before) == 0);
	int status;
	pid_t pid = begin();
	if (pid == 0)
		end();
	CHECK(wait4(pid, &status, 0, &of_child) == pid && status == STATUS << 8);
	CHECK(getrusage(RUSAGE_CHILDREN, &after) == 0);
	CHECK_SAY(of_child.ru_maxrss >= HEAP / 1024, "%s: ru_maxrss %ld", conf, of_child.ru_maxrss);
	CHECK_SAY(of_child.ru_minflt >= HEAP / 4096, "%s: ru_minflt %ld", conf, of_child.ru_minflt);
	CHECK_SAY(seconds(of_child.ru_stime) + seconds(of_child.ru_utime) > 0, "%s: no time", conf);
	CHECK_SAY(after.ru_minflt - before.ru_minflt == of_child.ru_minflt, "%s: children's ru_minflt", conf);
	CHECK_SAY(after.ru_maxrss >= of_child.ru_maxrss, "%s: children's ru_maxrss", conf);
	let_go(left_helper("usage"), "usage");
}

/* ---- While memory is given back ----------------------------------------------------------------------------------- */

static void read_of(pid_t pid, const char *name, char *text, size_t room)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	ssize_t n = read(fd, text, room - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
}

/* Runs in the helper, which uses no thread-local variable. */
static bool stop_myself(const long args[6])
{
	(void)args;
	os_syscall_kernel(SYS_kill, os_syscall_kernel(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGSTOP, 0, 0, 0, 0);
	return false;
}

static bool is_stopped(void)
{
	pid_t helper = helper_of(getpid());
	return helper && state_of(helper) == 'T';
}

/* When memory is short it is the helper that the kernel ends, as long as it has any; and it is in nobody's way. */
static void oom(void)
{
	char text[64];
	if (!is_auto)
		return;
	pid_t pid = begin();
	if (pid == 0) {
		fill(HEAP);
		inject_add((struct inject_rule){.nr = SYS_madvise, .match = stop_myself});
		exit(STATUS);
	}
	expect_end(pid, "oom");
	wait_for(is_stopped, "a helper that drops the heap");
	pid_t helper = helper_of(getpid());
	read_of(helper, "oom_score_adj", text, sizeof text);
	CHECK_SAY(strcmp(text, "1000\n") == 0, "oom_score_adj of the helper is %s", text);
	read_of(helper, "comm", text, sizeof text);
	CHECK(strcmp(text, "pmdalloc-exit\n") == 0);
	CHECK_SAY(getpriority(PRIO_PROCESS, (id_t)helper) == NICE, "nice value of the helper");
	for (int waited = 0; waitpid(helper, NULL, WNOHANG) == 0; waited++) { /* it stops again for each piece */
		CHECK(waited < SOON_MS);
		kill(helper, SIGCONT);
		proc_sleep_ms(1);
	}
	CHECK(helpers("oom") == 0);
}

/* ---- Cores -------------------------------------------------------------------------------------------------------- */

enum { THREADS = 3 };

static const char secret[] = "what the core holds";
static pthread_barrier_t started;

static void *stay(void *unused)
{
	pthread_barrier_wait(&started);
	for (;;)
		pause();
	return unused;
}

static void abort_beside_helper(void)
{
	CHECK(!is_auto || helper_of(getpid()));
	abort();
}

/* Ends by abort, with a helper beside it, in `place`. Tells where the text is. */
static void abort_with_threads(int out)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	pthread_t thread;
	char *text;
	if (setrlimit(RLIMIT_CORE, &all) || chdir(place)) {
		CHECK(pmd_option_set("handoff", "off") == 0);
		_exit(EXIT_SKIP);
	}
	pthread_barrier_init(&started, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&thread, NULL, stay, NULL) == 0);
	pthread_barrier_wait(&started);
	fill(HEAP);
	text = t_malloc(sizeof secret);
	memcpy(text, secret, sizeof secret);
	CHECK(write(out, &text, sizeof text) == sizeof text);
	late = abort_beside_helper;
	exit(STATUS);
}

/* What gdb says of the core; false: it cannot be had here. */
static bool ask_debugger(const char *core, const char *text, char *said, size_t room)
{
	char command[512];
	size_t length = 0;
	snprintf(command, sizeof command,
		 "command -v gdb >/dev/null && gdb -q -nx -batch -ex 'info threads' -ex 'x/s %p' /proc/%d/exe %s 2>&1",
		 (const void *)text, (int)getpid(), core);
	FILE *debugger = popen(command, "re");
	CHECK(debugger);
	while (length < room - 1) {
		size_t n = fread(said + length, 1, room - 1 - length, debugger);
		length += n;
		if (!n)
			break;
	}
	said[length] = 0;
	return pclose(debugger) == 0;
}

static size_t count_of(const char *text, const char *word)
{
	size_t count = 0;
	for (const char *s = text; (s = strstr(s, word)); s++)
		count++;
	return count;
}

static void cores(void)
{
	static char said[64 << 10];
	char core[128], *text;
	int fds[2];
	CHECK(pipe(fds) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_time_limit(60);
		abort_with_threads(fds[1]);
	}
	int status = check_wait(pid);
	if (status == EXIT_SKIP << 8) {
		check_say("%s: no core is allowed here\n", conf);
		close(fds[0]);
		close(fds[1]);
		return;
	}
	CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: %#x", conf, (unsigned)status);
	CHECK(read(fds[0], &text, sizeof text) == sizeof text);
	close(fds[0]);
	close(fds[1]);
	helpers("a core");
	snprintf(core, sizeof core, "%s/core", place);
	if (access(core, R_OK))
		snprintf(core, sizeof core, "%s/core.%d", place, (int)pid);
	if (access(core, R_OK)) {
		check_say("%s: no core is written here\n", conf);
		return;
	}
	CHECK(WCOREDUMP(status));
	if (ask_debugger(core, text, said, sizeof said)) {
		CHECK_SAY(strstr(said, secret), "%s: the text is not in the core", conf);
		CHECK_SAY(count_of(said, "LWP ") - count_of(said, "[New LWP ") >= THREADS + 1,
			  "%s: not all threads are in the core", conf);
	} else {
		check_say("%s: no gdb, or it cannot read the core\n", conf);
	}
	unlink(core);
}

/* In the first process, as in those that it starts no core is allowed. */
static void all_cores(void)
{
	CHECK(pmd_option_set("handoff_min", "1M") == 0 && pmd_option_set("handoff_despite", "load") == 0);
	make_place();
	for (int off = 0; off < 2; off++) {
		is_auto = !off;
		conf = off ? "off" : "auto";
		CHECK(pmd_option_set("handoff", conf) == 0);
		cores();
	}
}

/* ---- A first process that reaps its own children only --------------------------------------------------------------- */

/* How many zombies are left when all that were left to the calling process have ended. */
static size_t zombies(void)
{
	size_t count = 0;
	siginfo_t info;
	while (waitid(P_ALL, 0, &info, WEXITED) == 0)
		count++;
	return count;
}

static void be_first(bool ignores)
{
	if (ignores)
		signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < ORPHANS; i++) {
		pid_t pid = begin();
		int status;
		if (pid == 0) {
			fill(HEAP);
			exit(STATUS);
		}
		CHECK(ignores || (waitpid(pid, &status, 0) == pid && status == STATUS << 8));
	}
	size_t found = zombies();
	CHECK_SAY(found == (is_auto && !ignores ? ORPHANS : 0), "%s: %zu zombies", conf, found);
	CHECK(pmd_option_set("handoff", "off") == 0);
	_exit(STATUS);
}

static void first_processes(void)
{
	for (int ignores = 0; ignores < 2; ignores++) {
		pid_t pid = begin();
		if (pid == 0) {
			CHECK(pmd_option_set("handoff", "off") == 0);
			if (unshare(CLONE_NEWPID))
				_exit(STATUS);
			CHECK(pmd_option_set("handoff", is_auto ? "auto" : "off") == 0);
			pid_t first = begin();
			if (first == 0)
				be_first(ignores);
			int status = check_wait(first);
			CHECK(pmd_option_set("handoff", "off") == 0);
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
		}
		expect_end(pid, "a first process");
	}
}

static void run(int argc, char **argv)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	if (argc == 1)
		all_cores();
	conf = VARIANTS(argc, argv, "handoff_min:1M,handoff_despite:load,thp:never",
			"handoff_min:1M,handoff:off,thp:never");
	is_auto = !strstr(conf, "handoff:off");
	make_place();
	terminals();
	holdings();
	usage();
	oom();
	first_processes();
	CHECK(pmd_option_set("handoff", "off") == 0);
}

static void remove_folder(const char *folder)
{
	pid_t pid = fork();
	if (pid == 0) {
		unsetenv("LD_PRELOAD");
		execlp("rm", "rm", "-rf", folder, NULL);
		_exit(127);
	}
	CHECK(pid > 0 && check_wait(pid) == 0);
}

/* The first process only waits for the test, and cleans up. */
int main(int argc, char **argv)
{
	char folder[] = "/tmp/t_exit_same.XXXXXX";
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	if (argc > 1) {
		run(argc, argv);
		return 0;
	}
	check_time_limit(CHECK_SECONDS + 60);
	CHECK(mkdtemp(folder) && setenv(folder_name, folder, 1) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CHECK_SECONDS);
		run(argc, argv);
	}
	int status = check_wait(pid);
	remove_folder(folder);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

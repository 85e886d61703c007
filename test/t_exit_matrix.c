/* SPDX-License-Identifier: MIT */
/*
 * Every way to end, alone and with 100 threads that allocate, under each circumstance that makes it difficult, in each
 * mode of handoff: the exit status is right, nothing hangs, and no helper is left five seconds later. Where a handoff is to
 * be expected there is one, and where it must not be there is none: this program adopts orphans, so it sees the helpers.
 */
#include "variants.h"
#include "ways.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

enum { HEAP = 4 * 1024 * 1024, FILES = 10000 };

#define NOBODY 65534

/* The prefixed library does not see its program enter a sandbox, in which a background thread is not to be started. */
#ifdef PMD_PREFIXED
#define CONF "handoff_min:1M,handoff_despite:load,background:off"
#else
#define CONF "handoff_min:1M,handoff_despite:load"
#endif

/* A process under test, all of which is known when it is forked, or told to it by its arguments. */
static bool is_auto, is_armed;

/* ---- Ways to end ------------------------------------------------------------------------------------------------- */

static char *blocks[HEAP / BLOCK];

static void fill_blocks(void)
{
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		blocks[i] = t_malloc(BLOCK);
		CHECK(blocks[i]);
		memset(blocks[i], (int)i + 1, BLOCK);
	}
}

static void verify(void)
{
	for (size_t i = 0; i < LENGTH(blocks); i++)
		for (size_t at = 0; at < BLOCK; at += 512)
			CHECK(blocks[i][at] == (char)(i + 1));
}

/* What a handoff is replaced by in the prefixed library, which defines neither _exit nor syscall. */
static bool way_is_ours(void)
{
#ifdef PMD_PREFIXED
	return way->end != end_by_exit_now && way->end != end_by_other_name && way->end != end_by_number;
#else
	return true;
#endif
}

/* ---- Circumstances ----------------------------------------------------------------------------------------------- */

static void start(void)
{
	fill_blocks();
	gather();
	settle();
}

static void plain(void)
{
	start();
	end();
}

/* For processes in between, whose own end is not what is tested. */
static _Noreturn void end_between(int status)
{
	CHECK(pmd_option_set("handoff", "off") == 0);
	_exit(status);
}

/* Ends as the process PID did, which is told to whoever waits for this one; a core of this one helps nobody. */
static _Noreturn void end_like(pid_t pid)
{
	int status = check_wait(pid);
	const struct rlimit none = {0, 0};
	if (WIFEXITED(status))
		end_between(WEXITSTATUS(status));
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	end_between(99);
}

static void in_fork_child(void)
{
	start();
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid)
		end_like(pid);
	check_child(60);
	gather();
	verify();
	end();
}

/* The child shares all memory, and ends while this process goes on. */
static void with_vfork_child(void)
{
	start();
	for (int i = 0; i < 3; i++) {
		pid_t pid = vfork();
		if (pid == 0)
			_exit(STATUS + 1);
		CHECK(check_wait(pid) == (STATUS + 1) << 8);
	}
	verify();
	end();
}

static char self[] = "/proc/self/exe", word_again[] = "again", word_crowded[] = "crowded", word_alone[] = "alone";

static void after_exec(void)
{
	char number[8];
	char *const args[] = {self, word_again, number, crowded ? word_crowded : word_alone, NULL};
	start();
	snprintf(number, sizeof number, "%d", (int)(way - ways));
	execv(self, args);
	CHECK(!"execv");
}

static void as_first_process(void)
{
	if (unshare(CLONE_NEWPID) && (unshare(CLONE_NEWUSER) || unshare(CLONE_NEWPID)))
		end_between(EXIT_SKIP);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid)
		end_like(pid);
	/* The kernel does not let it die of signals of its own. */
	if (getpid() != 1 || !way->hands_off)
		end_between(EXIT_SKIP);
	check_time_limit(60);
	plain();
}

/* Its children belong to another pid namespace, and are no threads; those of its other threads do not. */
static void beside_namespace(void)
{
	start();
	if (way->starts_thread || way->end == end_with_threads || unshare(CLONE_NEWPID))
		end_between(EXIT_SKIP);
	end();
}

static void forbid_clone(void)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {LENGTH(code), code};
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
		end_between(EXIT_SKIP);
}

static void in_sandbox(void)
{
	start();
	if (way->starts_thread)
		end_between(EXIT_SKIP);
	forbid_clone();
	end();
}

/* Where the library has not seen how it came into the sandbox. */
static void exec_in_sandbox(void)
{
	if (crowded || way->starts_thread)
		end_between(EXIT_SKIP);
	forbid_clone();
	after_exec();
}

static void without_proc(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || umount2("/proc", MNT_DETACH))
		end_between(EXIT_SKIP);
	plain();
}

static void without_processes(void)
{
	const struct rlimit none = {0, 0};
	start();
	if (geteuid() != 0 || way->starts_thread)
		end_between(EXIT_SKIP);
	CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
	CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
	end();
}

static void open_files(rlim_t limit)
{
	const struct rlimit files = {limit, limit};
	if (setrlimit(RLIMIT_NOFILE, &files))
		end_between(EXIT_SKIP);
	for (int fd = 0; fd >= 0 && fd < FILES;)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void with_descriptors(void)
{
	start();
	open_files(FILES + 10);
	end();
}

/* In which pthread_exit could not load what it needs. */
static void without_descriptors(void)
{
	start();
	if (way->end == end_with_threads)
		end_between(EXIT_SKIP);
	open_files(64);
	end();
}

/* Somewhere where cores do no harm. */
static void with_core(void)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char place[] = "/tmp/t_exit_matrix.XXXXXX";
	CHECK(mkdtemp(place) && chdir(place) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		if (setrlimit(RLIMIT_CORE, &all))
			end_between(EXIT_SKIP);
		plain();
		return;
	}
	siginfo_t info;
	CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
	const char *const names[] = {"rm", "-rf", place, NULL};
	pid_t cleaner = fork();
	if (cleaner == 0) {
		execvp("rm", (char *const *)(uintptr_t)names);
		end_between(1);
	}
	check_wait(cleaner);
	end_like(pid);
}

/* Until process PID has ended: lets it go on whenever it stops. */
static _Noreturn void trace(pid_t pid)
{
	int status = 0;
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	CHECK(ptrace(PTRACE_SETOPTIONS, pid, 0,
		     PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL) == 0);
	for (pid_t stopped = pid;;) {
		int signal = WSTOPSIG(status);
		if (signal == SIGTRAP || signal == SIGSTOP)
			signal = 0;
		ptrace(PTRACE_CONT, stopped, 0, signal);
		do
			stopped = waitpid(-1, &status, __WALL);
		while (stopped > 0 && stopped != pid && !WIFSTOPPED(status));
		CHECK(stopped > 0);
		if (stopped == pid && !WIFSTOPPED(status))
			break;
	}
	if (WIFEXITED(status))
		end_between(WEXITSTATUS(status));
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	end_between(99);
}

static void traced(void)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid)
		trace(pid);
	check_child(60);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		end_between(EXIT_SKIP);
	raise(SIGSTOP);
	plain();
}

/* The shared library sees each of two changes of rights, after the first of which there may still be a new one. */
#if defined(PMD_PREFIXED) || defined(PMD_STATIC)
enum { RIGHTS_CHANGES = 1 };
#else
enum { RIGHTS_CHANGES = 2 };
#endif
/* The tracer that users have. Its own end is as that of what it traces. */
static void under_strace(void)
{
	char path[4096], number[8], words[][12] = {"strace", "-f", "-qq", "-e", "trace=none", "-o", "/dev/null"};
	ssize_t length = readlink(self, path, sizeof path - 1);
	CHECK(length > 0);
	path[length] = 0;
	snprintf(number, sizeof number, "%d", (int)(way - ways));
	char *const args[] = {words[0],
			      words[1],
			      words[2],
			      words[3],
			      words[4],
			      words[5],
			      words[6],
			      path,
			      word_again,
			      number,
			      crowded ? word_crowded : word_alone,
			      NULL};
	execvp(words[0], args);
	end_between(EXIT_SKIP);
}

static const struct circumstance {
	const char *name;
	void (*run)(void);
	bool hands_off;
	size_t armed; /* helpers with handoff:armed, those that leave before the end among them */
	size_t crowd; /* that one of 100 other threads, to which the circumstance does not apply, may start besides */
} circumstances[] = {
	{"plain", plain, true, 1, 0},
	{"fork child", in_fork_child, true, 2, 0},
	{"vfork child", with_vfork_child, true, 1, 0},
	{"after exec", after_exec, true, 2, 0},
	{"PID 1", as_first_process, false, 0, 0},
	{"children in another pid namespace", beside_namespace, false, 1, 1},
	{"seccomp", in_sandbox, false, 1, 0},
	{"seccomp before exec", exec_in_sandbox, false, 0, 0},
	{"no /proc", without_proc, false, 0, 0},
	{"RLIMIT_NPROC", without_processes, false, RIGHTS_CHANGES, 0},
	{"10,000 descriptors", with_descriptors, true, 1, 0},
	{"no descriptor left", without_descriptors, false, 1, 0},
	{"core dump", with_core, true, 1, 0},
	{"traced", traced, false, 0, 0},
	{"strace", under_strace, false, 0, 0},
};

/* ---- Each of all of them ----------------------------------------------------------------------------------------- */

/* Orphans that end within the time; the first that does not is an error. */
static size_t count_helpers(const char *what)
{
	size_t count = 0;
	int status;
	for (int waited = 0;; waited++) {
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid < 0)
			return count;
		CHECK_SAY(waited < HELPER_MS, "%s: %s, %s: a helper is left", conf, what, way->name);
		if (pid == 0) {
			proc_sleep_ms(1);
			continue;
		}
		/* With a hundred threads before it one may refuse, or a starter end, when the process waits no more. */
		CHECK_SAY(status == 0 || status == NO_HELPER << 8, "%s: %s, %s: a helper ended with %#x", conf, what,
			  way->name, (unsigned)status);
		count += status == 0;
	}
}

enum { TRIES = 5 };

static size_t cases, skipped, repeated;

/* False: no helper came in time, which on a busy machine is as it should be: the process did not wait for it. */
static bool judge(const struct circumstance *c, int status)
{
	size_t found = count_helpers(c->name), wanted, most;
	if (status == EXIT_SKIP << 8) {
		skipped++;
		return true;
	}
	CHECK_SAY((status & ~0x80) == way->status, "%s: %s, %s, %s: wait status %#x", conf, c->name, way->name,
		  crowded ? "100 threads" : "alone", (unsigned)status);
	wanted = is_armed ? c->armed : is_auto && c->hands_off && way->hands_off && way_is_ours();
	most = wanted + (is_armed && crowded ? c->crowd : 0);
	CHECK_SAY(found <= most, "%s: %s, %s, %s: %zu helpers", conf, c->name, way->name,
		  crowded ? "100 threads" : "alone", found);
	return found >= wanted;
}

/* True in a process under test that is to return from main. */
static bool run(const struct circumstance *c)
{
	cases++;
	for (int i = 0; i < TRIES; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(60);
			c->run();
			CHECK(returns);
			return true;
		}
		if (judge(c, check_wait(pid)))
			return false;
		repeated++;
	}
	CHECK_SAY(false, "%s: %s, %s, %s: no helper", conf, c->name, way->name, crowded ? "100 threads" : "alone");
	return false;
}

/* With CHECK_SCALE n only every n-th case, of each circumstance others. */
static bool run_all(void)
{
	size_t scale = check_number("CHECK_SCALE", 1);

	for (size_t i = 0; i < LENGTH(circumstances); i++)
		for (size_t j = 0; j < LENGTH(ways); j++)
			for (int many = 0; many < 2; many++) {
				way = &ways[j];
				crowded = many;
				if ((i + 2 * j + (size_t)many) % scale == 0 && run(&circumstances[i]))
					return true;
			}
	check_say("%s: %zu cases, of which %zu are not possible here; %zu times no helper came in time\n", conf, cases,
		  skipped, repeated);
	CHECK(repeated <= cases / 8);
	return false;
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	if (argc > 3 && strcmp(argv[1], word_again) == 0) {
		way = &ways[atoi(argv[2])];
		crowded = strcmp(argv[3], word_crowded) == 0;
		plain();
		return STATUS;
	}
	conf = VARIANTS(argc, argv, CONF, CONF ",handoff:off", CONF ",handoff:armed,handoff_fork:on");
	is_armed = strstr(conf, "handoff:armed");
	is_auto = !is_armed && !strstr(conf, "handoff:off");
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	if (run_all())
		return STATUS;
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}

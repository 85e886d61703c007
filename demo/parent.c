/* SPDX-License-Identifier: MIT */
/*
 * The parent of one redis-server in the demo: measures the time from SHUTDOWN to the return of its own wait().
 *
 * parent WARM_MIB SOCKET PID_FILE EXIT_FILE PROGRAM [ARGUMENT]...
 * SIGTERM makes it shut the server down and write the milliseconds to EXIT_FILE. The server never outlives it.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Memory that the machine has not used for a while is slow to touch: let no server be the one that pays for it. */
static void warm(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	memset(p, 1, bytes);
	munmap(p, bytes);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void write_file(const char *name, const char *format, double value)
{
	FILE *f = fopen(name, "w");

	if (!f || fprintf(f, format, value) < 0 || fclose(f))
		err(1, "%s", name);
}

static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(name) >= sizeof address.sun_path)
		errx(1, "%s: path too long for a socket", name);
	strcpy(address.sun_path, name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
		err(1, "%s", name);
	return fd;
}

static double shut_down(const char *socket_name, pid_t child)
{
	static const char command[] = "SHUTDOWN NOSAVE\r\n";
	int status, fd = connect_to(socket_name);
	double start = now_ms();

	if (write(fd, command, sizeof command - 1) < 0 || waitpid(child, &status, 0) != child)
		err(1, "shutdown");
	start = now_ms() - start;
	if (status)
		errx(1, "the server ended with status %d", status);
	return start;
}

int main(int argc, char **argv)
{
	sigset_t set;
	pid_t child;
	int sig;

	if (argc < 6)
		errx(2, "usage: parent WARM_MIB SOCKET PID_FILE EXIT_FILE PROGRAM [ARGUMENT]...");
	warm((size_t)strtoul(argv[1], NULL, 10) << 20);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		execvp(argv[5], argv + 5);
		err(127, "%s", argv[5]);
	}
	write_file(argv[3], "%.0f\n", child);
	if (sigwait(&set, &sig) || sig == SIGCHLD)
		errx(1, "%s ended early", argv[5]);
	write_file(argv[4], "%.1f\n", shut_down(argv[2], child));
	return 0;
}

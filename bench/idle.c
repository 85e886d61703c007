/* SPDX-License-Identifier: MIT */
/* A program that does nothing. With an argument it writes a byte when it is up, and then waits to be killed. */
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1 && write(STDOUT_FILENO, "", 1) == 1)
		pause();
	return 0;
}

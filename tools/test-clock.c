/* A wall clock that tests can move, for a server that they start: preloaded, it
 * adds the microseconds that it finds in the file CLOCK_FILE. libfaketime
 * cannot do it: jemalloc, which Redis and Valkey use, asks for the time before
 * libfaketime is ready, and hangs. This asks the kernel and needs no memory. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *ahead;

__attribute__((constructor)) static void start(void) {
	const char *name = getenv("CLOCK_FILE");
	int file = name ? open(name, O_RDONLY) : -1;
	if (file < 0)
		return;
	void *mapped = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
	if (mapped != MAP_FAILED)
		ahead = mapped;
	close(file);
}

int clock_gettime(clockid_t clock, struct timespec *t) {
	int failed = syscall(SYS_clock_gettime, clock, t);
	if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		long long us = t->tv_sec * 1000000LL + t->tv_nsec / 1000 + *ahead;
		t->tv_sec = us / 1000000;
		t->tv_nsec = us % 1000000 * 1000 + t->tv_nsec % 1000;
	}
	return failed;
}

int gettimeofday(struct timeval *t, void *zone) {
	struct timespec now;
	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t) {
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	if (t)
		*t = now.tv_sec;
	return now.tv_sec;
}

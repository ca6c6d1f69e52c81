/* A disk that is slow to sync: each fsync and fdatasync begins SLOW_SYNC_MS later,
 * and returns so much later.
 *
 *   SLOW_SYNC_MS=20 LD_PRELOAD=.../slowsync.so brindled ...
 *
 * What is written and not yet synced stays so for long enough to be hit: what comes
 * in the first half of one sync goes with it, what comes in the second half waits.
 *
 * SLOW_SYNC_AFTER_US: each returns so many microseconds later, and begins at once.
 * For measurements: one sleep, and an exact one. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static long
number(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? strtol(text, NULL, 10) : 0;
}

static void
wait_for_the_disk(long us)
{
    struct timespec left = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

    while (us > 0 && nanosleep(&left, &left) != 0) /* lint:allow sleep: the slow disk itself */
        ;
}

/* Without the slack of 50 us that every thread's timers have. */
static void
wait_exactly(long us)
{
    int slack_ns = prctl(PR_GET_TIMERSLACK);

    prctl(PR_SET_TIMERSLACK, 1L);
    wait_for_the_disk(us);
    prctl(PR_SET_TIMERSLACK, (long)slack_ns);
}

static int
sync_with(const char *name, int fd)
{
    int (*call)(int);
    int result;

    *(void **)&call = dlsym(RTLD_NEXT, name);
    wait_for_the_disk(number("SLOW_SYNC_MS") * 1000);
    result = call(fd);
    wait_for_the_disk(number("SLOW_SYNC_MS") * 1000);
    wait_exactly(number("SLOW_SYNC_AFTER_US"));
    return result;
}

int
fsync(int fd)
{
    return sync_with("fsync", fd);
}

int
fdatasync(int fd)
{
    return sync_with("fdatasync", fd);
}

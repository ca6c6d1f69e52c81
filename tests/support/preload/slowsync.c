/* A disk that is slow to sync: each fsync and fdatasync begins SLOW_SYNC_MS later,
 * and returns so much later.
 *
 *   SLOW_SYNC_MS=20 LD_PRELOAD=.../slowsync.so brindled ...
 *
 * What is written and not yet synced stays so for long enough to be hit: what comes
 * in the first half of one sync goes with it, what comes in the second half waits. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void
wait_for_the_disk(void)
{
    const char *text = getenv("SLOW_SYNC_MS");
    long ms = text != NULL ? strtol(text, NULL, 10) : 0;
    struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    while (nanosleep(&left, &left) != 0) /* lint:allow sleep: the slow disk itself */
        ;
}

static int
sync_with(const char *name, int fd)
{
    int (*call)(int);
    int result;

    *(void **)&call = dlsym(RTLD_NEXT, name);
    wait_for_the_disk();
    result = call(fd);
    wait_for_the_disk();
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

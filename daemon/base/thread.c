#include "base/thread.h"

#include "base/check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct start {
    void *(*run)(void *arg);
    void *arg;
};

/* jemalloc gives a thread its arena at its first allocation, and crashes where there
 * is no memory for one: it had better be now than when a client comes. */
static void *
begin(void *arg)
{
    struct start start = *(struct start *)arg;
    void *volatile first = malloc(1);

    free(first);
    free(arg);
    return start.run(start.arg);
}

enum brd_status
brd_thread_start(pthread_t *out_thread, const char *name, void *(*run)(void *arg), void *arg)
{
    struct start *start = malloc(sizeof(*start));
    sigset_t all;
    sigset_t old;
    int failed;

    BRD_CHECK(strlen(name) < 16);
    if (start == NULL)
        return BRD_OUT_OF_MEMORY;
    *start = (struct start){ run, arg };
    sigfillset(&all);
    failed = pthread_sigmask(SIG_SETMASK, &all, &old);
    BRD_CHECK(failed == 0);
    failed = pthread_create(out_thread, NULL, begin, start);
    if (failed == 0)
        pthread_setname_np(*out_thread, name);
    else
        free(start);
    BRD_CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    return failed == 0 ? BRD_OK : BRD_OUT_OF_MEMORY;
}

void
brd_thread_join(pthread_t thread)
{
    int failed = pthread_join(thread, NULL);

    BRD_CHECK(failed == 0);
}

#include "base/thread.h"

#include "base/check.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct start {
    void *(*run)(void *arg);
    void *arg;
    sem_t begun; /* the thread needs this struct no more */
};

/* jemalloc gives a thread its arena at its first allocation, and crashes where there
 * is no memory for one: it had better be now, while whoever starts the thread waits
 * for it, than when a client comes. */
static void *
begin(void *arg)
{
    struct start *start = arg;
    void *(*run)(void *arg) = start->run;
    void *run_arg = start->arg;
    void *volatile first = malloc(1);

    free(first);
    BRD_CHECK(sem_post(&start->begun) == 0);
    return run(run_arg);
}

static void
wait_until_begun(struct start *start)
{
    int failed;

    do
        failed = sem_wait(&start->begun);
    while (failed != 0 && errno == EINTR);
    BRD_CHECK(failed == 0);
}

enum brd_status
brd_thread_start(pthread_t *out_thread, const char *name, void *(*run)(void *arg), void *arg)
{
    struct start start = { .run = run, .arg = arg };
    sigset_t all;
    sigset_t old;
    int failed;

    BRD_CHECK(strlen(name) < 16);
    BRD_CHECK(sem_init(&start.begun, 0, 0) == 0);
    sigfillset(&all);
    failed = pthread_sigmask(SIG_SETMASK, &all, &old);
    BRD_CHECK(failed == 0);
    failed = pthread_create(out_thread, NULL, begin, &start);
    if (failed == 0) {
        pthread_setname_np(*out_thread, name);
        wait_until_begun(&start);
    }
    sem_destroy(&start.begun);
    BRD_CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    return failed == 0 ? BRD_OK : BRD_OUT_OF_MEMORY;
}

void
brd_thread_join(pthread_t thread)
{
    int failed = pthread_join(thread, NULL);

    BRD_CHECK(failed == 0);
}

#include "base/thread.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

int
brd_thread_busy_open(void)
{
    return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* "RUNNING WAITING SLICES", from the kernel's books. */
uint64_t
brd_thread_busy_ns(int fd)
{
    unsigned long long running_ns;
    unsigned long long waiting_ns;
    char text[100];
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

    if (n <= 0)
        return UINT64_MAX;
    text[n] = '\0';
    if (sscanf(text, "%llu %llu", &running_ns, &waiting_ns) != 2)
        return UINT64_MAX;
    return running_ns + waiting_ns;
}

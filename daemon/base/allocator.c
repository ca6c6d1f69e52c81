/* Reading the allocator's books.
 *
 * mallctl is a weak symbol: it is there only where jemalloc has been linked, and
 * even then something else may allocate (a sanitizer, a library loaded before
 * it), so the name is believed after a trial.
 *
 * jemalloc gathers its numbers when the epoch is advanced, and answers from what
 * was gathered until the next advance. Two threads that read at once may so see
 * numbers of two moments, each of them true; nothing here needs a lock. */
#include "base/allocator.h"

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen)
    __attribute__((weak));

/* A sanitizer replaces malloc; the C library then counts what nobody uses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

/* All arenas together, in the names of statistics: MALLCTL_ARENAS_ALL. */
#define ARENAS_ALL "4096"

/* jemalloc is there if mallctl answers, and allocates if its count of what this
 * thread has allocated grows with a malloc. */
static bool
jemalloc_allocates(void)
{
    uint64_t before = 0;
    uint64_t after = 0;
    size_t size = sizeof(before);
    void *volatile block;

    if (mallctl == NULL || mallctl("thread.allocated", &before, &size, NULL, 0) != 0)
        return false;
    block = malloc(1000);
    size = sizeof(after);
    if (mallctl("thread.allocated", &after, &size, NULL, 0) != 0)
        after = before;
    free(block);
    return after > before;
}

const char *
brd_allocator_name(void)
{
    static char text[64];
    const char *version = NULL;
    size_t size = sizeof(version);

    if (!jemalloc_allocates() || mallctl("version", (void *)&version, &size, NULL, 0) != 0)
        return "system malloc";
    snprintf(text, sizeof(text), "jemalloc %.*s", (int)strcspn(version, "-"), version);
    return text;
}

static uint64_t
read_number(const char *name)
{
    size_t value = 0;
    size_t size = sizeof(value);

    return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

static void
read_jemalloc(struct brd_allocator_stats *stats)
{
    uint64_t epoch = 1;

    (void)mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    stats->allocated = read_number("stats.allocated");
    stats->cached = read_number("stats.arenas." ARENAS_ALL ".tcache_bytes");
    stats->active = read_number("stats.active");
    stats->metadata = read_number("stats.metadata");
    stats->resident = read_number("stats.resident");
    stats->mapped = read_number("stats.mapped");
    stats->retained = read_number("stats.retained");
}

bool
brd_allocator_get_stats(struct brd_allocator_stats *out_stats)
{
    struct mallinfo2 info;

    memset(out_stats, 0, sizeof(*out_stats));
    if (jemalloc_allocates()) {
        read_jemalloc(out_stats);
        return true;
    }
    if (SANITIZED)
        return false;
    info = mallinfo2();
    out_stats->allocated = info.uordblks + info.hblkhd;
    out_stats->active = info.arena + info.hblkhd;
    out_stats->resident = out_stats->active;
    out_stats->mapped = out_stats->active;
    return true;
}

void
brd_allocator_purge(void)
{
    if (jemalloc_allocates())
        (void)mallctl("arena." ARENAS_ALL ".purge", NULL, NULL, NULL, 0);
    else if (!SANITIZED)
        malloc_trim(0);
}

void
brd_allocator_flush_thread(void)
{
    if (mallctl != NULL)
        (void)mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
}

void
brd_allocator_allow_huge_pages(bool allow)
{
    /* A kernel without huge pages refuses: then there is nothing to forbid. */
    (void)prctl(PR_SET_THP_DISABLE, allow ? 0 : 1, 0, 0, 0);
}

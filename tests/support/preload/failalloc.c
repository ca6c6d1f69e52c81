/* Allocations that fail: LD_PRELOAD this and set
 *
 *   FAILALLOC_AT=n       the n-th allocation (from 1) fails
 *   FAILALLOC_FOR=k      and the k-1 behind it (default 1)
 *   FAILALLOC_EVERY=m    and so again every m allocations (default: not again)
 *
 * What the program was linked with does the rest. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *memalign(size_t alignment, size_t size);

static void *(*real_malloc)(size_t size);
static void *(*real_calloc)(size_t count, size_t size);
static void *(*real_realloc)(void *block, size_t size);
static void *(*real_aligned)(size_t alignment, size_t size);
static void (*real_free)(void *block);

static _Atomic unsigned long count;
static unsigned long at;
static unsigned long length = 1;
static unsigned long every;

/* For what dlsym itself allocates; never given back. */
static _Alignas(16) char early[16384];
static size_t early_used;

static void *
take_early(size_t size)
{
    void *block = early + early_used;

    early_used += (size + 15) & ~(size_t)15;
    if (early_used > sizeof(early))
        abort();
    return block; /* zeroed: static storage */
}

static bool
is_early(const void *block)
{
    return (const char *)block >= early && (const char *)block < early + sizeof(early);
}

static void
find(void *place, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    memcpy(place, &symbol, sizeof(symbol));
}

static unsigned long
number_of(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoul(text, NULL, 10) : otherwise;
}

/* Before main there is one thread; what is allocated until then does not fail. */
static bool
is_ready(void)
{
    static bool looking;

    if (real_malloc != NULL)
        return true;
    if (looking)
        return false;
    looking = true;
    find(&real_calloc, "calloc");
    find(&real_realloc, "realloc");
    find(&real_aligned, "aligned_alloc");
    find(&real_free, "free");
    find(&real_malloc, "malloc");
    return real_malloc != NULL;
}

__attribute__((constructor)) static void
start(void)
{
    length = number_of("FAILALLOC_FOR", 1);
    every = number_of("FAILALLOC_EVERY", 0);
    at = number_of("FAILALLOC_AT", 0);
}

static bool
fails(void)
{
    unsigned long n;

    if (at == 0)
        return false;
    n = atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) + 1;
    if (n < at)
        return false;
    n -= at;
    if (every != 0)
        n %= every;
    if (n >= length)
        return false;
    errno = ENOMEM;
    return true;
}

void *
malloc(size_t size)
{
    if (!is_ready())
        return take_early(size);
    return fails() ? NULL : real_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
    if (!is_ready())
        return take_early(n * size);
    return fails() ? NULL : real_calloc(n, size);
}

void *
realloc(void *block, size_t size)
{
    void *moved;

    if (is_ready() && !is_early(block))
        return fails() ? NULL : real_realloc(block, size);
    moved = malloc(size);
    if (moved != NULL && block != NULL) {
        size_t left = (size_t)(early + sizeof(early) - (char *)block);

        memcpy(moved, block, size < left ? size : left);
    }
    return moved;
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return !is_ready() || fails() ? NULL : real_aligned(alignment, size);
}

void *
memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

int
posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = aligned_alloc(alignment, size);

    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

void
free(void *block)
{
    if (block != NULL && !is_early(block) && is_ready())
        real_free(block);
}

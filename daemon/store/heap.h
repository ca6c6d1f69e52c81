/* Where the store's memory comes from: the C library's names (jemalloc), with
 * one addition in debug builds: a test can let the n-th allocation fail.
 *
 * Inside the folder nobody calls malloc himself, so that every path that may
 * run out of memory can be tested to the end. */
#ifndef BRD_STORE_HEAP_H
#define BRD_STORE_HEAP_H

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef BRD_DEBUG
/* Allocations that still succeed before one fails; negative: all do. A test's;
 * relaxed, because only one thread allocates in such a test. */
extern _Atomic int64_t heap_fail_after;

static inline bool
heap_fails(void)
{
    int64_t left = atomic_load_explicit(&heap_fail_after, memory_order_relaxed);

    if (left < 0)
        return false;
    atomic_store_explicit(&heap_fail_after, left - 1, memory_order_relaxed);
    return left == 0;
}
#else
static inline bool
heap_fails(void)
{
    return false;
}
#endif

/* size bytes, aligned to 16, or NULL. */
static inline void *
heap_alloc(size_t size)
{
    return heap_fails() ? NULL : malloc(size);
}

/* The same, zeroed. */
static inline void *
heap_alloc_zeroed(size_t size)
{
    return heap_fails() ? NULL : calloc(1, size);
}

/* size bytes, a multiple of alignment, so aligned, or NULL. */
static inline void *
heap_alloc_aligned(size_t alignment, size_t size)
{
    return heap_fails() ? NULL : aligned_alloc(alignment, size);
}

/* What the allocator really gave. NULL: 0. */
static inline size_t
heap_size(const void *memory)
{
    return malloc_usable_size((void *)(uintptr_t)memory);
}

#endif

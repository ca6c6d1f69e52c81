/* What the allocator of the process holds: jemalloc, or, where the program was
 * built without it, the C library's.
 *
 * Threads: any, for all of it. */
#ifndef BRD_BASE_ALLOCATOR_H
#define BRD_BASE_ALLOCATOR_H

#include <stdbool.h>
#include <stdint.h>

/* In bytes. allocated <= active <= mapped; resident is about active + metadata +
 * pages that are free and not given back to the system yet. */
struct brd_allocator_stats {
    uint64_t allocated; /* handed out by malloc, rounded up to its classes */
    uint64_t cached;    /* of these, freed again and kept by threads for their next malloc */
    uint64_t active;    /* pages with something allocated in them */
    uint64_t metadata;  /* the allocator's own */
    uint64_t resident;  /* in memory, as far as the allocator knows */
    uint64_t mapped;    /* addresses with pages */
    uint64_t retained;  /* addresses without: given back to the system, kept for later */
};

/* A reading of this moment, all threads included; costs some tens of microseconds for
 * each arena, so not for every request. False where nothing is known (sanitizers
 * bring an allocator of their own): out_stats is all 0 then. Of the C library's malloc
 * cached, retained and metadata are 0, and resident is what it has mapped. */
bool brd_allocator_get_stats(struct brd_allocator_stats *out_stats);

/* Give up what the calling thread keeps for its next malloc. A few freed entries of
 * each class, each the last in its run of pages, keep megabytes from the system. */
void brd_allocator_flush_thread(void);

/* Give all free pages back to the system now, instead of in their time. Takes a while
 * (0.1 ms for each MiB): not for a thread that anybody waits for. */
void brd_allocator_purge(void);

/* Whether the system may from now on put huge pages where the process has asked for
 * them: the allocator does as main.c sets it up, the store for its tables. The whole
 * process, any thread. What is in a huge page already stays there. */
void brd_allocator_allow_huge_pages(bool allow);

/* "jemalloc 5.3.0", when it really is what allocates, or "system malloc". Static
 * storage. */
const char *brd_allocator_name(void);

#endif

/* Assertions that stay in production builds, and casts that are checked.
 *
 * BRD_CHECK states what a caller owes and what always holds. It never guards
 * input from a peer or a file: that is validated and answered. */
#ifndef BRD_BASE_CHECK_H
#define BRD_BASE_CHECK_H

#include <stdint.h>

#define BRD_LIKELY(x)   __builtin_expect(!!(x), 1)
#define BRD_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define BRD_CACHE_LINE 64

/* Print the condition and the place to stderr, and abort. */
_Noreturn void brd_check_failed(const char *condition, const char *file, int line);

#define BRD_CHECK(condition)                                  \
    do {                                                      \
        if (BRD_UNLIKELY(!(condition)))                       \
            brd_check_failed(#condition, __FILE__, __LINE__); \
    } while (0)

/* For conditions too dear for production: debug builds only. */
#ifdef BRD_DEBUG
#define BRD_DCHECK(condition) BRD_CHECK(condition)
#else
#define BRD_DCHECK(condition) ((void)sizeof(condition))
#endif

/* A void pointer that comes back from epoll or a thread: type *, whose first
 * member is `uint32_t magic`. */
#define BRD_CAST(pointer, type, magic_value) ((type *)brd_cast((pointer), (magic_value)))

static inline void *
brd_cast(void *pointer, uint32_t magic)
{
    BRD_CHECK(pointer != 0);
    BRD_CHECK(*(const uint32_t *)pointer == magic);
    return pointer;
}

#endif

/* The right form of a word behind a number, for messages. */
#ifndef BRD_BASE_PLURAL_H
#define BRD_BASE_PLURAL_H

#include <stdint.h>

static inline const char *
brd_plural(uint64_t count, const char *one, const char *many)
{
    return count == 1 ? one : many;
}

#endif

/* A message of the protocol being built by a test, from the inside out, with what a generated
 * encoder would not write. */
#ifndef TESTS_UNIT_WIRE_BUILD_H
#define TESTS_UNIT_WIRE_BUILD_H

#include "base/bytes.h"

#include <string.h>

static uint8_t built[4 << 20];
static size_t built_size;

static inline void
add_varint(uint32_t number, uint64_t value)
{
    built_size += brd_varint_put(built + built_size, (uint64_t)number << 3);
    built_size += brd_varint_put(built + built_size, value);
}

static inline void
add_bytes(uint32_t number, const void *data, size_t size)
{
    built_size += brd_varint_put(built + built_size, (uint64_t)number << 3 | 2);
    built_size += brd_varint_put(built + built_size, size);
    if (size > 0)
        memmove(built + built_size, data, size);
    built_size += size;
}

/* What was built so far becomes one field. */
static inline void
wrap(uint32_t number)
{
    static uint8_t copy[sizeof(built)];
    size_t size = built_size;

    memcpy(copy, built, size);
    built_size = 0;
    add_bytes(number, copy, size);
}

#endif

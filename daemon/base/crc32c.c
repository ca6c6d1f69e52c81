#include "base/crc32c.h"

#include <isa-l/crc.h>

/* crc32_iscsi takes an int length and neither inverts before nor after. */
#define CRC_STEP_MAX ((size_t)1 << 30)

uint32_t
brd_crc32c(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *at = data;

    while (size > 0) {
        size_t step = size < CRC_STEP_MAX ? size : CRC_STEP_MAX;

        /* Its parameter is not const, but it only reads. */
        crc = ~crc32_iscsi((unsigned char *)(uintptr_t)at, (int)step, ~crc);
        at += step;
        size -= step;
    }
    return crc;
}

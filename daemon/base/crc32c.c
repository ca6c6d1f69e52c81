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

/* ---- Polynomials over GF(2), modulo Castagnoli's. Bit 31 is the coefficient of 1. ---- */

#define POLYNOMIAL UINT32_C(0x82f63b78)
#define ONE        (UINT32_C(1) << 31)
#define X_TO_8     (UINT32_C(1) << 23)

static uint32_t
multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    int i;

    for (i = 0; i < 32; i++) {
        product ^= b & (0 - (a >> 31));
        a <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & (0 - (b & 1)));
    }
    return product;
}

void
brd_crc32c_shifts_init(struct brd_crc32c_shifts *shifts)
{
    uint32_t unit = X_TO_8;
    int digit;
    int i;

    /* powers[digit][i]: x to the power of 8 * i * 256^digit, i bytes at that digit. */
    for (digit = 0; digit < 4; digit++) {
        uint32_t *powers = shifts->powers[digit];

        powers[0] = ONE;
        for (i = 1; i < 256; i++)
            powers[i] = multiply(powers[i - 1], unit);
        unit = multiply(powers[255], unit);
    }
}

uint32_t
brd_crc32c_shift(const struct brd_crc32c_shifts *shifts, uint32_t crc, uint32_t size)
{
    int digit;

    for (digit = 0; size != 0; digit++, size >>= 8)
        if ((size & 0xff) != 0)
            crc = multiply(crc, shifts->powers[digit][size & 0xff]);
    return crc;
}

/* CRC-32C (Castagnoli, RFC 3720), by libisal, which uses the CPU's instruction
 * where there is one. */
#ifndef BRD_BASE_CRC32C_H
#define BRD_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue crc (0 to begin) over size bytes (any, data may be NULL for 0).
 * brd_crc32c(brd_crc32c(0, a), b) is the checksum of a followed by b; of
 * "123456789" it is 0xe3069283. Pure; any thread. */
uint32_t brd_crc32c(uint32_t crc, const void *data, size_t size);

/* What brd_crc32c_shift needs: 4 KiB, the same for everybody. */
struct brd_crc32c_shifts {
    uint32_t powers[4][256];
};
void brd_crc32c_shifts_init(struct brd_crc32c_shifts *shifts);

/* What a difference in the checksum before `size` bytes makes of the one behind them, whatever
 * the bytes are:
 *
 *   brd_crc32c(a, data, size) == brd_crc32c_shift(a ^ b, size) ^ brd_crc32c(b, data, size)
 *
 * So the checksum of a stretch follows from those of all that is before its end and before
 * its beginning. Takes as long for any size. Pure; any thread. */
uint32_t brd_crc32c_shift(const struct brd_crc32c_shifts *shifts, uint32_t crc, uint32_t size);

#endif

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

#endif

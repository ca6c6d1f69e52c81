/* Versions as people name them. Versions are Unix nanoseconds, so a time is one. Pure. */
#ifndef BRD_TOOLS_WAL_WHEN_H
#define BRD_TOOLS_WAL_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* A version (12 digits or more), Unix seconds (fewer, and maybe a fraction), or a
 * time as of RFC 3339, such as 2026-01-02T03:04:05.678Z. False: none of them. */
bool when_parse(const char *text, uint64_t *out_version);

#define WHEN_TEXT_BYTES 48

/* "2026-01-02T03:04:05.678901234Z". */
void when_format(uint64_t version, char out[WHEN_TEXT_BYTES]);

#endif

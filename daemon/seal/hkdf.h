/* HKDF with SHA-256 (RFC 5869): keys from a secret. */
#ifndef BRD_SEAL_HKDF_H
#define BRD_SEAL_HKDF_H

#include "base/bytes.h"

/* Extract and expand, size bytes into out (at most 255 * 32). salt and info may be empty. False:
 * out of memory; out is worthless. Any thread. */
bool hkdf_sha256(struct brd_bytes secret, struct brd_bytes salt, struct brd_bytes info,
                 uint8_t *out, size_t size);

#endif

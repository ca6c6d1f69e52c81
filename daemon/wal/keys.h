/* Which keys the files of the log are under, and what is said where one is missing. */
#ifndef BRD_WAL_KEYS_H
#define BRD_WAL_KEYS_H

#include "seal/seal.h"
#include "wal/error.h"

#include <assert.h>

static_assert(BRD_SEAL_ID_BYTES == 16 && BRD_SEAL_SALT_BYTES == 16 && BRD_SEAL_TAG_BYTES == 16,
              "on-disk format");

/* Is it the id that says "not encrypted"? */
bool keys_is_plain(const uint8_t *key_id);

/* Has the ring the key of a file (ring NULL: there are none)? BRD_OK, or BRD_WRONG_KEY with
 * the sentence. */
BRD_MUST_CHECK enum brd_status keys_check(const struct brd_keyring *keys, const uint8_t *key_id,
                                          const char *path, struct brd_wal_error *error);

/* The seals of the two kinds of file, as brd_seal_open: meta's signs, a segment's does both. */
BRD_MUST_CHECK enum brd_status keys_open_meta(const struct brd_keyring *keys, const uint8_t *key_id,
                                              const uint8_t *uuid, struct brd_seal **out_seal);
BRD_MUST_CHECK enum brd_status
keys_open_segment(const struct brd_keyring *keys, const uint8_t *key_id, uint32_t cipher,
                  const uint8_t *salt, const uint8_t *uuid, uint64_t number,
                  struct brd_seal **out_seal);

#endif

/* A seal from keys that are known: what brd_seal_open does with derived ones, and what the
 * vectors of the standards need. */
#ifndef BRD_SEAL_PARTS_H
#define BRD_SEAL_PARTS_H

#include "seal/seal.h"

#define PART_KEY_BYTES   32
#define PAGE_KEY_BYTES   32
#define NONCE_HEAD_BYTES 4

/* nonce_head comes before the position in every nonce. BRD_OK or BRD_OUT_OF_MEMORY; out_seal is
 * for brd_seal_close. */
BRD_MUST_CHECK enum brd_status
parts_open(enum brd_seal_cipher cipher, const uint8_t *part_key, const uint8_t *page_key,
           const uint8_t *nonce_head, struct brd_seal **out_seal);

#endif

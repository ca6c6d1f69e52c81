/* Encryption at rest: keys, and the sealing of the parts of a file.
 *
 * A keyring holds the master keys of a data directory: the first seals what is
 * written from now on, the others only open what was sealed under them earlier.
 * A master key never touches data. Each life of a file (a segment, a snapshot)
 * gets keys of its own, derived from the master key, the file's random salt and
 * what the file is (HKDF-SHA-256, RFC 5869). Within one life each part is sealed
 * once, under a nonce that is its position, so that no nonce repeats under one key:
 * not after a crash, a cut-short write or a restored copy, because a file is never
 * reopened for writing and a new life has a new salt.
 *
 * Parts are sealed by AES-256-GCM (NIST SP 800-38D) where the CPU has instructions
 * for it, otherwise by ChaCha20-Poly1305 (RFC 8439); the file's header says which.
 * Pages that must be read before anything is known (headers, meta, footers) stay
 * readable and carry a MAC (HMAC-SHA-256, cut to 16 bytes) instead. OpenSSL's
 * libcrypto does all of it.
 *
 * This folder knows no file formats: what is bound to a part (aad) is the caller's. */
#ifndef BRD_SEAL_SEAL_H
#define BRD_SEAL_SEAL_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BRD_SEAL_ID_BYTES   16 /* names a master key; tells nothing of it */
#define BRD_SEAL_SALT_BYTES 16
#define BRD_SEAL_TAG_BYTES  16 /* of a part, and of a page */
#define BRD_SEAL_NAME_BYTES 9  /* of the text that shows a key id */

/* ---- Master keys ---- */

struct brd_keyring;

/* Read a key file: one key a line as 64 hex digits, the current one first; empty lines
 * and those that begin with # are skipped, blanks around a line too. Where the word `plain`
 * stands on a line before the first key, no key is current: nothing is sealed any more, and
 * the keys only open what was. The word `only` there says instead that what is sealed under
 * none of them is not to be trusted (brd_keyring_only). It must be a regular file that only its
 * owner can read (mode 0400 or 0600, or a credential's 0440 owned by root), owned by the
 * caller's user or root; what it held is wiped from memory again except for the keys.
 *
 * path         borrowed for the call.
 * out_ring     owned by the caller: brd_keyring_close.
 * out_error    a sentence for a person, naming the file and, where it has a meaning, the line;
 *              never a part of a key. At least 256 bytes.
 * Returns      BRD_OK; BRD_INVALID_ARGUMENT (what the file is or holds); BRD_IO_ERROR;
 *              BRD_OUT_OF_MEMORY.
 * Threads      any. */
BRD_MUST_CHECK enum brd_status brd_keyring_load(const char *path, struct brd_keyring **out_ring,
                                                char *out_error, size_t error_size);

/* Wipe and free. NULL inside is fine. */
void brd_keyring_close(struct brd_keyring **ring);

/* The id of the current key, BRD_SEAL_ID_BYTES; borrowed until close. A ring does not change:
 * any thread. ring NULL, or `plain`: 16 zeros, which means "not encrypted" in every header. */
const uint8_t *brd_keyring_current(const struct brd_keyring *ring);

/* Does the ring hold the key of this id? Zeros: true, with any ring and with NULL. */
bool brd_keyring_has(const struct brd_keyring *ring, const uint8_t *key_id);

/* Is what is not sealed to be refused? Not for a ring NULL. That a directory is encrypted must be
 * said outside of it: who can write to it can also make it a plain one. */
bool brd_keyring_only(const struct brd_keyring *ring);

/* Do two rings hold the same keys, with the same one current, and `only` or not? Either may be NULL,
 * which is another one than any ring. */
bool brd_keyring_same(const struct brd_keyring *ring, const struct brd_keyring *other);

/* The first four bytes of a key id, as hex digits: for sentences. */
void brd_keyring_name(const uint8_t *key_id, char out_name[BRD_SEAL_NAME_BYTES]);

/* ---- The keys of one life of a file ---- */

enum brd_seal_cipher {
    BRD_SEAL_AES_256_GCM = 1, /* numbers of the formats */
    BRD_SEAL_CHACHA20_POLY1305 = 2,
};

/* The one that is faster on this machine. Pure. */
enum brd_seal_cipher brd_seal_preferred(void);

struct brd_seal;

/* Derive a file's keys.
 *
 * ring       not NULL; not needed after the call.
 * key_id     of a key in the ring; not zeros.
 * kind       what the file is: "segment", "snapshot", "meta"; part of the derivation.
 * salt       BRD_SEAL_SALT_BYTES, random for each life.
 * identity   more of what the keys are bound to: the directory's uuid, the file's number.
 * Returns    BRD_OK; BRD_WRONG_KEY (the ring has no such key); BRD_UNSUPPORTED (cipher is
 *            neither); BRD_OUT_OF_MEMORY.
 * Threads    any; the object itself is for one thread at a time. Several of the same file are
 *            fine for reading; for writing there must be one. */
BRD_MUST_CHECK enum brd_status
brd_seal_open(const struct brd_keyring *ring, const uint8_t *key_id, enum brd_seal_cipher cipher,
              const char *kind, const uint8_t *salt, struct brd_bytes identity,
              struct brd_seal **out_seal);

/* Wipe and free. NULL inside is fine. */
void brd_seal_close(struct brd_seal **seal);

/* Seal one part.
 *
 * position   of the part in this life: the nonce. Must rise from call to call
 *            (checked: a nonce that would repeat aborts).
 * aad        bound to the part, not encrypted.
 * pieces     the plaintext, in count pieces.
 * out        as many bytes as the pieces together; may be the pieces' own memory where
 *            there is one piece.
 * out_tag    BRD_SEAL_TAG_BYTES.
 * Returns    BRD_OK, or BRD_OUT_OF_MEMORY (out is worthless). */
BRD_MUST_CHECK enum brd_status
brd_seal_part(struct brd_seal *seal, uint64_t position, struct brd_bytes aad,
              const struct brd_bytes *pieces, size_t count, uint8_t *out, uint8_t *out_tag);

/* Open one part. out may be cipher's own memory. Returns BRD_OK; BRD_CORRUPT: not what was
 * sealed under this key at this position with this aad (out is wiped); BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
brd_seal_unpart(struct brd_seal *seal, uint64_t position, struct brd_bytes aad,
                struct brd_bytes cipher, const uint8_t *tag, uint8_t *out);

/* The MAC of a page, BRD_SEAL_TAG_BYTES; the field that takes it is zeros meanwhile.
 * BRD_OK or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
brd_seal_mac(struct brd_seal *seal, struct brd_bytes page, uint8_t *out_mac);

/* Compare two tags in a time that tells nothing. */
bool brd_seal_same(const uint8_t *tag, const uint8_t *other);

#endif

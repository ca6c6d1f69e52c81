#include "wal/keys.h"

#include <string.h>

bool
keys_is_plain(const uint8_t *key_id)
{
    return memcmp(key_id, brd_keyring_current(NULL), BRD_SEAL_ID_BYTES) == 0;
}

enum brd_status
keys_check(const struct brd_keyring *keys, const uint8_t *key_id, const char *path,
           struct brd_wal_error *error)
{
    char name[BRD_SEAL_NAME_BYTES];

    if (brd_keyring_has(keys, key_id))
        return BRD_OK;
    brd_keyring_name(key_id, name);
    if (keys == NULL)
        return error_set(error, BRD_WRONG_KEY, path, 0,
                         "the data directory is encrypted, and a key file is needed: %s is under "
                         "the key %s...",
                         path, name);
    return error_set(error, BRD_WRONG_KEY, path, 0,
                     "%s is encrypted under the key %s..., which the key file does not hold", path,
                     name);
}

enum brd_status
keys_open_meta(const struct brd_keyring *keys, const uint8_t *key_id, const uint8_t *uuid,
               struct brd_seal **out_seal)
{
    static const uint8_t salt[BRD_SEAL_SALT_BYTES]; /* signing needs none */

    /* A number that every machine knows: nothing is encrypted with it. */
    return brd_seal_open(keys, key_id, BRD_SEAL_AES_256_GCM, "meta", salt, brd_bytes(uuid, 16),
                         out_seal);
}

enum brd_status
keys_open_segment(const struct brd_keyring *keys, const uint8_t *key_id, uint32_t cipher,
                  const uint8_t *salt, const uint8_t *uuid, uint64_t number,
                  struct brd_seal **out_seal)
{
    uint8_t identity[16 + sizeof(number)];

    memcpy(identity, uuid, 16);
    brd_store_le64(identity + 16, number);
    return brd_seal_open(keys, key_id, (enum brd_seal_cipher)cipher, "segment", salt,
                         brd_bytes(identity, sizeof(identity)), out_seal);
}

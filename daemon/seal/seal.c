/* The keys of one life of a file, and what is done with them.
 *
 *   HKDF-SHA-256(secret: master key, salt: the file's,
 *                info: "brindle" 0 kind 0 cipher identity) -> 32 bytes for parts, 32 for pages
 *
 * Both contexts of libcrypto are made, with their key, when a seal is opened; sealing or opening
 * a part only sets another nonce, so nothing is allocated or derived then. The nonce
 * has 96 bits: four bytes of zeros and the position, little-endian.
 *
 * Everything of libcrypto that can fail here fails for want of memory, except that a tag is
 * wrong. Its queue of errors is emptied, since nobody else looks at it. */
#include "base/check.h"
#include "seal/hkdf.h"
#include "seal/keyring.h"
#include "seal/parts.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#define NONCE_BYTES    12
#define HASH_BYTES     32
#define INFO_BYTES_MAX 128
#define STEP_BYTES     (1 << 30) /* libcrypto counts in int */

struct brd_seal {
    EVP_CIPHER_CTX *sealing; /* owned */
    EVP_CIPHER_CTX *opening; /* owned */
    uint64_t next_position;  /* the lowest that may be sealed */
    bool full;               /* the highest one was */
    uint8_t nonce_head[NONCE_HEAD_BYTES];
    uint8_t page_key[PAGE_KEY_BYTES];
};

/* ---- Opening and closing ---- */

static bool
derive(const struct master *master, enum brd_seal_cipher cipher, const char *kind,
       const uint8_t *salt, struct brd_bytes identity, uint8_t *out, size_t size)
{
    static const char owner[] = "brindle";
    const size_t kind_size = strlen(kind) + 1;
    uint8_t info[INFO_BYTES_MAX];
    size_t n = 0;

    BRD_CHECK(sizeof(owner) + kind_size + 1 + identity.size <= sizeof(info));
    memcpy(info, owner, sizeof(owner));
    n += sizeof(owner);
    memcpy(info + n, kind, kind_size);
    n += kind_size;
    info[n++] = (uint8_t)cipher;
    if (identity.size > 0)
        memcpy(info + n, identity.data, identity.size);
    n += identity.size;
    return hkdf_sha256(brd_bytes(master->key, MASTER_BYTES), brd_bytes(salt, BRD_SEAL_SALT_BYTES),
                       brd_bytes(info, n), out, size);
}

static EVP_CIPHER_CTX *
make_context(enum brd_seal_cipher cipher, const uint8_t *key, bool sealing)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const EVP_CIPHER *evp =
        cipher == BRD_SEAL_AES_256_GCM ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();

    if (ctx == NULL || EVP_CipherInit_ex2(ctx, evp, key, NULL, sealing, NULL) != 1) {
        EVP_CIPHER_CTX_free(ctx);
        return NULL;
    }
    BRD_CHECK(EVP_CIPHER_CTX_get_iv_length(ctx) == NONCE_BYTES);
    return ctx;
}

enum brd_status
parts_open(enum brd_seal_cipher cipher, const uint8_t *part_key, const uint8_t *page_key,
           const uint8_t *nonce_head, struct brd_seal **out_seal)
{
    struct brd_seal *seal = calloc(1, sizeof(*seal));

    if (seal == NULL)
        return BRD_OUT_OF_MEMORY;
    seal->sealing = make_context(cipher, part_key, true);
    seal->opening = make_context(cipher, part_key, false);
    memcpy(seal->page_key, page_key, PAGE_KEY_BYTES);
    memcpy(seal->nonce_head, nonce_head, NONCE_HEAD_BYTES);
    if (seal->sealing == NULL || seal->opening == NULL) {
        ERR_clear_error();
        brd_seal_close(&seal);
        return BRD_OUT_OF_MEMORY;
    }
    *out_seal = seal;
    return BRD_OK;
}

enum brd_status
brd_seal_open(const struct brd_keyring *ring, const uint8_t *key_id, enum brd_seal_cipher cipher,
              const char *kind, const uint8_t *salt, struct brd_bytes identity,
              struct brd_seal **out_seal)
{
    static const uint8_t nonce_head[NONCE_HEAD_BYTES];
    const struct master *master = keyring_find(ring, key_id);
    uint8_t keys[PART_KEY_BYTES + PAGE_KEY_BYTES];
    enum brd_status status = BRD_OUT_OF_MEMORY;

    if (master == NULL)
        return BRD_WRONG_KEY;
    if (cipher != BRD_SEAL_AES_256_GCM && cipher != BRD_SEAL_CHACHA20_POLY1305)
        return BRD_UNSUPPORTED;
    if (derive(master, cipher, kind, salt, identity, keys, sizeof(keys)))
        status = parts_open(cipher, keys, keys + PART_KEY_BYTES, nonce_head, out_seal);
    OPENSSL_cleanse(keys, sizeof(keys));
    return status;
}

void
brd_seal_close(struct brd_seal **seal)
{
    if (*seal == NULL)
        return;
    EVP_CIPHER_CTX_free((*seal)->sealing); /* wipes them */
    EVP_CIPHER_CTX_free((*seal)->opening);
    OPENSSL_cleanse(*seal, sizeof(**seal));
    free(*seal);
    *seal = NULL;
}

/* ---- Parts ---- */

static bool
begin(const struct brd_seal *seal, EVP_CIPHER_CTX *ctx, uint64_t position)
{
    uint8_t nonce[NONCE_BYTES];

    static_assert(NONCE_HEAD_BYTES + sizeof(position) == NONCE_BYTES, "they make a nonce");
    memcpy(nonce, seal->nonce_head, NONCE_HEAD_BYTES);
    brd_store_le64(nonce + NONCE_HEAD_BYTES, position);
    return EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL) == 1;
}

/* out NULL: the bytes are bound to the part only. */
static bool
feed(EVP_CIPHER_CTX *ctx, struct brd_bytes in, uint8_t *out)
{
    while (in.size > 0) {
        int step = in.size < STEP_BYTES ? (int)in.size : STEP_BYTES;
        int got = 0;

        if (EVP_CipherUpdate(ctx, out, &got, in.data, step) != 1 || got != step)
            return false;
        if (out != NULL)
            out += step;
        in = brd_bytes(in.data + step, in.size - (size_t)step);
    }
    return true;
}

static bool
finish(EVP_CIPHER_CTX *ctx)
{
    uint8_t rest[16]; /* neither cipher leaves any */
    int got = 0;

    return EVP_CipherFinal_ex(ctx, rest, &got) == 1 && got == 0;
}

enum brd_status
brd_seal_part(struct brd_seal *seal, uint64_t position, struct brd_bytes aad,
              const struct brd_bytes *pieces, size_t count, uint8_t *out, uint8_t *out_tag)
{
    EVP_CIPHER_CTX *ctx = seal->sealing;
    bool done;
    size_t i;

    /* Two parts under one nonce would give both away, and the key of the tags. */
    BRD_CHECK(!seal->full && position >= seal->next_position);
    seal->full = position == UINT64_MAX;
    seal->next_position = position + 1;
    done = begin(seal, ctx, position) && feed(ctx, aad, NULL);
    for (i = 0; done && i < count; i++) {
        done = feed(ctx, pieces[i], out);
        out += pieces[i].size;
    }
    done = done && finish(ctx) &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, BRD_SEAL_TAG_BYTES, out_tag) == 1;
    if (done)
        return BRD_OK;
    ERR_clear_error();
    return BRD_OUT_OF_MEMORY;
}

enum brd_status
brd_seal_unpart(struct brd_seal *seal, uint64_t position, struct brd_bytes aad,
                struct brd_bytes cipher, const uint8_t *tag, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = seal->opening;
    enum brd_status status = BRD_OUT_OF_MEMORY;

    if (begin(seal, ctx, position) && feed(ctx, aad, NULL) && feed(ctx, cipher, out) &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, BRD_SEAL_TAG_BYTES,
                            (void *)(uintptr_t)tag) == 1)
        status = finish(ctx) ? BRD_OK : BRD_CORRUPT;
    if (status == BRD_OK)
        return status;
    ERR_clear_error();
    if (cipher.size > 0)
        OPENSSL_cleanse(out, cipher.size);
    return status;
}

/* ---- Pages ---- */

enum brd_status
brd_seal_mac(struct brd_seal *seal, struct brd_bytes page, uint8_t *out_mac)
{
    uint8_t hash[HASH_BYTES];

    if (HMAC(EVP_sha256(), seal->page_key, PAGE_KEY_BYTES, page.data, page.size, hash, NULL) ==
        NULL) {
        ERR_clear_error();
        return BRD_OUT_OF_MEMORY;
    }
    memcpy(out_mac, hash, BRD_SEAL_TAG_BYTES);
    return BRD_OK;
}

bool
brd_seal_same(const uint8_t *tag, const uint8_t *other)
{
    return CRYPTO_memcmp(tag, other, BRD_SEAL_TAG_BYTES) == 0;
}

#include "seal/hkdf.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

/* OpenSSL does not write to what it takes through a pointer to void. */
static OSSL_PARAM
octets(const char *name, struct brd_bytes bytes)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)bytes.data, bytes.size);
}

bool
hkdf_sha256(struct brd_bytes secret, struct brd_bytes salt, struct brd_bytes info, uint8_t *out,
            size_t size)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    char digest[] = "SHA256";
    OSSL_PARAM params[5];
    size_t n = 0;
    bool done;

    params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    params[n++] = octets(OSSL_KDF_PARAM_KEY, secret);
    if (salt.size > 0)
        params[n++] = octets(OSSL_KDF_PARAM_SALT, salt);
    if (info.size > 0)
        params[n++] = octets(OSSL_KDF_PARAM_INFO, info);
    params[n] = OSSL_PARAM_construct_end();
    done = ctx != NULL && EVP_KDF_derive(ctx, out, size, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    if (!done)
        ERR_clear_error();
    return done;
}

/* Keyrings from text, for tests that link seal/. */
#ifndef BRD_SUPPORT_RINGS_H
#define BRD_SUPPORT_RINGS_H

#include "base/check.h"
#include "seal/seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING_A "0a0a0b0b0c0c0d0d0e0e0f0f1010111112121313141415151616171718181919\n"
#define RING_B "b1b1b2b2b3b3b4b4b5b5b6b6b7b7b8b8b9b9bababbbbbcbcbdbdbebebfbfc0c0\n"
#define RING_C "c9c8c7c6c5c4c3c2c1c0cfcecdcccbcac9c8c7c6c5c4c3c2c1c0cfcecdcccbca\n"

/* What a key file of this text gives; for brd_keyring_close. NULL: NULL. */
static inline struct brd_keyring *
ring_of(const char *text)
{
    const char *folder = getenv("TMPDIR");
    struct brd_keyring *ring = NULL;
    char error[512] = "";
    char path[512];
    enum brd_status status;
    int fd;

    if (text == NULL)
        return NULL;
    snprintf(path, sizeof(path), "%s/brindle-keys-XXXXXX", folder != NULL ? folder : "/tmp");
    fd = mkstemp(path); /* mode 0600 */
    BRD_CHECK(fd >= 0);
    BRD_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    status = brd_keyring_load(path, &ring, error, sizeof(error));
    unlink(path);
    BRD_CHECK(status == BRD_OK);
    return ring;
}

#endif

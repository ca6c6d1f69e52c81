/* What the tests of seal/ share: bytes from hex digits, key files in a directory of their own. */
#ifndef TESTS_UNIT_SEAL_TEST_H
#define TESTS_UNIT_SEAL_TEST_H

#include "base/check.h"
#include "seal/seal.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "B0B1B2B3B4B5B6B7B8B9BABBBCBDBEBFC0C1C2C3C4C5C6C7C8C9CACBCCCDCECF"
#define KEY_C "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"

static char test_dir[256];
static char test_path[300];

static inline void
test_setup(void)
{
    const char *base = getenv("TMPDIR");

    snprintf(test_dir, sizeof(test_dir), "%s/brindle-seal-XXXXXX", base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(test_dir));
    snprintf(test_path, sizeof(test_path), "%s/keys", test_dir);
}

static inline void
test_teardown(void)
{
    unlink(test_path);
    rmdir(test_path);
    rmdir(test_dir);
}

/* Make the key file anew. */
static inline void
test_write(const void *content, size_t size, mode_t mode)
{
    FILE *file;

    unlink(test_path);
    file = fopen(test_path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(content, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(test_path, mode), 0);
}

static inline struct brd_keyring *
test_ring(const char *text)
{
    struct brd_keyring *ring = NULL;
    char error[512] = "";
    enum brd_status status;

    test_write(text, strlen(text), 0600);
    status = brd_keyring_load(test_path, &ring, error, sizeof(error));
    ck_assert_msg(status == BRD_OK, "%s", error);
    return ring;
}

static inline size_t
test_hex(const char *digits, uint8_t *out)
{
    size_t n = strlen(digits) / 2;
    size_t i;

    for (i = 0; i < n; i++) {
        const char two[3] = { digits[2 * i], digits[2 * i + 1], '\0' };

        out[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return n;
}

static inline int
test_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif

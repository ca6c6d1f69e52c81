/* Key files: what is taken, what is refused and how that is said. */
#include "seal_test.h"

#include <errno.h>

static char error[512];

static enum brd_status
load(const void *content, size_t size, mode_t mode)
{
    struct brd_keyring *ring = NULL;
    enum brd_status status;

    test_write(content, size, mode);
    memset(error, 0, sizeof(error));
    status = brd_keyring_load(test_path, &ring, error, sizeof(error));
    ck_assert((status == BRD_OK) == (ring != NULL));
    brd_keyring_close(&ring);
    return status;
}

/* It is refused, with a sentence that holds these words and the path and no digits of a key. */
static void
refused(const char *content, const char *words)
{
    ck_assert_int_eq(load(content, strlen(content), 0600), BRD_INVALID_ARGUMENT);
    ck_assert_msg(strstr(error, words) != NULL, "%s", error);
    ck_assert_msg(strstr(error, test_path) != NULL, "%s", error);
    ck_assert_msg(strstr(error, "0a0b0c") == NULL, "%s", error);
}

START_TEST(the_first_key_is_the_current_one)
{
    struct brd_keyring *ring =
        test_ring("# a comment\n\n" KEY_A "\n  \t\n" KEY_B "\r\n  " KEY_C " ");
    struct brd_keyring *other = test_ring(KEY_B "\n" KEY_A "\n");
    const uint8_t zeros[BRD_SEAL_ID_BYTES] = { 0 };

    ck_assert_mem_ne(brd_keyring_current(ring), brd_keyring_current(other), BRD_SEAL_ID_BYTES);
    ck_assert(brd_keyring_has(ring, brd_keyring_current(other)));
    ck_assert(brd_keyring_has(other, brd_keyring_current(ring)));
    ck_assert(brd_keyring_has(ring, zeros));
    brd_keyring_close(&other);
    other = test_ring(KEY_C);
    ck_assert(brd_keyring_has(ring, brd_keyring_current(other)));
    ck_assert(!brd_keyring_has(other, brd_keyring_current(ring)));
    brd_keyring_close(&other);
    brd_keyring_close(&ring);
    ck_assert_ptr_null(ring);
    brd_keyring_close(&ring);
}
END_TEST

START_TEST(an_id_follows_from_the_key_and_never_changes)
{
    struct brd_keyring *ring = test_ring(KEY_A);
    uint8_t expected[BRD_SEAL_ID_BYTES];
    char name[BRD_SEAL_NAME_BYTES];

    test_hex("f7d833c3cd4d50de34e8baf0a8a2da84", expected);
    ck_assert_mem_eq(brd_keyring_current(ring), expected, sizeof(expected));
    brd_keyring_name(brd_keyring_current(ring), name);
    ck_assert_mem_eq(name, "f7d833c3cd4d50de34e8baf0a8a2da84", 8);
    ck_assert_uint_eq(strlen(name), 8);
    brd_keyring_close(&ring);
}
END_TEST

START_TEST(no_ring_has_only_the_key_that_is_none)
{
    const uint8_t zeros[BRD_SEAL_ID_BYTES] = { 0 };
    struct brd_keyring *ring = test_ring(KEY_A);

    ck_assert_mem_eq(brd_keyring_current(NULL), zeros, sizeof(zeros));
    ck_assert(brd_keyring_has(NULL, zeros));
    ck_assert(!brd_keyring_has(NULL, brd_keyring_current(ring)));
    brd_keyring_close(&ring);
}
END_TEST

START_TEST(plain_before_the_first_key_makes_none_current)
{
    struct brd_keyring *ring = test_ring("# for the last time\n plain \n" KEY_A "\n" KEY_B "\n");
    struct brd_keyring *other = test_ring(KEY_A);
    const uint8_t zeros[BRD_SEAL_ID_BYTES] = { 0 };

    ck_assert_mem_eq(brd_keyring_current(ring), zeros, sizeof(zeros));
    ck_assert(brd_keyring_has(ring, brd_keyring_current(other)));
    ck_assert(brd_keyring_has(ring, zeros));
    brd_keyring_close(&other);
    brd_keyring_close(&ring);
    refused(KEY_A "\nplain\n", "line 2");
    refused("plain\nplain\n" KEY_A "\n", "line 2");
    refused("plain\n", "no key");
    refused("plain " KEY_A "\n", "line 1");
    refused("Plain\n" KEY_A "\n", "line 1");
}
END_TEST

START_TEST(only_before_the_first_key_is_a_promise_and_changes_no_key)
{
    struct brd_keyring *ring = test_ring("# from now on\n only \n" KEY_A "\n" KEY_B "\n");
    struct brd_keyring *other = test_ring(KEY_A "\n" KEY_B);

    ck_assert(brd_keyring_only(ring));
    ck_assert(!brd_keyring_only(other));
    ck_assert(!brd_keyring_only(NULL));
    ck_assert_mem_eq(brd_keyring_current(ring), brd_keyring_current(other), BRD_SEAL_ID_BYTES);
    ck_assert(!brd_keyring_same(ring, other));
    ck_assert(!brd_keyring_same(other, ring));
    ck_assert(brd_keyring_same(ring, ring));
    brd_keyring_close(&other);
    brd_keyring_close(&ring);
    refused(KEY_A "\nonly\n", "line 2");
    refused("only\nonly\n" KEY_A "\n", "line 2");
    refused("only\nplain\n" KEY_A "\n", "line 2");
    refused("plain\nonly\n" KEY_A "\n", "line 2");
    refused("only\n", "no key");
    refused("only " KEY_A "\n", "line 1");
}
END_TEST

START_TEST(rings_are_the_same_whatever_the_order_of_their_older_keys)
{
    static const char *const texts[] = { KEY_A "\n" KEY_B "\n" KEY_C, KEY_B "\n" KEY_A "\n" KEY_C,
                                         "plain\n" KEY_A "\n" KEY_B "\n" KEY_C, KEY_A "\n" KEY_B,
                                         KEY_A };
    const size_t count = sizeof(texts) / sizeof(texts[0]);
    struct brd_keyring *same = test_ring(KEY_A "\n" KEY_C "\n" KEY_B);
    size_t i;
    size_t j;

    for (i = 0; i < count; i++) {
        struct brd_keyring *ring = test_ring(texts[i]);

        ck_assert(!brd_keyring_same(ring, NULL));
        ck_assert(!brd_keyring_same(NULL, ring));
        ck_assert(brd_keyring_same(ring, same) == (i == 0));
        for (j = 0; j < count; j++) {
            struct brd_keyring *other = test_ring(texts[j]);

            ck_assert(brd_keyring_same(ring, other) == (i == j));
            brd_keyring_close(&other);
        }
        brd_keyring_close(&ring);
    }
    brd_keyring_close(&same);
    ck_assert(brd_keyring_same(NULL, NULL));
}
END_TEST

START_TEST(digits_may_be_upper_or_lower_case)
{
    struct brd_keyring *upper = test_ring(KEY_B);
    struct brd_keyring *lower =
        test_ring("b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf\n");

    ck_assert_mem_eq(brd_keyring_current(upper), brd_keyring_current(lower), BRD_SEAL_ID_BYTES);
    brd_keyring_close(&upper);
    brd_keyring_close(&lower);
}
END_TEST

START_TEST(what_is_no_key_is_refused_by_its_line)
{
    char nul[] = KEY_A "\n" KEY_B "\n";

    refused(KEY_A "\n\n" KEY_B "0\n", "line 3");
    refused(KEY_A "0\n", "line 1");
    refused("# one\n" KEY_A "\n000102\n", "line 3");
    refused(KEY_A "\n#\n0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1\n", "line 3");
    refused("g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "line 1");
    refused("000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f", "line 1");
    refused("key = " KEY_A, "line 1");
    refused("0000000000000000000000000000000000000000000000000000000000000000", "zeros");
    refused(KEY_A KEY_B, "line 1");
    nul[70] = '\0';
    ck_assert_int_eq(load(nul, sizeof(nul) - 1, 0600), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "line 2"));
}
END_TEST

START_TEST(a_repeated_key_is_refused)
{
    refused(KEY_A "\n" KEY_B "\n" KEY_A "\n", "line 3");
    refused(KEY_B "\nb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf\n", "line 2");
}
END_TEST

START_TEST(a_file_without_a_key_is_refused)
{
    refused("", "no key");
    refused("\n\n# " KEY_A "\n", "no key");
}
END_TEST

START_TEST(a_file_that_is_too_large_is_refused)
{
    size_t size = ((size_t)64 << 10) + 1;
    char *content = malloc(size);

    ck_assert_ptr_nonnull(content);
    memset(content, '\n', size);
    memcpy(content, KEY_A, 64);
    ck_assert_int_eq(load(content, size, 0600), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "no key file"));
    ck_assert_int_eq(load(content, size - 1, 0600), BRD_OK);
    free(content);
}
END_TEST

START_TEST(hundreds_of_keys_are_held)
{
    static char content[900 * 65 + 1];
    struct brd_keyring *ring;
    struct brd_keyring *one;
    char last[65];
    unsigned i;

    for (i = 0; i < 900; i++)
        snprintf(content + i * 65, 66, "%064x\n", i + 1);
    ring = test_ring(content);
    snprintf(last, sizeof(last), "%064x", 900u);
    one = test_ring(last);
    ck_assert(brd_keyring_has(ring, brd_keyring_current(one)));
    brd_keyring_close(&one);
    brd_keyring_close(&ring);
}
END_TEST

START_TEST(a_file_that_others_can_read_or_write_is_refused)
{
    static const mode_t open_modes[] = { 0604, 0644, 0640, 0602,  0620,
                                         0660, 0610, 0700, 04600, 01600 };
    size_t i;

    for (i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
        ck_assert_int_eq(load(KEY_A, 64, open_modes[i]), BRD_INVALID_ARGUMENT);
        ck_assert_msg(strstr(error, "chmod 0600") != NULL, "%s", error);
    }
    ck_assert_int_eq(load(KEY_A, 64, 0600), BRD_OK);
    ck_assert_int_eq(load(KEY_A, 64, 0400), BRD_OK);
    /* A credential, as systemd lays it down, is root's. */
    ck_assert_int_eq(load(KEY_A, 64, 0440), geteuid() == 0 ? BRD_OK : BRD_INVALID_ARGUMENT);
}
END_TEST

START_TEST(a_file_of_another_user_is_refused)
{
    struct brd_keyring *ring = NULL;

    if (geteuid() != 0) {
        printf("SKIP: only root can give a file away\n");
        return;
    }
    test_write(KEY_A, 64, 0600);
    ck_assert_int_eq(chown(test_path, 12345, 12345), 0);
    ck_assert_int_eq(brd_keyring_load(test_path, &ring, error, sizeof(error)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "12345"));
    ck_assert_int_eq(chmod(test_path, 0440), 0);
    ck_assert_int_eq(brd_keyring_load(test_path, &ring, error, sizeof(error)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_ptr_null(ring);
}
END_TEST

START_TEST(what_is_no_file_is_refused_without_waiting)
{
    struct brd_keyring *ring = NULL;

    ck_assert_int_eq(brd_keyring_load(test_path, &ring, error, sizeof(error)), BRD_IO_ERROR);
    ck_assert_ptr_nonnull(strstr(error, test_path));
    ck_assert_ptr_nonnull(strstr(error, strerror(ENOENT)));
    ck_assert_int_eq(mkdir(test_path, 0700), 0);
    ck_assert_int_eq(brd_keyring_load(test_path, &ring, error, sizeof(error)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "regular file"));
    ck_assert_int_eq(rmdir(test_path), 0);
    ck_assert_int_eq(mkfifo(test_path, 0600), 0);
    ck_assert_int_eq(brd_keyring_load(test_path, &ring, error, sizeof(error)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "regular file"));
    ck_assert_int_eq(brd_keyring_load("/dev/zero", &ring, error, sizeof(error)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "regular file"));
    ck_assert_ptr_null(ring);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("keyring");
    TCase *tcase = tcase_create("keyring");

    tcase_add_checked_fixture(tcase, test_setup, test_teardown);
    tcase_add_test(tcase, the_first_key_is_the_current_one);
    tcase_add_test(tcase, an_id_follows_from_the_key_and_never_changes);
    tcase_add_test(tcase, no_ring_has_only_the_key_that_is_none);
    tcase_add_test(tcase, plain_before_the_first_key_makes_none_current);
    tcase_add_test(tcase, only_before_the_first_key_is_a_promise_and_changes_no_key);
    tcase_add_test(tcase, rings_are_the_same_whatever_the_order_of_their_older_keys);
    tcase_add_test(tcase, digits_may_be_upper_or_lower_case);
    tcase_add_test(tcase, what_is_no_key_is_refused_by_its_line);
    tcase_add_test(tcase, a_repeated_key_is_refused);
    tcase_add_test(tcase, a_file_without_a_key_is_refused);
    tcase_add_test(tcase, a_file_that_is_too_large_is_refused);
    tcase_add_test(tcase, hundreds_of_keys_are_held);
    tcase_add_test(tcase, a_file_that_others_can_read_or_write_is_refused);
    tcase_add_test(tcase, a_file_of_another_user_is_refused);
    tcase_add_test(tcase, what_is_no_file_is_refused_without_waiting);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}

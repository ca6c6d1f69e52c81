/* Sealing: the standards' vectors, and that nothing opens what was not sealed so. */
#include "seal_test.h"

#include "seal/hkdf.h"
#include "seal/parts.h"

#include <signal.h>

static const enum brd_seal_cipher ciphers[] = { BRD_SEAL_AES_256_GCM, BRD_SEAL_CHACHA20_POLY1305 };

/* ---- Vectors ---- */

static void
hkdf_gives(const char *secret, const char *salt, const char *info, const char *expected)
{
    uint8_t bytes[4][128];
    uint8_t out[128];
    size_t secret_size = test_hex(secret, bytes[0]);
    size_t salt_size = test_hex(salt, bytes[1]);
    size_t info_size = test_hex(info, bytes[2]);
    size_t size = test_hex(expected, bytes[3]);

    ck_assert(hkdf_sha256(brd_bytes(bytes[0], secret_size), brd_bytes(bytes[1], salt_size),
                          brd_bytes(bytes[2], info_size), out, size));
    ck_assert_mem_eq(out, bytes[3], size);
}

START_TEST(hkdf_is_that_of_rfc_5869)
{
    hkdf_gives(
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    hkdf_gives("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
               "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
               "404142434445464748494a4b4c4d4e4f",
               "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
               "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
               "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
               "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
               "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
               "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
               "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
               "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
               "cc30c58179ec3e87c14c01d5c1f3434f1d87");
    hkdf_gives(
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}
END_TEST

static void
aead_gives(enum brd_seal_cipher cipher, const char *key, const char *nonce, const char *aad,
           const char *plain, const char *expected, const char *expected_tag)
{
    uint8_t bytes[6][128];
    uint8_t sealed[128];
    uint8_t opened[128];
    uint8_t tag[BRD_SEAL_TAG_BYTES];
    uint8_t page_key[PAGE_KEY_BYTES] = { 0 };
    struct brd_bytes text = brd_bytes(bytes[0], test_hex(plain, bytes[0]));
    struct brd_bytes bound = brd_bytes(bytes[1], test_hex(aad, bytes[1]));
    struct brd_seal *seal = NULL;
    uint64_t position;

    test_hex(key, bytes[2]);
    test_hex(nonce, bytes[3]);
    test_hex(expected, bytes[4]);
    test_hex(expected_tag, bytes[5]);
    position = brd_load_le64(bytes[3] + NONCE_HEAD_BYTES);
    ck_assert_int_eq(parts_open(cipher, bytes[2], page_key, bytes[3], &seal), BRD_OK);
    ck_assert_int_eq(brd_seal_part(seal, position, bound, &text, 1, sealed, tag), BRD_OK);
    if (text.size > 0)
        ck_assert_mem_eq(sealed, bytes[4], text.size);
    ck_assert_mem_eq(tag, bytes[5], sizeof(tag));
    ck_assert_int_eq(brd_seal_unpart(seal, position, bound, brd_bytes(sealed, text.size), tag,
                                     opened),
                     BRD_OK);
    if (text.size > 0)
        ck_assert_mem_eq(opened, text.data, text.size);
    brd_seal_close(&seal);
    ck_assert_ptr_null(seal);
}

START_TEST(aes_gcm_is_that_of_nist)
{
    /* Test cases 13, 14 and 16 of the specification of GCM. */
    const char *zeros = "0000000000000000000000000000000000000000000000000000000000000000";

    aead_gives(BRD_SEAL_AES_256_GCM, zeros, "000000000000000000000000", "", "", "",
               "530f8afbc74536b9a963b4f1c4cb738b");
    aead_gives(BRD_SEAL_AES_256_GCM, zeros, "000000000000000000000000", "",
               "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18",
               "d0d1c8a799996bf0265b98b5d48ab919");
    aead_gives(BRD_SEAL_AES_256_GCM,
               "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
               "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
               "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
               "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
               "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
               "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
               "76fc6ece0f4e1768cddf8853bb2d551b");
}
END_TEST

START_TEST(chacha_poly_is_that_of_rfc_8439)
{
    aead_gives(BRD_SEAL_CHACHA20_POLY1305,
               "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
               "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
               "4c616469657320616e642047656e746c656d656e206f662074686520636c6173"
               "73206f66202739393a204966204920636f756c64206f6666657220796f75206f"
               "6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73"
               "637265656e20776f756c642062652069742e",
               "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
               "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
               "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
               "3ff4def08e4b7a9de576d26586cec64b6116",
               "1ae10b594f09e26a7e902ecbd0600691");
}
END_TEST

START_TEST(a_page_is_signed_as_rfc_4231_says)
{
    /* HMAC fills a shorter key with zeros, so that of 20 bytes is one of 32. */
    uint8_t page_key[PAGE_KEY_BYTES] = { 0 };
    const uint8_t zeros[PART_KEY_BYTES] = { 0 };
    uint8_t expected[BRD_SEAL_TAG_BYTES];
    uint8_t mac[BRD_SEAL_TAG_BYTES];
    struct brd_seal *seal = NULL;
    int i;

    memset(page_key, 0x0b, 20);
    test_hex("b0344c61d8db38535ca8afceaf0bf12b", expected);
    ck_assert_int_eq(parts_open(BRD_SEAL_AES_256_GCM, zeros, page_key, zeros, &seal), BRD_OK);
    for (i = 0; i < 3; i++) {
        ck_assert_int_eq(brd_seal_mac(seal, brd_bytes_of("Hi There"), mac), BRD_OK);
        ck_assert(brd_seal_same(mac, expected));
    }
    for (i = 0; i < BRD_SEAL_TAG_BYTES * 8; i++) {
        mac[i / 8] ^= (uint8_t)(1 << i % 8);
        ck_assert(!brd_seal_same(mac, expected));
        mac[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    brd_seal_close(&seal);
}
END_TEST

/* ---- The keys of a file ---- */

#define TEXT "the quick brown fox jumps over the lazy dog, twice"

static const uint8_t salt_a[BRD_SEAL_SALT_BYTES] = "a salt, 16 byte";
static const uint8_t salt_b[BRD_SEAL_SALT_BYTES] = "b salt, 16 byte";

static struct brd_keyring *ring;

static void
setup(void)
{
    test_setup();
    ring = test_ring(KEY_A "\n" KEY_B "\n");
}

static void
teardown(void)
{
    brd_keyring_close(&ring);
    test_teardown();
}

static struct brd_seal *
open_seal(enum brd_seal_cipher cipher, const char *kind, const uint8_t *salt, const char *identity)
{
    struct brd_seal *seal = NULL;

    ck_assert_int_eq(brd_seal_open(ring, brd_keyring_current(ring), cipher, kind, salt,
                                   brd_bytes_of(identity), &seal),
                     BRD_OK);
    return seal;
}

static void
seal_text(struct brd_seal *seal, uint64_t position, uint8_t *out, uint8_t *tag)
{
    struct brd_bytes text = brd_bytes_of(TEXT);

    ck_assert_int_eq(brd_seal_part(seal, position, brd_bytes_of("aad"), &text, 1, out, tag),
                     BRD_OK);
}

/* Does it open as TEXT? If not, nothing of it may be left in out. */
static bool
opens(struct brd_seal *seal, uint64_t position, const char *aad, struct brd_bytes cipher,
      const uint8_t *tag)
{
    uint8_t out[sizeof(TEXT)];
    enum brd_status status;
    size_t i;

    memset(out, 0xee, sizeof(out));
    status = brd_seal_unpart(seal, position, brd_bytes_of(aad), cipher, tag, out);
    if (status == BRD_OK) {
        ck_assert_mem_eq(out, TEXT, cipher.size);
        return true;
    }
    ck_assert_int_eq(status, BRD_CORRUPT);
    for (i = 0; i < cipher.size; i++)
        ck_assert_uint_eq(out[i], 0);
    return false;
}

START_TEST(a_part_opens_only_as_it_was_sealed)
{
    struct brd_seal *seal = open_seal(ciphers[_i], "segment", salt_a, "one");
    uint8_t out[sizeof(TEXT)];
    uint8_t tag[BRD_SEAL_TAG_BYTES];
    const size_t size = strlen(TEXT);
    size_t bit;

    seal_text(seal, 4096, out, tag);
    ck_assert(opens(seal, 4096, "aad", brd_bytes(out, size), tag));
    ck_assert(!opens(seal, 4104, "aad", brd_bytes(out, size), tag));
    ck_assert(!opens(seal, 4096 + (UINT64_C(1) << 32), "aad", brd_bytes(out, size), tag));
    ck_assert(!opens(seal, 4096, "aae", brd_bytes(out, size), tag));
    ck_assert(!opens(seal, 4096, "", brd_bytes(out, size), tag));
    ck_assert(!opens(seal, 4096, "aad", brd_bytes(out, size - 1), tag));
    for (bit = 0; bit < size * 8; bit++) {
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert(!opens(seal, 4096, "aad", brd_bytes(out, size), tag));
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (bit = 0; bit < sizeof(tag) * 8; bit++) {
        tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert(!opens(seal, 4096, "aad", brd_bytes(out, size), tag));
        tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* A failure leaves nothing behind that the next one would meet. */
    ck_assert(opens(seal, 4096, "aad", brd_bytes(out, size), tag));
    brd_seal_close(&seal);
}
END_TEST

START_TEST(another_file_has_other_keys)
{
    struct brd_seal *seal = open_seal(ciphers[_i], "segment", salt_a, "one");
    struct brd_seal *others[5];
    uint8_t out[2][sizeof(TEXT)];
    uint8_t tag[2][BRD_SEAL_TAG_BYTES];
    uint8_t mac[2][BRD_SEAL_TAG_BYTES];
    struct brd_keyring *other_ring = test_ring(KEY_B "\n" KEY_A);
    size_t i;

    others[0] = open_seal(ciphers[_i], "snapshot", salt_a, "one");
    others[1] = open_seal(ciphers[_i], "segment", salt_b, "one");
    others[2] = open_seal(ciphers[_i], "segment", salt_a, "two");
    others[3] = open_seal(ciphers[1 - _i], "segment", salt_a, "one");
    ck_assert_int_eq(brd_seal_open(ring, brd_keyring_current(other_ring), ciphers[_i], "segment",
                                   salt_a, brd_bytes_of("one"), &others[4]),
                     BRD_OK);
    seal_text(seal, 0, out[0], tag[0]);
    ck_assert_int_eq(brd_seal_mac(seal, brd_bytes_of(TEXT), mac[0]), BRD_OK);
    for (i = 0; i < 5; i++) {
        ck_assert(!opens(others[i], 0, "aad", brd_bytes(out[0], strlen(TEXT)), tag[0]));
        ck_assert_int_eq(brd_seal_mac(others[i], brd_bytes_of(TEXT), mac[1]), BRD_OK);
        ck_assert(!brd_seal_same(mac[0], mac[1]));
        seal_text(others[i], 0, out[1], tag[1]);
        ck_assert_mem_ne(out[0], out[1], strlen(TEXT));
        brd_seal_close(&others[i]);
    }
    brd_seal_close(&seal);
    brd_keyring_close(&other_ring);
}
END_TEST

START_TEST(the_same_file_has_the_same_keys)
{
    struct brd_seal *seal = open_seal(ciphers[_i], "segment", salt_a, "one");
    struct brd_seal *again;
    uint8_t out[sizeof(TEXT)];
    uint8_t tag[BRD_SEAL_TAG_BYTES];
    struct brd_keyring *other_ring = test_ring(KEY_B "\n" KEY_A "\n");

    seal_text(seal, 8, out, tag);
    /* Whatever its place in the ring. */
    ck_assert_int_eq(brd_seal_open(other_ring, brd_keyring_current(ring), ciphers[_i], "segment",
                                   salt_a, brd_bytes_of("one"), &again),
                     BRD_OK);
    ck_assert(opens(again, 8, "aad", brd_bytes(out, strlen(TEXT)), tag));
    brd_seal_close(&again);
    brd_seal_close(&seal);
    brd_keyring_close(&other_ring);
}
END_TEST

START_TEST(pieces_are_sealed_as_one_and_in_place)
{
    struct brd_seal *whole = open_seal(ciphers[_i], "segment", salt_a, "one");
    struct brd_seal *pieced = open_seal(ciphers[_i], "segment", salt_a, "one");
    const struct brd_bytes text = brd_bytes_of(TEXT);
    uint8_t out[3][sizeof(TEXT)];
    uint8_t tag[3][BRD_SEAL_TAG_BYTES];
    struct brd_bytes pieces[4];
    size_t cut;

    seal_text(whole, 0, out[0], tag[0]);
    for (cut = 1; cut + 2 < text.size; cut++) {
        pieces[0] = brd_bytes(text.data, cut);
        pieces[1] = brd_bytes(NULL, 0);
        pieces[2] = brd_bytes(text.data + cut, 1);
        pieces[3] = brd_bytes(text.data + cut + 1, text.size - cut - 1);
        ck_assert_int_eq(brd_seal_part(pieced, cut, brd_bytes_of("aad"), pieces, 4, out[1], tag[1]),
                         BRD_OK);
        ck_assert(opens(whole, cut, "aad", brd_bytes(out[1], text.size), tag[1]));
        memcpy(out[2], TEXT, sizeof(TEXT));
        pieces[0] = brd_bytes(out[2], text.size);
        ck_assert_int_eq(brd_seal_part(whole, cut, brd_bytes_of("aad"), pieces, 1, out[2], tag[2]),
                         BRD_OK);
        ck_assert_mem_eq(out[1], out[2], text.size);
        ck_assert_mem_eq(tag[1], tag[2], BRD_SEAL_TAG_BYTES);
        ck_assert_int_eq(brd_seal_unpart(whole, cut, brd_bytes_of("aad"),
                                         brd_bytes(out[2], text.size), tag[2], out[2]),
                         BRD_OK);
        ck_assert_mem_eq(out[2], TEXT, text.size);
    }
    brd_seal_close(&whole);
    brd_seal_close(&pieced);
}
END_TEST

START_TEST(an_empty_part_is_bound_too)
{
    struct brd_seal *seal = open_seal(ciphers[_i], "segment", salt_a, "one");
    uint8_t tag[BRD_SEAL_TAG_BYTES];

    ck_assert_int_eq(brd_seal_part(seal, 0, brd_bytes_of("aad"), NULL, 0, NULL, tag), BRD_OK);
    ck_assert(opens(seal, 0, "aad", brd_bytes(NULL, 0), tag));
    ck_assert(!opens(seal, 0, "aaa", brd_bytes(NULL, 0), tag));
    ck_assert(!opens(seal, 1, "aad", brd_bytes(NULL, 0), tag));
    brd_seal_close(&seal);
}
END_TEST

START_TEST(a_key_that_the_ring_has_not_is_the_wrong_one)
{
    struct brd_keyring *other = test_ring(KEY_C);
    struct brd_seal *seal = NULL;

    ck_assert_int_eq(brd_seal_open(ring, brd_keyring_current(other), BRD_SEAL_AES_256_GCM,
                                   "segment", salt_a, brd_bytes_of("one"), &seal),
                     BRD_WRONG_KEY);
    ck_assert_int_eq(brd_seal_open(ring, brd_keyring_current(ring), (enum brd_seal_cipher)3,
                                   "segment", salt_a, brd_bytes_of("one"), &seal),
                     BRD_UNSUPPORTED);
    ck_assert_int_eq(brd_seal_open(ring, brd_keyring_current(ring), (enum brd_seal_cipher)0,
                                   "segment", salt_a, brd_bytes_of("one"), &seal),
                     BRD_UNSUPPORTED);
    ck_assert_ptr_null(seal);
    brd_keyring_close(&other);
}
END_TEST

START_TEST(a_file_outlives_the_ring)
{
    struct brd_keyring *copy = test_ring(KEY_A);
    struct brd_seal *seal = NULL;
    struct brd_seal *other = open_seal(BRD_SEAL_AES_256_GCM, "segment", salt_a, "one");
    uint8_t out[sizeof(TEXT)];
    uint8_t tag[BRD_SEAL_TAG_BYTES];

    ck_assert_int_eq(brd_seal_open(copy, brd_keyring_current(copy), BRD_SEAL_AES_256_GCM, "segment",
                                   salt_a, brd_bytes_of("one"), &seal),
                     BRD_OK);
    brd_keyring_close(&copy);
    seal_text(seal, 1, out, tag);
    ck_assert(opens(other, 1, "aad", brd_bytes(out, strlen(TEXT)), tag));
    brd_seal_close(&seal);
    brd_seal_close(&other);
}
END_TEST

START_TEST(the_preferred_cipher_is_one_of_them)
{
    enum brd_seal_cipher cipher = brd_seal_preferred();

    ck_assert(cipher == BRD_SEAL_AES_256_GCM || cipher == BRD_SEAL_CHACHA20_POLY1305);
    ck_assert_int_eq(cipher, brd_seal_preferred());
}
END_TEST

/* ---- A nonce is used once ---- */

START_TEST(a_position_that_was_used_aborts)
{
    struct brd_seal *seal = open_seal(BRD_SEAL_AES_256_GCM, "segment", salt_a, "one");
    uint8_t out[sizeof(TEXT)];
    uint8_t tag[BRD_SEAL_TAG_BYTES];

    seal_text(seal, 8, out, tag);
    seal_text(seal, 8, out, tag);
}
END_TEST

START_TEST(a_position_before_one_that_was_used_aborts)
{
    struct brd_seal *seal = open_seal(BRD_SEAL_AES_256_GCM, "segment", salt_a, "one");
    uint8_t out[sizeof(TEXT)];
    uint8_t tag[BRD_SEAL_TAG_BYTES];

    seal_text(seal, 8, out, tag);
    seal_text(seal, 0, out, tag);
}
END_TEST

START_TEST(nothing_is_sealed_behind_the_last_position)
{
    struct brd_seal *seal = open_seal(BRD_SEAL_AES_256_GCM, "segment", salt_a, "one");
    uint8_t out[sizeof(TEXT)];
    uint8_t tag[BRD_SEAL_TAG_BYTES];

    seal_text(seal, UINT64_MAX, out, tag);
    seal_text(seal, 0, out, tag);
}
END_TEST

int
main(void)
{
    const int n = sizeof(ciphers) / sizeof(ciphers[0]);
    Suite *suite = suite_create("seal");
    TCase *tcase = tcase_create("vectors");

    tcase_add_test(tcase, hkdf_is_that_of_rfc_5869);
    tcase_add_test(tcase, aes_gcm_is_that_of_nist);
    tcase_add_test(tcase, chacha_poly_is_that_of_rfc_8439);
    tcase_add_test(tcase, a_page_is_signed_as_rfc_4231_says);
    tcase_add_test(tcase, the_preferred_cipher_is_one_of_them);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("files");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_part_opens_only_as_it_was_sealed, 0, n);
    tcase_add_loop_test(tcase, another_file_has_other_keys, 0, n);
    tcase_add_loop_test(tcase, the_same_file_has_the_same_keys, 0, n);
    tcase_add_loop_test(tcase, pieces_are_sealed_as_one_and_in_place, 0, n);
    tcase_add_loop_test(tcase, an_empty_part_is_bound_too, 0, n);
    tcase_add_test(tcase, a_key_that_the_ring_has_not_is_the_wrong_one);
    tcase_add_test(tcase, a_file_outlives_the_ring);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("nonces");
    tcase_add_unchecked_fixture(tcase, setup, teardown);
    if (getenv("CK_FORK") == NULL || strcmp(getenv("CK_FORK"), "no") != 0) {
        tcase_add_test_raise_signal(tcase, a_position_that_was_used_aborts, SIGABRT);
        tcase_add_test_raise_signal(tcase, a_position_before_one_that_was_used_aborts, SIGABRT);
        tcase_add_test_raise_signal(tcase, nothing_is_sealed_behind_the_last_position, SIGABRT);
    }
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}

/* Entries and buckets: what goes in comes out, for every size and place. */
#include "store/bucket.h"
#include "store_test.h"

static void
check_entry(size_t key_size, size_t value_size, bool has_deadline)
{
    uint8_t *key = malloc(key_size + 1);
    uint8_t *value = malloc(value_size + 1);
    struct brd_entry *entry;
    struct brd_view view;

    memset(key, 'k', key_size);
    memset(value, 'v', value_size);
    entry = brd_entry_create(brd_bytes(key, key_size), brd_bytes(value, value_size), NULL,
                             has_deadline);
    ck_assert_ptr_nonnull(entry);
    entry->version = 42;
    if (has_deadline)
        entry_set_deadline(entry, 77);
    ck_assert(brd_bytes_equal(entry_key(entry), brd_bytes(key, key_size)));
    ck_assert(entry_has_key(entry, brd_bytes(key, key_size)));
    ck_assert_uint_eq(entry_value_size(entry), value_size);
    entry_view(entry, &view);
    ck_assert(brd_bytes_equal(view.value, brd_bytes(value, value_size)));
    ck_assert_ptr_null(view.blob);
    ck_assert_uint_eq(view.version, 42);
    ck_assert_uint_eq(view.deadline_ms, has_deadline ? 77 : 0);
    if (key_size > 0) {
        ck_assert(!entry_has_key(entry, brd_bytes(key, key_size - 1)));
        key[key_size - 1] = 'x';
        ck_assert(!entry_has_key(entry, brd_bytes(key, key_size)));
        key[key_size - 1] = 'k';
        key[0] = 'x';
        ck_assert(!entry_has_key(entry, brd_bytes(key, key_size)));
    }
    brd_entry_discard(&entry);
    ck_assert_ptr_null(entry);
    free(key);
    free(value);
}

START_TEST(every_length_of_key_and_value_is_kept)
{
    static const size_t keys[] = { 0, 1, 7, 8, 9, 16, 63, 64, 65, 254, 255, 256, 65535, 65536 };
    static const size_t values[] = { 0, 1, 100, 16382, 16383 };
    size_t k;
    size_t v;

    for (k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        for (v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            check_entry(keys[k], values[v], false);
            check_entry(keys[k], values[v], true);
        }
    }
    for (k = 0; k < 100; k++)
        check_entry(k, k, k % 2 == 0);
}
END_TEST

START_TEST(a_difference_in_any_byte_of_the_key_counts)
{
    uint8_t bytes[130];
    size_t size;
    size_t i;

    memset(bytes, 'a', sizeof(bytes));
    for (size = 1; size <= sizeof(bytes); size++) {
        struct brd_entry *entry =
            brd_entry_create(brd_bytes(bytes, size), brd_bytes(NULL, 0), NULL, false);

        for (i = 0; i < size; i++) {
            bytes[i] = 'b';
            ck_assert(!entry_has_key(entry, brd_bytes(bytes, size)));
            bytes[i] = 'a';
        }
        brd_entry_discard(&entry);
    }
}
END_TEST

START_TEST(every_deadline_is_kept_to_the_millisecond)
{
    static const uint64_t deadlines[] = {
        1,
        UINT64_C(1700000000123),
        (1u << 21) - 1,
        1u << 21,
        ENTRY_DEADLINE_FAR - 1,
        ENTRY_DEADLINE_FAR,
        ENTRY_DEADLINE_FAR + 1,
        UINT64_C(1) << 43,
        (UINT64_C(1) << 43) - 1,
        UINT64_MAX - 1,
        UINT64_MAX,
    };
    struct brd_entry *entry =
        brd_entry_create(brd_bytes_of("key"), brd_bytes_of("value"), NULL, true);
    size_t i;

    ck_assert_uint_eq(entry_deadline(entry), 0);
    ck_assert(!entry_is_timed(entry));
    for (i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        uint64_t deadline_ms = deadlines[i];

        entry_set_deadline(entry, deadline_ms);
        ck_assert_uint_eq(entry_deadline(entry), deadline_ms);
        ck_assert_int_eq(entry_is_timed(entry), deadline_ms < ENTRY_DEADLINE_FAR);
        ck_assert(entry_is_expired(entry, deadline_ms));
        ck_assert(!entry_is_expired(entry, deadline_ms - 1));
    }
    entry_set_deadline(entry, 0);
    ck_assert_uint_eq(entry_deadline(entry), 0);
    brd_entry_discard(&entry);
}
END_TEST

START_TEST(a_blob_is_shared_and_given_up_with_its_entry)
{
    struct brd_blob *blob = brd_blob_create(BRD_STORE_BLOB_MIN);
    struct brd_entry *entries[2];
    struct brd_view view;
    int i;

    memset(blob->data, 'b', blob->size);
    for (i = 0; i < 2; i++) {
        entries[i] =
            brd_entry_create(brd_bytes_of("key"), brd_bytes(NULL, 0), brd_blob_ref(blob), i == 1);
        entry_view(entries[i], &view);
        ck_assert_ptr_eq(view.blob, blob);
        ck_assert_ptr_eq(view.value.data, blob->data);
        ck_assert_uint_eq(view.value.size, BRD_STORE_BLOB_MIN);
        ck_assert_uint_ge(brd_blob_footprint(entry_blob(entries[i])), BRD_STORE_BLOB_MIN);
        ck_assert(entry_has_key(entries[i], brd_bytes_of("key")));
    }
    ck_assert_uint_eq(atomic_load(&blob->refs), 3);
    brd_entry_discard(&entries[0]);
    brd_entry_discard(&entries[1]);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
}
END_TEST

/* Whatever the allocator gives: the address sanitizer's not one byte more than
 * was asked for. */
START_TEST(a_value_is_overwritten_only_where_a_new_one_would_take_as_much)
{
    struct brd_bytes key = brd_bytes("key:000000000001", 16);
    uint8_t bytes[400];
    size_t before;
    size_t after;

    memset(bytes, 'v', sizeof(bytes));
    for (before = 0; before < 300; before++) {
        struct brd_entry *entry = brd_entry_create(key, brd_bytes(bytes, before), NULL, false);
        size_t room = entry_bytes(entry);

        entry_set_mark(entry, 9);
        ck_assert(entry_has_room(entry, before));
        for (after = 0; after < sizeof(bytes); after++) {
            struct brd_entry *other;
            struct brd_view view;

            if (!entry_has_room(entry, after))
                continue;
            other = brd_entry_create(key, brd_bytes(bytes, after), NULL, false);
            ck_assert_uint_le(entry_bytes(other), room + 16);
            brd_entry_discard(&other);
            entry_overwrite(entry, brd_bytes(bytes + sizeof(bytes) - after, after), after + 1);
            entry_view(entry, &view);
            ck_assert(brd_bytes_equal(view.value, brd_bytes(bytes, after)));
            ck_assert_uint_eq(view.version, after + 1);
            ck_assert(entry_has_key(entry, key));
            ck_assert_uint_eq(entry_mark(entry), 9);
            ck_assert_uint_eq(entry_bytes(entry), room);
        }
        brd_entry_discard(&entry);
    }
}
END_TEST

START_TEST(a_value_beside_a_deadline_or_in_a_blob_is_not_overwritten)
{
    struct brd_blob *blob = brd_blob_create(BRD_STORE_BLOB_MIN);
    struct brd_bytes key = brd_bytes("k", 1);
    struct brd_entry *entry = brd_entry_create(key, brd_bytes("value", 5), NULL, true);

    ck_assert(!entry_has_room(entry, 5));
    brd_entry_discard(&entry);
    entry = brd_entry_create(key, brd_bytes(NULL, 0), blob, false);
    ck_assert(!entry_has_room(entry, 0));
    ck_assert(!entry_has_room(entry, BRD_STORE_BLOB_MIN));
    brd_entry_discard(&entry);
}
END_TEST

START_TEST(places_of_a_bucket_do_not_touch_each_other)
{
    struct random random = random_start("bucket");
    struct bucket bucket = { { 0 } };
    void *pointers[BUCKET_PLACES] = { 0 };
    uint8_t tags[BUCKET_PLACES] = { 0 };
    int round;
    unsigned i;

    for (round = 0; round < 10000; round++) {
        unsigned place = random_below(&random, BUCKET_PLACES);

        pointers[place] = (void *)(uintptr_t)(random_next(&random) & UINT64_C(0x7ffffffffff0));
        tags[place] = (uint8_t)random_next(&random);
        bucket_set(&bucket, place, tags[place], pointers[place]);
        ck_assert(!bucket_is_chained(&bucket));
        for (i = 0; i < BUCKET_PLACES; i++) {
            ck_assert_ptr_eq(bucket_pointer(&bucket, i), pointers[i]);
            ck_assert_uint_eq(bucket_tag(&bucket, i), tags[i]);
            ck_assert_uint_eq(bucket_match(&bucket, tags[place]) >> i & 1, tags[i] == tags[place]);
        }
    }
}
END_TEST

START_TEST(a_bucket_counts_what_it_holds_and_links_another)
{
    struct bucket bucket = { { 0 } };
    struct bucket other = { { 0 } };
    unsigned i;

    for (i = 0; i < BUCKET_PLACES; i++) {
        ck_assert_uint_eq(bucket_count(&bucket), i);
        bucket_set(&bucket, i, 1, NULL);
    }
    ck_assert_uint_eq(bucket_count(&bucket), BUCKET_PLACES);
    ck_assert_ptr_null(bucket_next(&bucket));
    bucket_link(&bucket, &other);
    ck_assert_ptr_eq(bucket_next(&bucket), &other);
    ck_assert_uint_eq(bucket_count(&bucket), BUCKET_PLACES - 1);
    ck_assert_uint_eq(bucket_match(&bucket, 1), (1u << (BUCKET_PLACES - 1)) - 1);
    bucket_unlink(&bucket);
    ck_assert_ptr_null(bucket_next(&bucket));
}
END_TEST

RUN_TESTS("entry", every_length_of_key_and_value_is_kept,
          a_difference_in_any_byte_of_the_key_counts, every_deadline_is_kept_to_the_millisecond,
          a_blob_is_shared_and_given_up_with_its_entry,
          a_value_is_overwritten_only_where_a_new_one_would_take_as_much,
          a_value_beside_a_deadline_or_in_a_blob_is_not_overwritten,
          places_of_a_bucket_do_not_touch_each_other,
          a_bucket_counts_what_it_holds_and_links_another)

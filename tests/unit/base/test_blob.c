/* TSAN */
/* Counted byte strings. */
#include "base/blob.h"
#include "base/thread.h"
#include "base_test.h"

START_TEST(a_blob_lives_until_its_last_reference_is_given_up)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes_of("hello"));

    ck_assert_ptr_nonnull(blob);
    ck_assert_ptr_eq(brd_blob_ref(blob), blob);
    brd_blob_unref(blob);
    ck_assert(brd_bytes_equal(brd_blob_bytes(blob), brd_bytes_of("hello")));
    ck_assert_uint_ge(brd_blob_footprint(blob), sizeof(*blob) + 5);
    brd_blob_unref(blob);
    brd_blob_unref(NULL);
}
END_TEST

START_TEST(a_large_blob_takes_no_larger_class_for_its_header)
{
    struct brd_blob *blob = brd_blob_create(1 << 16);

    ck_assert_uint_ge(brd_blob_footprint(blob), (1 << 16) + sizeof(*blob));
    ck_assert_uint_lt(brd_blob_footprint(blob), (1 << 16) + 4096);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(what_is_counted_is_counted_until_the_last_reference_goes)
{
    static const size_t sizes[] = { 1, BRD_BLOB_APART - 1, BRD_BLOB_APART, 1 << 20 };
    _Atomic uint64_t meter = 7;
    size_t i;

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct brd_blob *blob = brd_blob_create(sizes[i]);

        memset(blob->data, 'x', sizes[i]);
        brd_blob_count(blob, &meter);
        ck_assert_uint_eq(atomic_load(&meter), 7 + brd_blob_footprint(blob));
        brd_blob_count(brd_blob_ref(blob), &meter);
        brd_blob_unref(blob);
        ck_assert_uint_eq(atomic_load(&meter), 7 + brd_blob_footprint(blob));
        brd_blob_unref(blob);
        ck_assert_uint_eq(atomic_load(&meter), 7);
    }
}
END_TEST

START_TEST(an_empty_blob_is_one)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(NULL, 0));

    ck_assert_uint_eq(brd_blob_bytes(blob).size, 0);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(an_impossible_size_is_refused)
{
    ck_assert_ptr_null(brd_blob_create(SIZE_MAX));
}
END_TEST

static void *
take_and_give(void *arg)
{
    int i;

    for (i = 0; i < 20000; i++)
        brd_blob_unref(brd_blob_ref(arg));
    brd_blob_unref(arg);
    return NULL;
}

START_TEST(many_threads_count_right)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes_of("shared"));
    pthread_t threads[4];
    int i;

    for (i = 0; i < 4; i++)
        ck_assert_int_eq(brd_thread_start(&threads[i], "counter", take_and_give,
                                          brd_blob_ref(blob)),
                         BRD_OK);
    for (i = 0; i < 4; i++)
        brd_thread_join(threads[i]);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(what_nobody_keeps_is_dropped)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes_of("sent"));

    ck_assert(brd_blob_is_dropped(blob));
    brd_blob_keep(brd_blob_ref(blob));
    brd_blob_keep(brd_blob_ref(blob));
    ck_assert(!brd_blob_is_dropped(blob));
    brd_blob_drop(blob);
    ck_assert(!brd_blob_is_dropped(blob));
    brd_blob_drop(blob);
    ck_assert(brd_blob_is_dropped(blob));
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
    brd_blob_drop(NULL);
}
END_TEST

RUN_TESTS("blob", { a_blob_lives_until_its_last_reference_is_given_up, 0 },
          { a_large_blob_takes_no_larger_class_for_its_header, 0 },
          { what_is_counted_is_counted_until_the_last_reference_goes, 0 },
          { an_empty_blob_is_one, 0 }, { an_impossible_size_is_refused, 0 },
          { many_threads_count_right, 0 }, { what_nobody_keeps_is_dropped, 0 })

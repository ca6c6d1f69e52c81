#include "base/outq.h"

#include "base/check.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct brd_outq_pool pool;
static struct brd_outq queue;
static struct brd_outq other;
static uint8_t content[300000];

static void
setup(void)
{
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 13 + i / 256);
    brd_outq_pool_init(&pool, 2);
    brd_outq_init(&queue, &pool);
    brd_outq_init(&other, &pool);
}

static void
teardown(void)
{
    brd_outq_fini(&queue);
    brd_outq_fini(&other);
    brd_outq_pool_fini(&pool); /* checks that every chunk came back */
}

static void
put(struct brd_outq *to, const void *data, size_t size)
{
    uint8_t *at = brd_outq_reserve(to, size);

    ck_assert_ptr_nonnull(at);
    memcpy(at, data, size);
    brd_outq_commit(to, size);
}

/* Does the queue, up to limit, hold exactly these bytes? Asks for few parts at
 * a time, as a socket does. */
static void
must_hold_until(const struct brd_outq *q, uint64_t limit, const void *expected, size_t size)
{
    struct iovec iov[10000];
    size_t n = brd_outq_peek(q, limit, iov, 10000);
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_gt(iov[i].iov_len, 0);
        ck_assert_uint_le(at + iov[i].iov_len, size);
        ck_assert_mem_eq(iov[i].iov_base, (const uint8_t *)expected + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    ck_assert_uint_eq(at, size);
}

static void
must_hold(const struct brd_outq *q, const void *expected, size_t size)
{
    must_hold_until(q, UINT64_MAX, expected, size);
    ck_assert_uint_eq(brd_outq_pending(q), size);
}

START_TEST(what_is_committed_comes_out)
{
    put(&queue, "hello", 5);
    put(&queue, " ", 1);
    put(&queue, "world", 5);
    must_hold(&queue, "hello world", 11);
    brd_outq_consume(&queue, 6);
    must_hold(&queue, "world", 5);
    brd_outq_consume(&queue, 5);
    must_hold(&queue, "", 0);
    ck_assert_uint_eq(queue.begin, 11);
    ck_assert_uint_eq(queue.end, 11);
}
END_TEST

START_TEST(less_may_be_committed_than_was_reserved)
{
    uint8_t *at = brd_outq_reserve(&queue, 1000);

    memcpy(at, "ab", 2);
    brd_outq_commit(&queue, 2);
    put(&queue, "c", 1);
    must_hold(&queue, "abc", 3);
}
END_TEST

START_TEST(a_whole_chunk_may_be_reserved)
{
    put(&queue, "x", 1);
    put(&queue, content, BRD_OUTQ_CHUNK_BYTES);
    put(&queue, "y", 1);
    ck_assert_uint_eq(brd_outq_pending(&queue), BRD_OUTQ_CHUNK_BYTES + 2);
    brd_outq_consume(&queue, 1);
    must_hold_until(&queue, 1 + BRD_OUTQ_CHUNK_BYTES, content, BRD_OUTQ_CHUNK_BYTES);
}
END_TEST

START_TEST(append_spreads_over_chunks_and_leaves_no_gap)
{
    brd_outq_append(&queue, brd_bytes(content, 10));
    brd_outq_append(&queue, brd_bytes(content + 10, 200000));
    brd_outq_append(&queue, brd_bytes(NULL, 0));
    must_hold(&queue, content, 200010);
    ck_assert_uint_le(pool.chunk_bytes, 32768 * 7);
}
END_TEST

START_TEST(a_limit_cuts_what_is_shown)
{
    brd_outq_append(&queue, brd_bytes(content, 100000));
    must_hold_until(&queue, 0, content, 0);
    must_hold_until(&queue, 1, content, 1);
    must_hold_until(&queue, 70000, content, 70000);
    brd_outq_consume(&queue, 50000);
    must_hold_until(&queue, 70000, content + 50000, 20000);
    must_hold_until(&queue, 49999, content, 0);
}
END_TEST

START_TEST(blobs_are_counted_and_released)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content + 5, 100000));

    put(&queue, content, 5);
    brd_outq_append_blob(&queue, blob);
    brd_outq_append(&queue, brd_bytes(content + 100005, 7));
    ck_assert_uint_eq(atomic_load(&blob->refs), 2);
    ck_assert_uint_eq(queue.blob_bytes, 100000);
    must_hold(&queue, content, 100012);
    brd_outq_consume(&queue, 50005);
    ck_assert_uint_eq(queue.blob_bytes, 50000);
    must_hold(&queue, content + 50005, 50007);
    ck_assert_uint_eq(atomic_load(&blob->refs), 2);
    brd_outq_consume(&queue, 50000);
    ck_assert_uint_eq(queue.blob_bytes, 0);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    must_hold(&queue, content + 100005, 7);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(a_row_of_blobs_with_little_between_holds_one_chunk)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 20000));

    for (size_t i = 0; i < 100; i++) {
        put(&queue, content, 128); /* the most that a head of a reply reserves */
        brd_outq_append_blob(&queue, blob);
    }
    ck_assert_uint_eq(brd_outq_pending(&queue), 100 * 20128);
    ck_assert_uint_le(pool.chunk_bytes, 32768);
    for (size_t i = 0; i < 100; i++) {
        must_hold_until(&queue, i * 20128 + 128, content, 128);
        brd_outq_consume(&queue, 128);
        must_hold_until(&queue, (i + 1) * 20128, content, 20000);
        brd_outq_consume(&queue, 20000);
    }
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(moving_up_to_the_end_of_a_blob_leaves_what_follows)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 20000));

    brd_outq_append_blob(&queue, blob);
    put(&queue, "tail", 4);
    brd_outq_consume(&queue, 5000);
    brd_outq_move(&other, &queue, 20000);
    must_hold(&other, content + 5000, 15000);
    must_hold(&queue, "tail", 4);
    ck_assert_uint_eq(other.blob_bytes, 15000);
    ck_assert_uint_eq(queue.blob_bytes, 0);
    brd_outq_fini(&queue);
    brd_outq_fini(&other);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(an_empty_blob_is_nothing)
{
    struct brd_blob *blob = brd_blob_create(0);

    brd_outq_append_blob(&queue, blob);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    must_hold(&queue, "", 0);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(the_end_of_a_queue_releases_its_blobs)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 1000));

    brd_outq_append_blob(&queue, blob);
    brd_outq_append_blob(&queue, blob);
    brd_outq_fini(&queue);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    ck_assert_uint_eq(brd_outq_pending(&queue), 0);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(chunks_are_reused_and_few_are_kept)
{
    for (int round = 0; round < 5; round++) {
        brd_outq_append(&queue, brd_bytes(content, 250000));
        brd_outq_consume(&queue, 250000);
        ck_assert_uint_eq(pool.free_count, 2);
        ck_assert_uint_le(pool.chunk_bytes, 2 * 32768);
    }
}
END_TEST

START_TEST(an_empty_queue_holds_no_chunk)
{
    put(&queue, "x", 1);
    ck_assert_uint_eq(pool.free_count, 0);
    brd_outq_consume(&queue, 1);
    ck_assert_uint_eq(pool.free_count, 1);
    ck_assert_ptr_null(queue.head);
}
END_TEST

START_TEST(a_failed_queue_takes_nothing)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 100));

    put(&queue, "x", 1);
    queue.failed = true;
    ck_assert_ptr_null(brd_outq_reserve(&queue, 1));
    brd_outq_append(&queue, brd_bytes(content, 100));
    brd_outq_append_blob(&queue, blob);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    ck_assert_uint_eq(brd_outq_pending(&queue), 1);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(moving_takes_what_lies_before_a_position)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content + 40000, 50000));

    brd_outq_append(&queue, brd_bytes(content, 40000));
    brd_outq_append_blob(&queue, blob);
    brd_outq_append(&queue, brd_bytes(content + 90000, 10000));
    brd_outq_move(&other, &queue, 100);
    must_hold(&other, content, 100);
    must_hold(&queue, content + 100, 99900);
    brd_outq_move(&other, &queue, 90000);
    must_hold(&other, content, 90000);
    must_hold(&queue, content + 90000, 10000);
    ck_assert_uint_eq(other.blob_bytes, 50000);
    ck_assert_uint_eq(queue.blob_bytes, 0);
    brd_outq_move(&other, &queue, queue.end);
    must_hold(&other, content, 100000);
    must_hold(&queue, "", 0);
    ck_assert_uint_eq(atomic_load(&blob->refs), 2);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(blobs_that_nobody_keeps_are_told_from_others)
{
    struct brd_blob *kept = brd_blob_copy(brd_bytes(content, 40000));
    struct brd_blob *gone = brd_blob_copy(brd_bytes(content, 50000));
    uint64_t footprint;

    brd_blob_keep(brd_blob_ref(kept));
    ck_assert_uint_eq(brd_outq_dropped_bytes(&queue), 0);
    put(&queue, content, 100);
    brd_outq_append_blob(&queue, kept);
    ck_assert_uint_eq(brd_outq_dropped_bytes(&queue), 0);
    footprint = brd_blob_footprint(gone);
    brd_outq_append_blob(&queue, gone);
    brd_blob_unref(gone);
    put(&queue, content, 10);
    ck_assert_uint_eq(brd_outq_dropped_bytes(&queue), footprint);
    brd_outq_consume(&queue, 100 + 40000 + 1);
    ck_assert_uint_eq(brd_outq_dropped_bytes(&queue), footprint);
    /* Three parts of it, of which this queue has one: the sum is all of it, or a little more. */
    brd_outq_append_blob(&other, gone);
    brd_outq_append_blob(&other, gone);
    ck_assert_uint_eq(brd_outq_dropped_bytes(&queue), (footprint + 2) / 3);
    ck_assert_uint_eq(brd_outq_dropped_bytes(&other), (footprint + 2) / 3 * 2);
    brd_outq_consume(&queue, 49999);
    ck_assert_uint_eq(brd_outq_dropped_bytes(&queue), 0);
    brd_outq_consume(&other, 100000);
    brd_blob_drop(kept);
    brd_blob_unref(kept);
}
END_TEST

START_TEST(moving_nothing_changes_nothing)
{
    put(&queue, "x", 1);
    brd_outq_move(&other, &queue, 0);
    must_hold(&queue, "x", 1);
    must_hold(&other, "", 0);
}
END_TEST

/* Everything at random, against a plain array. */
START_TEST(any_sequence_of_calls_keeps_the_stream)
{
    static uint8_t model[1 << 20];
    const char *text = getenv("SEED");
    unsigned seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 1;
    size_t begin = 0;
    size_t end = 0;

    printf("SEED=%u\n", seed);
    while (end < sizeof(model) - 100000) {
        size_t size = (size_t)rand_r(&seed) % (rand_r(&seed) % 4 == 0 ? 60000 : 300);
        const uint8_t *from = content + (size_t)rand_r(&seed) % 200000;
        struct brd_blob *blob;

        switch (rand_r(&seed) % 6) {
        case 0:
            size %= BRD_OUTQ_CHUNK_BYTES;
            put(&queue, from, size);
            break;
        case 1:
            brd_outq_append(&queue, brd_bytes(from, size));
            break;
        case 2:
            blob = brd_blob_copy(brd_bytes(from, size));
            brd_outq_append_blob(&queue, blob);
            brd_blob_unref(blob);
            break;
        case 3:
            /* all of it to the other queue and back */
            brd_outq_move(&other, &queue, queue.end);
            must_hold(&other, model + begin, end - begin);
            brd_outq_fini(&queue);
            queue = other;
            queue.begin = begin;
            queue.end = end;
            brd_outq_init(&other, &pool);
            continue;
        default:
            size = end > begin ? (size_t)rand_r(&seed) % (end - begin + 1) : 0;
            must_hold_until(&queue, begin + size, model + begin, size);
            brd_outq_consume(&queue, size);
            begin += size;
            ck_assert_uint_eq(queue.begin, begin);
            continue;
        }
        memcpy(model + end, from, size);
        end += size;
        ck_assert_uint_eq(queue.end, end);
        if (rand_r(&seed) % 16 == 0)
            must_hold(&queue, model + begin, end - begin);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("outq");
    TCase *tcase = tcase_create("outq");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_committed_comes_out);
    tcase_add_test(tcase, less_may_be_committed_than_was_reserved);
    tcase_add_test(tcase, a_whole_chunk_may_be_reserved);
    tcase_add_test(tcase, append_spreads_over_chunks_and_leaves_no_gap);
    tcase_add_test(tcase, a_limit_cuts_what_is_shown);
    tcase_add_test(tcase, blobs_are_counted_and_released);
    tcase_add_test(tcase, a_row_of_blobs_with_little_between_holds_one_chunk);
    tcase_add_test(tcase, moving_up_to_the_end_of_a_blob_leaves_what_follows);
    tcase_add_test(tcase, an_empty_blob_is_nothing);
    tcase_add_test(tcase, the_end_of_a_queue_releases_its_blobs);
    tcase_add_test(tcase, chunks_are_reused_and_few_are_kept);
    tcase_add_test(tcase, an_empty_queue_holds_no_chunk);
    tcase_add_test(tcase, a_failed_queue_takes_nothing);
    tcase_add_test(tcase, moving_takes_what_lies_before_a_position);
    tcase_add_test(tcase, moving_nothing_changes_nothing);
    tcase_add_test(tcase, blobs_that_nobody_keeps_are_told_from_others);
    tcase_add_test(tcase, any_sequence_of_calls_keeps_the_stream);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* TSAN */
/* The log as the engine uses it, with a disk that works. */
#include "wal_test.h"

#include <sched.h>

static struct log_test test;

static void
setup(void)
{
    test_init(&test);
}

static void
teardown(void)
{
    test_fini(&test);
}

START_TEST(what_was_appended_comes_back_in_order)
{
    uint64_t last;

    test_up(&test);
    ck_assert_uint_eq(test.replayed, 0);
    last = test_append_many(&test, 1000, false);
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 1000);
    ck_assert_uint_eq(test.report.records, 1000);
    ck_assert_uint_eq(test.report.last_version, last);
    ck_assert(!test.report.torn);
    last = test_append_many(&test, 1000, false);
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 2000);
    ck_assert_uint_eq(test.last_version, last);
    test_down(&test);
}
END_TEST

START_TEST(a_new_directory_has_an_identity_that_stays)
{
    uint8_t uuid[16];

    test_up(&test);
    ck_assert_uint_eq(brd_wal_uuid(test.wal).size, 16);
    memcpy(uuid, brd_wal_uuid(test.wal).data, 16);
    ck_assert_uint_eq(brd_wal_epoch(test.wal), 1);
    test_down(&test);
    test_up(&test);
    ck_assert_mem_eq(brd_wal_uuid(test.wal).data, uuid, 16);
    ck_assert_uint_eq(brd_wal_epoch(test.wal), 2);
    test_kill(&test);
    test_up(&test);
    ck_assert_uint_eq(brd_wal_epoch(test.wal), 3);
    test_down(&test);
}
END_TEST

START_TEST(classes_are_reached_one_after_the_other)
{
    uint64_t before;
    uint64_t version;

    test_up(&test);
    before = test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    version = test_append(&test, false);
    /* The writer was not told, but it may look by itself. */
    ck_assert_uint_ge(brd_wal_committed(test.wal, BRD_DURABILITY_ASYNC), version);
    ck_assert_uint_eq(brd_wal_last_version(test.wal), version);
    brd_wal_kick(test.wal);
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    /* Nobody asked for a sync and the clock stands still. */
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_FULL), before);
    brd_wal_want_sync(test.wal, version);
    ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
    test_down(&test);
}
END_TEST

START_TEST(written_data_is_synced_within_the_interval)
{
    uint64_t version;

    test_up(&test);
    version = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    ck_assert_uint_lt(brd_wal_committed(test.wal, BRD_DURABILITY_FULL), version);
    brd_clock_advance(test.clock, BRD_NS_PER_S);
    ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
    test_down(&test);
}
END_TEST

/* A disk whose syncs wait until they are let through. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool closed;
    int waiting;
};

static struct gate gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };

static void
gate_hook(void *arg, enum faulty_kind kind)
{
    (void)arg;
    if (kind != FAULTY_FDATASYNC)
        return;
    pthread_mutex_lock(&gate.lock);
    gate.waiting++;
    pthread_cond_broadcast(&gate.moved);
    while (gate.closed)
        pthread_cond_wait(&gate.moved, &gate.lock);
    gate.waiting--;
    pthread_mutex_unlock(&gate.lock);
}

static void
gate_set(bool closed)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    pthread_cond_broadcast(&gate.moved);
    pthread_mutex_unlock(&gate.lock);
}

static void
gate_wait_for_sync(void)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.waiting == 0)
        pthread_cond_wait(&gate.moved, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

START_TEST(groups_are_written_while_another_syncs_and_share_the_next_sync)
{
    struct brd_wal_stats stats;
    uint64_t syncs;
    uint64_t version;
    int i;

    faulty_set_hook(test.disk, gate_hook, NULL);
    test_up(&test);
    gate_set(true);
    version = test_append_many(&test, 1, true);
    gate_wait_for_sync();
    brd_wal_get_stats(test.wal, &stats);
    syncs = stats.syncs;
    for (i = 0; i < 20; i++) {
        version = test_append_many(&test, 1, true);
        ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    }
    gate_set(false);
    ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_ge(stats.groups, 21);
    /* The one that was held, and one for all others. */
    ck_assert_uint_le(stats.syncs - syncs, 2);
    test_down(&test);
}
END_TEST

START_TEST(normal_waits_for_a_sync_when_syncs_are_late)
{
    uint64_t first;
    uint64_t version;

    faulty_set_hook(test.disk, gate_hook, NULL);
    test_up(&test);
    first = test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    gate_set(true);
    version = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    brd_clock_advance(test.clock, 2 * BRD_NS_PER_S - 1);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_NORMAL), version);
    brd_clock_advance(test.clock, 1);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_NORMAL), first);
    gate_set(false);
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    test_down(&test);
}
END_TEST

START_TEST(an_idle_hour_does_not_make_the_next_write_wait)
{
    uint64_t version;

    faulty_set_hook(test.disk, gate_hook, NULL);
    test_up(&test);
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    gate_set(true);
    brd_clock_advance(test.clock, UINT64_C(3600) * BRD_NS_PER_S);
    version = test_append_many(&test, 1, false);
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    gate_set(false);
    test_down(&test);
}
END_TEST

/* ---- Many threads ---- */

#define APPENDERS  4
#define PER_THREAD 3000

struct appender {
    pthread_t thread;
    uint64_t id;
};

static void *
append_numbered(void *arg)
{
    struct appender *self = arg;
    uint64_t i;

    for (i = 0; i < PER_THREAD; i++) {
        uint64_t content[2] = { self->id, i };
        struct brd_wal_payload payload = { .head = brd_bytes(content, sizeof(content)) };
        uint64_t seen;
        uint64_t version;

        for (;;) {
            enum brd_status status;

            seen = test_calls(&test);
            status = brd_wal_reserve(test.wal, sizeof(content));
            if (status == BRD_OK)
                break;
            BRD_CHECK(status == BRD_BUSY);
            brd_wal_kick(test.wal);
            test_wait_progress(&test, seen);
        }
        version = brd_wal_append(test.wal, sizeof(content), brd_clock_now_ns(test.clock), &payload,
                                 i % 16 == 0);
        brd_wal_kick(test.wal);
        if (i % 64 == 0)
            BRD_CHECK(test_wait(&test, BRD_DURABILITY_FULL, version));
    }
    return NULL;
}

struct order {
    uint64_t last_version;
    uint64_t next[APPENDERS];
};

static enum brd_status
check_order(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    struct order *order = arg;
    uint64_t id = brd_load_le64(payload.data);
    uint64_t i = brd_load_le64(payload.data + 8);

    (void)done;
    (void)total;
    BRD_CHECK(version > order->last_version);
    BRD_CHECK(id < APPENDERS && i == order->next[id]);
    order->next[id]++;
    order->last_version = version;
    return BRD_OK;
}

START_TEST(log_order_is_version_order_whoever_appends)
{
    struct appender appenders[APPENDERS];
    struct order order = { 0 };
    size_t i;

    test.options.queue_bytes_max = 16 << 10; /* so that it is full now and then */
    test_up(&test);
    for (i = 0; i < APPENDERS; i++) {
        appenders[i].id = i;
        ck_assert_int_eq(pthread_create(&appenders[i].thread, NULL, append_numbered, &appenders[i]),
                         0);
    }
    for (i = 0; i < APPENDERS; i++)
        pthread_join(appenders[i].thread, NULL);
    test_down(&test);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, check_order, &order, &test.report, &test.error),
                     BRD_OK);
    ck_assert_uint_eq(test.report.records, APPENDERS * PER_THREAD);
    for (i = 0; i < APPENDERS; i++)
        ck_assert_uint_eq(order.next[i], PER_THREAD);
}
END_TEST

/* ---- The queue ---- */

START_TEST(a_full_queue_refuses_and_says_when_there_is_room)
{
    uint64_t seen;
    int taken = 0;

    test.options.queue_bytes_max = 4096;
    test_up(&test);
    while (brd_wal_reserve(test.wal, 100) == BRD_OK)
        taken++;
    ck_assert_int_gt(taken, 10);
    ck_assert_int_lt(taken, 41);
    /* Counted from before a refusal: the log may look at once, and says it only once. */
    seen = test_calls(&test);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_BUSY);
    brd_wal_unreserve(test.wal, 100);
    test_wait_progress(&test, seen);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_OK);
    while (taken-- > 0)
        brd_wal_unreserve(test.wal, 100);
    test_down(&test);
}
END_TEST

START_TEST(a_record_larger_than_the_queue_goes_alone)
{
    const size_t size = 300000;
    struct brd_wal_payload payload = { 0 };
    struct brd_wal_stats stats;
    uint8_t *large = malloc(size);
    uint64_t version;
    uint64_t seen;

    ck_assert_ptr_nonnull(large);
    memset(large, 'x', size);
    payload.head = brd_bytes(large, size);
    test.options.queue_bytes_max = 64 << 10;
    test_up(&test);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_OK);
    seen = test_calls(&test);
    ck_assert_int_eq(brd_wal_reserve(test.wal, size), BRD_BUSY);
    /* While it waits, small ones stand back, or it would wait for ever. */
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_BUSY);
    brd_wal_unreserve(test.wal, 100);
    test_wait_progress(&test, seen);
    ck_assert_int_eq(brd_wal_reserve(test.wal, size), BRD_OK);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_BUSY);
    version = brd_wal_append(test.wal, size, TEST_NOW_NS, &payload, true);
    brd_wal_kick(test.wal);
    ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
    /* Its space comes back after it has been written. */
    for (;;) {
        seen = test_calls(&test);
        brd_wal_get_stats(test.wal, &stats);
        if (stats.queue_bytes == 0)
            break;
        test_wait_progress(&test, seen);
    }
    ck_assert_uint_ge(stats.queue_waits, 3);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_OK);
    brd_wal_unreserve(test.wal, 100);
    ck_assert_int_eq(brd_wal_reserve(test.wal, BRD_WAL_RECORD_MAX + 1), BRD_TOO_LARGE);
    test_down(&test);
    free(large);
}
END_TEST

START_TEST(who_stood_back_hears_of_it_when_the_large_record_never_comes)
{
    uint64_t seen;

    test.options.queue_bytes_max = 4096;
    test_up(&test);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_OK);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100000), BRD_BUSY);
    brd_wal_unreserve(test.wal, 100);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 100), BRD_BUSY);
    brd_clock_advance(test.clock, BRD_NS_PER_S);
    seen = 0;
    while (brd_wal_reserve(test.wal, 100) != BRD_OK)
        seen = test_wait_progress(&test, seen);
    brd_wal_unreserve(test.wal, 100);
    test_down(&test);
}
END_TEST

START_TEST(blobs_are_referenced_until_written_and_come_back_whole)
{
    struct brd_blob *blobs[300];
    uint8_t content[TEST_SIZE_MAX];
    uint64_t version = 0;
    uint64_t i;

    test_up(&test);
    for (i = 0; i < 300; i++) {
        size_t size = test_content(i, 0, content);
        size_t head = i % 3 == 0 ? 0 : 3;
        size_t tail = i % 4 == 0 ? 0 : 4;
        struct brd_wal_payload payload;

        blobs[i] = brd_blob_copy(brd_bytes(content + head, size - head - tail));
        ck_assert_ptr_nonnull(blobs[i]);
        payload = (struct brd_wal_payload){
            .head = brd_bytes(content, head),
            .blob = blobs[i],
            .tail = brd_bytes(content + size - tail, tail),
        };
        ck_assert_int_eq(brd_wal_reserve(test.wal, size), BRD_OK);
        version = brd_wal_append(test.wal, size, TEST_NOW_NS, &payload, false);
    }
    brd_wal_kick(test.wal);
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    test_down(&test);
    for (i = 0; i < 300; i++) {
        ck_assert_uint_eq(atomic_load(&blobs[i]->refs), 1);
        brd_blob_unref(blobs[i]);
    }
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 300);
    test_down(&test);
}
END_TEST

START_TEST(a_payload_may_be_empty)
{
    struct brd_wal_payload payload = { 0 };
    uint64_t version;

    test_up(&test);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 0), BRD_OK);
    version = brd_wal_append(test.wal, 0, TEST_NOW_NS, &payload, true);
    brd_wal_kick(test.wal);
    ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
    test_down(&test);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
    ck_assert_uint_eq(test.report.records, 1);
    ck_assert_uint_eq(test.report.first_version, version);
}
END_TEST

/* ---- Segments ---- */

START_TEST(a_log_runs_over_many_segments)
{
    struct brd_wal_stats stats;
    int life;

    test.options.segment_bytes = 8 << 10;
    test.options.group_bytes_max = 2 << 10;
    for (life = 0; life < 3; life++) {
        test_up(&test);
        ck_assert_uint_eq(test.replayed, (uint64_t)life * 1000);
        test_append_many(&test, 1000, false);
        ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, brd_wal_last_version(test.wal)));
        brd_wal_get_stats(test.wal, &stats);
        ck_assert_uint_ge(stats.segments, 13);
        if (life == 1)
            test_kill(&test);
        else
            test_down(&test);
    }
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 3000);
    ck_assert(!test.report.torn);
    test_down(&test);
}
END_TEST

/* ---- Versions ---- */

START_TEST(versions_begin_right_above_the_last_after_an_orderly_stop)
{
    uint64_t last;

    test_up(&test);
    last = test_append_many(&test, 10, false);
    test_down(&test);
    brd_clock_step(test.clock, -(int64_t)(100 * BRD_NS_PER_S));
    test_up(&test);
    ck_assert_uint_eq(test_append(&test, false), last + 1);
    test_down(&test);
}
END_TEST

START_TEST(no_version_is_issued_twice_over_fifty_crashes_and_a_clock_that_steps_back)
{
    struct brd_wal_identity identity;
    uint64_t random = test_seed();
    uint64_t highest = 0;
    uint64_t ahead_ns;
    int life;

    for (life = 0; life < 50; life++) {
        uint64_t version = 0;
        uint64_t count = test_random(&random) % 50;

        test_up(&test);
        brd_wal_get_identity(test.wal, &identity);
        while (count-- > 0) {
            version = test_append(&test, false);
            ck_assert_uint_gt(version, highest);
            highest = version;
            if (test_random(&random) % 8 == 0)
                brd_clock_advance(test.clock, test_random(&random) % (3 * BRD_NS_PER_S));
        }
        brd_wal_kick(test.wal);
        test_cut(&test, FAULTY_KEEP_SOME, test_random(&random));
        brd_clock_step(test.clock, -(int64_t)(test_random(&random) % (5 * BRD_NS_PER_S)));
    }
    /* Crashing often does not carry versions far ahead of the clock. */
    ahead_ns = highest > brd_clock_now_ns(test.clock) ? highest - brd_clock_now_ns(test.clock) : 0;
    ck_assert_uint_lt(ahead_ns, UINT64_C(400) * BRD_NS_PER_S);
}
END_TEST

START_TEST(the_ceiling_stays_above_the_newest_version)
{
    int i;

    test_up(&test);
    for (i = 0; i < 20; i++) {
        struct brd_wal_options look = test.options;
        struct brd_wal_identity identity;
        struct brd_wal *reader = NULL;
        uint64_t version;

        brd_clock_advance(test.clock, 700 * BRD_NS_PER_MS);
        version = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        look.read_only = true;
        ck_assert_int_eq(brd_wal_open(&look, &reader, &test.error), BRD_OK);
        brd_wal_get_identity(reader, &identity);
        ck_assert_uint_gt(identity.ceiling, version);
        brd_wal_close(&reader);
    }
    test_down(&test);
}
END_TEST

/* ---- The directory ---- */

START_TEST(a_directory_is_opened_once_at_a_time)
{
    struct brd_wal *other = NULL;
    struct brd_wal_error error;

    test_up(&test);
    ck_assert_int_eq(brd_wal_open(&test.options, &other, &error), BRD_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "in use"));
    ck_assert_ptr_nonnull(strstr(error.text, TEST_DIR));
    ck_assert_ptr_null(other);
    test_down(&test);
    ck_assert_int_eq(test_open(&test), BRD_OK);
}
END_TEST

START_TEST(reading_only_changes_nothing)
{
    uint64_t before;

    test.options.read_only = true;
    before = faulty_fingerprint(test.disk);
    ck_assert_int_eq(test_open(&test), BRD_NOT_FOUND);
    ck_assert_uint_eq(faulty_fingerprint(test.disk), before);

    test.options.read_only = false;
    test_up(&test);
    test_append_groups(&test, 50, BRD_DURABILITY_NORMAL);
    test_kill(&test);

    test.options.read_only = true;
    before = faulty_fingerprint(test.disk);
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_eq(test.replayed, 50);
    ck_assert_int_eq(test_replay(&test), BRD_OK); /* as often as wanted */
    ck_assert_uint_eq(test.replayed, 50);
    brd_wal_close(&test.wal);
    ck_assert_uint_eq(faulty_fingerprint(test.disk), before);
}
END_TEST

START_TEST(a_reader_works_beside_the_daemon)
{
    /* Not a copy of the whole: the log's threads may still be counting progress in it. */
    struct log_test reader = { .options = test.options };

    test_up(&test);
    test_append_groups(&test, 20, BRD_DURABILITY_NORMAL);
    reader.options.sequencer = &reader.sequencer;
    reader.options.read_only = true;
    reader.options.on_progress = NULL;
    reader.options.arg = NULL;
    ck_assert_int_eq(test_read(&reader), BRD_OK);
    ck_assert_uint_eq(reader.replayed, 20);
    brd_wal_close(&reader.wal);
    test_down(&test);
}
END_TEST

/* ---- Watching it ---- */

START_TEST(the_heartbeat_moves_without_work)
{
    uint64_t first;

    test_up(&test);
    first = brd_wal_heartbeat(test.wal);
    while (brd_wal_heartbeat(test.wal) == first)
        sched_yield();
    test_down(&test);
}
END_TEST

START_TEST(statistics_count_and_can_be_reset)
{
    struct brd_wal_stats stats;
    uint64_t version;

    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_FULL);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.records, 10);
    ck_assert_uint_eq(stats.groups, 10);
    ck_assert_uint_ge(stats.syncs, 1);
    ck_assert_uint_gt(stats.bytes, 10 * 64);
    ck_assert_uint_eq(stats.last_version, version);
    ck_assert_uint_eq(stats.written_version, version);
    ck_assert_uint_eq(stats.synced_version, version);
    ck_assert_uint_eq(stats.sync_age_ms, 0);
    ck_assert(!stats.poisoned);
    /* The writer tells that a record is written before it gives the queue's memory
     * back; if it never did, the test's time limit would say so. */
    while (stats.queue_records > 0)
        brd_wal_get_stats(test.wal, &stats);
    brd_wal_reset_stats(test.wal);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.records, 0);
    ck_assert_uint_eq(stats.syncs, 0);
    ck_assert_uint_eq(stats.last_version, version);
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    brd_clock_advance(test.clock, 500 * BRD_NS_PER_MS);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.records, 1);
    ck_assert_uint_eq(stats.sync_age_ms, 500);
    test_down(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal");
    TCase *tcase = tcase_create("wal");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_was_appended_comes_back_in_order);
    tcase_add_test(tcase, a_new_directory_has_an_identity_that_stays);
    tcase_add_test(tcase, classes_are_reached_one_after_the_other);
    tcase_add_test(tcase, written_data_is_synced_within_the_interval);
    tcase_add_test(tcase, groups_are_written_while_another_syncs_and_share_the_next_sync);
    tcase_add_test(tcase, normal_waits_for_a_sync_when_syncs_are_late);
    tcase_add_test(tcase, an_idle_hour_does_not_make_the_next_write_wait);
    tcase_add_test(tcase, log_order_is_version_order_whoever_appends);
    tcase_add_test(tcase, a_full_queue_refuses_and_says_when_there_is_room);
    tcase_add_test(tcase, a_record_larger_than_the_queue_goes_alone);
    tcase_add_test(tcase, who_stood_back_hears_of_it_when_the_large_record_never_comes);
    tcase_add_test(tcase, blobs_are_referenced_until_written_and_come_back_whole);
    tcase_add_test(tcase, a_payload_may_be_empty);
    tcase_add_test(tcase, a_log_runs_over_many_segments);
    tcase_add_test(tcase, versions_begin_right_above_the_last_after_an_orderly_stop);
    tcase_add_test(tcase,
                   no_version_is_issued_twice_over_fifty_crashes_and_a_clock_that_steps_back);
    tcase_add_test(tcase, the_ceiling_stays_above_the_newest_version);
    tcase_add_test(tcase, a_directory_is_opened_once_at_a_time);
    tcase_add_test(tcase, reading_only_changes_nothing);
    tcase_add_test(tcase, a_reader_works_beside_the_daemon);
    tcase_add_test(tcase, the_heartbeat_moves_without_work);
    tcase_add_test(tcase, statistics_count_and_can_be_reset);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}

/* An engine whose disk fails, loses power, or comes back with little memory to spare:
 * what is acknowledged or told stays true, and nothing grows without bound. */
#include "engine/rig.h"

#include "engine/core.h"
#include "support/faulty_io.h"

#include <errno.h>
#include <sched.h>

static struct rig rig;
static struct faulty *disk;

static void
setup(void)
{
    disk = faulty_create();
    memset(&rig, 0, sizeof(rig));
    rig.options.data_dir = "/data";
    rig.options.io = faulty_io(disk);
}

static void
teardown(void)
{
    rig_fini(&rig);
    faulty_destroy(&disk);
}

static void
wait_until_failed(void)
{
    while (!brd_engine_committed(rig.engine).failed)
        sched_yield();
}

static void
wait_until_full(uint64_t version)
{
    while (brd_engine_committed(rig.engine).full < version)
        sched_yield();
}

/* ---- a write that meets the failure on its way ---- */

static void *
put_late(void *arg)
{
    struct brd_request request = REQUEST(PUT, KEY("late"), VALUE("x"));
    struct brd_caller *caller = NULL;
    struct brd_reply reply;

    (void)arg;
    ck_assert_int_eq(brd_caller_attach(rig.engine, &caller), BRD_OK);
    brd_caller_begin(caller);
    brd_caller_prepare(caller, &request, 1);
    ck_assert_int_eq(brd_caller_execute(caller, &request, &reply), BRD_OK);
    brd_caller_done(caller, &reply);
    brd_caller_end(caller);
    brd_caller_detach(&caller);
    return NULL;
}

START_TEST(a_write_that_the_failed_log_dropped_is_not_counted_aloud)
{
    struct brd_wal_stats stats;
    struct brd_guard guard;
    pthread_t thread;
    uint64_t hash;

    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_do(&rig,
                            REQUEST(PUT, KEY("k"), VALUE("v"), .durability = BRD_DURABILITY_FULL)),
                     BRD_OK);
    wait_until_full(rig.reply.version);
    do { /* its own place is given back after it has been synced, or before */
        sched_yield();
        brd_wal_get_stats(rig.engine->wal, &stats);
    } while (stats.queue_bytes != 0);

    /* It has its place in the log and waits for its stripe. */
    hash = brd_store_hash(rig.engine->store, brd_bytes_of("late"));
    brd_guard_begin(&guard, rig.engine->default_ns.keyspace, BRD_GUARD_WRITE, hash);
    ck_assert_int_eq(pthread_create(&thread, NULL, put_late, NULL), 0);
    do {
        sched_yield();
        brd_wal_get_stats(rig.engine->wal, &stats);
    } while (stats.queue_bytes == 0);
    faulty_fail_path(disk, "meta");
    faulty_fail(disk, FAULTY_FDATASYNC, 1, 1, EIO);
    rig_advance_ms(&rig, 2500);
    wait_until_failed();
    brd_guard_end(&guard);
    pthread_join(thread, NULL);

    ck_assert_int_eq(rig_get(&rig, "late"), BRD_UNKNOWN_RESULT);
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_UNKNOWN_RESULT);
    assert_value(&rig, "k", "v");
}
END_TEST

/* ---- a sync that failed, and the lives after it ---- */

START_TEST(what_a_failed_sync_left_in_the_page_cache_is_not_taken_for_durable)
{
    uint64_t version;

    rig.options.durability = BRD_DURABILITY_FULL;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "first", "1"), BRD_OK);
    wait_until_full(rig.reply.version);
    faulty_fail_path(disk, "/wal/");
    faulty_fail(disk, FAULTY_FDATASYNC, 1, 1, EIO);
    ck_assert_int_eq(rig_put(&rig, "second", "2"), BRD_OK);
    wait_until_failed();
    rig_stop(&rig);
    faulty_clear(disk);
    faulty_kill(disk);

    /* Started again as the message asks; the page cache still has it. */
    ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
    assert_value(&rig, "second", "2");
    ck_assert_uint_eq(rig.reply.after_full, 0); /* so it is told as durable */
    ck_assert_int_eq(rig_put(&rig, "third", "3"), BRD_OK);
    version = rig.reply.version;
    wait_until_full(version);
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, FAULTY_KEEP_NONE, 1);

    ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
    assert_value(&rig, "first", "1");
    assert_value(&rig, "second", "2");
    assert_value(&rig, "third", "3");
}
END_TEST

/* ---- recovery and memory ---- */

static uint64_t graveyard_max;

static void
look_at_graveyard(void *arg, enum faulty_kind kind)
{
    struct brd_store_memory memory;

    (void)arg;
    if (kind != FAULTY_READ || rig.engine == NULL)
        return;
    brd_store_get_memory(rig.engine->store, &memory);
    if (memory.graveyard_bytes > graveyard_max)
        graveyard_max = memory.graveyard_bytes;
}

START_TEST(a_replay_does_not_keep_every_large_value_that_was_ever_replaced)
{
    const size_t size = 512 << 10;
    uint8_t *value = calloc(1, size);
    int i;

    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 40; i++) {
        ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), .value = brd_bytes(value, size))),
                         BRD_OK);
        ck_assert_int_eq(rig_do(&rig, REQUEST(APPEND, KEY("k"), VALUE("more"))), BRD_OK);
        brd_engine_tick(rig.engine);
    }
    rig_stop(&rig);
    graveyard_max = 0;
    faulty_set_hook(disk, look_at_graveyard, NULL); /* only recovery reads */
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_uint_lt(graveyard_max, 8 * size);
    free(value);
}
END_TEST

/* ---- time ---- */

START_TEST(a_recorded_time_far_ahead_of_the_clock_is_refused_unless_told)
{
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    /* Nothing is written while the date is wrong. */
    rig_advance_ms(&rig, UINT64_C(400) * 86400 * 1000);
    rig_stop(&rig);
    brd_clock_step(rig.options.clock, -INT64_C(400) * 86400 * (int64_t)BRD_NS_PER_S);
    ck_assert_int_eq(rig_start(&rig), BRD_OUT_OF_RANGE);
    ck_assert_ptr_nonnull(strstr(rig.error.text, "--ignore-clock"));
    brd_engine_destroy(&rig.engine);

    /* Told, it goes by the clock: what is given a second to live gets that. */
    rig.options.ignore_clock = true;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_value(&rig, "k", "v");
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("t"), VALUE("v"), .ttl_ms = 1000)), BRD_OK);
    rig_advance_ms(&rig, 1000);
    assert_absent(&rig, "t");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("engine faults");
    TCase *tcase = tcase_create("faults");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_write_that_the_failed_log_dropped_is_not_counted_aloud);
    tcase_add_test(tcase, what_a_failed_sync_left_in_the_page_cache_is_not_taken_for_durable);
    tcase_add_test(tcase, a_replay_does_not_keep_every_large_value_that_was_ever_replaced);
    tcase_add_test(tcase, a_recorded_time_far_ahead_of_the_clock_is_refused_unless_told);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* TSAN */
/* A disk that fills up under the whole cache: writes are refused, everything else goes on,
 * checkpoints give the space back, and nothing that was acknowledged is lost. */
#include "engine/rig.h"

#include "engine/core.h"
#include "support/faulty_io.h"

#include <errno.h>
#include <sched.h>

#define KIB      UINT64_C(1024)
#define CAPACITY (4096 * KIB)

static struct rig rig;
static struct faulty *disk;
static char filler[4001];

static void
setup(void)
{
    disk = faulty_create();
    memset(&rig, 0, sizeof(rig));
    memset(filler, 'x', sizeof(filler) - 1);
    rig.options.data_dir = "/data";
    rig.options.io = faulty_io(disk);
    rig.options.durability = BRD_DURABILITY_NORMAL;
    rig.options.wal_segment_bytes = 64 << 10;
    rig.options.disk_reserve_bytes = BRD_ENGINE_RESERVE_AUTO;
    rig.options.stripes = 8;
    faulty_set_space(disk, CAPACITY, 0);
}

static void
teardown(void)
{
    rig_fini(&rig);
    faulty_destroy(&disk);
}

static void
up(void)
{
    enum brd_status status = rig_start(&rig);

    ck_assert_msg(status == BRD_OK, "%s: %s", brd_status_name(status), rig.error.text);
}

static enum brd_status
patiently(struct brd_request request)
{
    enum brd_status status;

    while ((status = rig_do(&rig, request)) == BRD_BUSY) {
        if (rig.options.max_memory_bytes != 0)
            (void)brd_engine_tick(rig.engine); /* it may wait for memory */
        sched_yield();
    }
    return status;
}

/* Written by itself: a group of many would be larger than these small segments, and the
 * reserve is not made for that. */
static enum brd_status
put_alone(const char *key, uint64_t ttl_ms)
{
    enum brd_status status = patiently(REQUEST(PUT, KEY(key), VALUE(filler), .ttl_ms = ttl_ms));

    while (status == BRD_OK && brd_engine_committed(rig.engine).normal < rig.reply.version &&
           !brd_engine_committed(rig.engine).failed)
        sched_yield();
    return status;
}

static enum brd_status
put_number(int number)
{
    char key[16];

    snprintf(key, sizeof(key), "k%d", number);
    return put_alone(key, 0);
}

static bool
is_low(void)
{
    return brd_wal_disk_is_low(rig.engine->wal);
}

static void
wait_until_low(bool low)
{
    while (is_low() != low)
        sched_yield();
}

/* Let all that was queued be written. */
static void
settle(void)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(SYNC)), BRD_OK);
    while (brd_engine_committed(rig.engine).full < rig.reply.version)
        sched_yield();
}

/* Somebody else takes all but so many bytes. */
static void
leave(uint64_t bytes)
{
    settle();
    faulty_set_space(disk, CAPACITY, 0);
    faulty_set_space(disk, CAPACITY, faulty_free(disk) - bytes);
}

/* New keys until only the reserve is left; returns how many there are. The reserve follows
 * the data. */
static int
fill(int from)
{
    enum brd_status status = BRD_OK;
    int n = from;

    while (status == BRD_OK || !is_low()) {
        status = put_number(n);
        ck_assert_msg(status == BRD_OK || status == BRD_DISK_FULL, "%s", brd_status_name(status));
        n += status == BRD_OK;
        if (n % 8 == 0)
            (void)brd_engine_tick(rig.engine);
        ck_assert_int_lt(n, 100000);
    }
    return n;
}

static int64_t
statistic(const char *name)
{
    size_t i;

    brd_caller_begin(rig.caller);
    rig.request = REQUEST(STATS);
    ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
    for (i = 0; i < rig.reply.stat_count; i++) {
        if (strcmp(rig.reply.stats[i].name, name) == 0) {
            int64_t number = rig.reply.stats[i].number;

            brd_caller_done(rig.caller, &rig.reply);
            brd_caller_end(rig.caller);
            return number;
        }
    }
    ck_abort_msg("there is no %s", name);
}

static void
assert_keys(int n)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, n);
}

START_TEST(at_the_reserve_writes_are_refused_and_reads_and_removals_go_on)
{
    struct brd_key_value item = { .key = brd_bytes_of("new"), .value = brd_bytes_of("1") };
    struct brd_bytes keys[] = { brd_bytes_of("k1"), brd_bytes_of("k2") };
    int64_t refused;
    int n;

    up();
    n = fill(0);
    ck_assert_int_gt(n, 100);
    ck_assert_uint_ge(faulty_free(disk), CAPACITY / 4); /* room for a snapshot of as many */
    refused = statistic("disk_full");
    ck_assert_int_gt(refused, 0);
    ck_assert_int_eq(statistic("disk_low"), 1);
    ck_assert_int_le(statistic("disk_free_bytes"), statistic("disk_reserve_bytes") + 128 * 1024);

    ck_assert_int_eq(rig_put(&rig, "k1", "2"), BRD_DISK_FULL);
    ck_assert_ptr_nonnull(strstr(rig.message, "reserve"));
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT_MANY, .items = &item, .count = 1)), BRD_DISK_FULL);
    ck_assert_int_eq(rig_do(&rig, REQUEST(INCR, KEY("n"), .delta = 1)), BRD_DISK_FULL);
    ck_assert_int_eq(rig_do(&rig, REQUEST(APPEND, KEY("k1"), VALUE("2"))), BRD_DISK_FULL);
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("k1"), .ttl_ms = 5)), BRD_DISK_FULL);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PERSIST, KEY("k1"))), BRD_DISK_FULL);
    ck_assert_int_eq(statistic("disk_full"), refused + 6);
    assert_value(&rig, "k1", filler);
    ck_assert_int_eq(rig_do(&rig, REQUEST(SYNC)), BRD_OK);
    ck_assert_int_eq(patiently(REQUEST(DELETE, .keys = keys, .count = 2)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 2);
    assert_keys(n - 2);
    ck_assert_int_eq(statistic("wal_failed"), 0);

    rig_stop(&rig);
    up();
    assert_keys(n - 2);
    assert_value(&rig, "k3", filler);
    assert_absent(&rig, "k1");
}
END_TEST

START_TEST(when_there_is_space_writes_resume_by_themselves)
{
    int n;

    up();
    n = fill(0);
    faulty_set_space(disk, 2 * CAPACITY, 0);
    wait_until_low(false);
    ck_assert_int_eq(put_number(n), BRD_OK);
    ck_assert_int_gt(fill(n + 1), n + 100);
    rig_stop(&rig);
    faulty_set_space(disk, 4 * CAPACITY, 0);
    up();
    assert_value(&rig, "k3", filler);
}
END_TEST

START_TEST(a_log_of_overwritten_values_is_given_back_whenever_the_disk_is_low)
{
    enum brd_status status;
    char text[32];
    int i;

    up();
    for (i = 0; i < 8000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        ck_assert_int_eq(patiently(REQUEST(GET, KEY("k0"))), i == 0 ? BRD_NOT_FOUND : BRD_OK);
        status = put_number(i % 8);
        if (status == BRD_DISK_FULL) {
            i--;
            (void)brd_engine_tick(rig.engine);
            continue;
        }
        ck_assert_int_eq(status, BRD_OK);
    }
    ck_assert_int_ge(statistic("checkpoints"), 4);
    ck_assert_int_eq(statistic("checkpoint_failures"), 0);
    rig_stop(&rig);
    up();
    assert_keys(8);
}
END_TEST

START_TEST(deletes_make_room_where_nothing_else_does)
{
    int n;
    int i;

    up();
    n = fill(0);
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoints"), 0); /* a snapshot would be as large as the log */
    for (i = 0; i < n / 2; i++) {
        char name[16];
        struct brd_bytes key;

        snprintf(name, sizeof(name), "k%d", i);
        key = brd_bytes_of(name);
        ck_assert_int_eq(patiently(REQUEST(DELETE, .keys = &key, .count = 1)), BRD_OK);
    }
    (void)brd_engine_tick(rig.engine);
    wait_until_low(false);
    ck_assert_int_eq(put_number(0), BRD_OK);
    assert_keys(n - n / 2 + 1);
    rig_stop(&rig);
    up();
    assert_keys(n - n / 2 + 1);
}
END_TEST

START_TEST(a_clear_gives_all_of_it_back)
{
    int again;
    int n;

    up();
    n = fill(0);
    ck_assert_int_eq(patiently(REQUEST(CLEAR)), BRD_OK);
    (void)brd_engine_tick(rig.engine); /* without data nothing has to be kept for a snapshot */
    wait_until_low(false);
    again = fill(0);
    while (statistic("checkpoints") == 0) { /* if that was not one, the next low disk is */
        (void)brd_engine_tick(rig.engine);
        again = fill(again);
    }
    ck_assert_int_gt(again, n / 2);
    rig_stop(&rig);
    up();
    assert_keys(again);
}
END_TEST

/* n keys that live for a second, and nothing else. */
static void
put_mortals(int n)
{
    int i;

    for (i = 0; i < n; i++) {
        char key[16];

        snprintf(key, sizeof(key), "m%d", i);
        ck_assert_int_eq(put_alone(key, 1000), BRD_OK);
    }
}

START_TEST(what_expired_while_writes_were_refused_is_given_back)
{
    int checkpointed;

    /* In the log, or in a snapshot of which the log has nothing. */
    for (checkpointed = 0; checkpointed < 2; checkpointed++) {
        up();
        put_mortals(300);
        if (checkpointed)
            ck_assert_int_eq(rig_do(&rig, REQUEST(CHECKPOINT)), BRD_OK);
        leave(128 * KIB);
        wait_until_low(true);
        (void)brd_engine_tick(rig.engine);
        ck_assert(is_low());
        rig_advance_ms(&rig, 2000);
        (void)brd_engine_tick(rig.engine); /* removes them, ... */
        (void)brd_engine_tick(rig.engine); /* ... and then what holds them */
        ck_assert_uint_gt(faulty_free(disk), 1024 * KIB);
        wait_until_low(false);
        ck_assert_int_eq(put_number(1), BRD_OK);
        rig_stop(&rig);
        up();
        assert_keys(1);
        teardown();
        setup();
    }
}
END_TEST

START_TEST(a_checkpoint_is_not_tried_where_it_does_not_fit)
{
    int i;

    rig.options.disk_reserve_bytes = 128 * KIB; /* too little for it */
    up();
    for (i = 0; i < 400; i++)
        ck_assert_int_eq(put_number(i % 200), BRD_OK);
    leave(100 * KIB);
    wait_until_low(true);
    for (i = 0; i < 5; i++)
        (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoint_failures"), 0);
    /* Once it does, it is made at once. */
    leave(1200 * KIB);
    rig.engine->checkpoint.policy.log_bytes = 1; /* whether the disk is low still or not */
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoints"), 1);
}
END_TEST

START_TEST(one_that_failed_for_want_of_room_is_tried_again_when_there_is_some)
{
    int i;

    up();
    for (i = 0; i < 300; i++)
        ck_assert_int_eq(put_number(i % 10), BRD_OK);
    settle();
    rig.engine->checkpoint.policy.log_bytes = 1;
    faulty_fail_path(disk, "snapshots");
    faulty_fail(disk, FAULTY_WRITE, 1, 1, ENOSPC);
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoint_failures"), 1);
    (void)brd_engine_tick(rig.engine); /* nothing has changed, and no time has passed */
    ck_assert_int_eq(statistic("checkpoint_failures"), 1);
    ck_assert_int_eq(statistic("checkpoints"), 0);
    faulty_set_space(disk, CAPACITY + 128 * KIB, 0);
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoints"), 1);

    /* Or after a second, if nobody makes any. */
    ck_assert_int_eq(put_number(0), BRD_OK);
    faulty_fail(disk, FAULTY_WRITE, 1, 1, ENOSPC);
    for (i = 0; statistic("checkpoint_failures") == 1; i++) {
        ck_assert_int_eq(put_number(0), BRD_OK);
        (void)brd_engine_tick(rig.engine);
    }
    rig_advance_ms(&rig, 999);
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoints"), 1);
    rig_advance_ms(&rig, 1);
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_eq(statistic("checkpoints"), 2);
}
END_TEST

START_TEST(nothing_is_evicted_for_a_write_that_is_refused)
{
    int64_t evictions;
    int i;

    rig.options.max_memory_bytes = 1024 * KIB;
    rig.options.eviction = BRD_EVICTION_LRU;
    up();
    for (i = 0; i < 400; i++) {
        ck_assert_int_eq(put_number(i), BRD_OK);
        (void)brd_engine_tick(rig.engine);
    }
    evictions = statistic("evictions");
    ck_assert_int_gt(evictions, 0);
    leave(32 * KIB);
    wait_until_low(true);
    for (i = 0; i < 100; i++)
        ck_assert_int_eq(put_number(1000 + i), BRD_DISK_FULL);
    ck_assert_int_eq(statistic("evictions"), evictions);
    /* Memory is brought down to a lower limit all the same. */
    brd_engine_set_max_memory(rig.engine, 900 * KIB);
    (void)brd_engine_tick(rig.engine);
    ck_assert_int_gt(statistic("evictions"), evictions);
    ck_assert_int_eq(statistic("wal_failed"), 0);
}
END_TEST

START_TEST(without_a_reserve_a_full_disk_is_a_failed_write)
{
    enum brd_status status = BRD_OK;
    int i;

    rig.options.disk_reserve_bytes = 0;
    up();
    for (i = 0; status == BRD_OK; i++)
        status = put_number(i);
    ck_assert(status == BRD_READ_ONLY || status == BRD_UNKNOWN_RESULT);
    ck_assert_int_eq(statistic("disk_low"), 0);
    ck_assert_int_eq(statistic("wal_failed"), 1);
    ck_assert_int_eq(rig_put(&rig, "k1", "2"), BRD_READ_ONLY);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("engine reserve");
    TCase *tcase = tcase_create("reserve");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, at_the_reserve_writes_are_refused_and_reads_and_removals_go_on);
    tcase_add_test(tcase, when_there_is_space_writes_resume_by_themselves);
    tcase_add_test(tcase, a_log_of_overwritten_values_is_given_back_whenever_the_disk_is_low);
    tcase_add_test(tcase, deletes_make_room_where_nothing_else_does);
    tcase_add_test(tcase, a_clear_gives_all_of_it_back);
    tcase_add_test(tcase, what_expired_while_writes_were_refused_is_given_back);
    tcase_add_test(tcase, a_checkpoint_is_not_tried_where_it_does_not_fit);
    tcase_add_test(tcase, one_that_failed_for_want_of_room_is_tried_again_when_there_is_some);
    tcase_add_test(tcase, nothing_is_evicted_for_a_write_that_is_refused);
    tcase_add_test(tcase, without_a_reserve_a_full_disk_is_a_failed_write);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

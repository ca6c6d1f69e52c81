/* The memory limit: every policy holds it, evictions are logged, expiry is not,
 * and what cannot be had is refused by its name. */
#include "engine/rig.h"

#include <ftw.h>
#include <unistd.h>

#define LIMIT (UINT64_C(1) << 20)

static struct rig rig;
static char dir[64];
static unsigned told;

static void
on_progress(void *arg)
{
    (void)arg;
    told++;
}

static void
setup(void)
{
    memset(&rig, 0, sizeof(rig));
    rig.options.max_memory_bytes = LIMIT;
    rig.options.on_progress = on_progress;
    told = 0;
    dir[0] = '\0';
}

/* From here on there is a log. */
static void
use_directory(void)
{
    snprintf(dir, sizeof(dir), "/tmp/brindle-eviction-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    rig.options.data_dir = dir;
    rig.options.durability = BRD_DURABILITY_NORMAL;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
teardown(void)
{
    rig_fini(&rig);
    if (dir[0] != '\0')
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int64_t
stat_of(const char *name)
{
    int64_t number = -1;
    size_t i;

    rig.request = REQUEST(STATS, .value = brd_bytes_of(name));
    brd_caller_begin(rig.caller);
    ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
    for (i = 0; i < rig.reply.stat_count; i++)
        if (strcmp(rig.reply.stats[i].name, name) == 0)
            number = rig.reply.stats[i].number;
    brd_caller_done(rig.caller, &rig.reply);
    brd_caller_end(rig.caller);
    return number;
}

static void
tick_until_idle(void)
{
    while (brd_engine_tick(rig.engine) > 0)
        ;
}

static enum brd_status
try_number(int number, size_t size, uint64_t ttl_ms)
{
    static uint8_t block[1 << 20];
    char key[24];

    snprintf(key, sizeof(key), "key:%d", number);
    return rig_do(&rig, REQUEST(PUT, KEY(key), .value = brd_bytes(block, size), .ttl_ms = ttl_ms));
}

static enum brd_status
put_number(int number, size_t size, uint64_t ttl_ms)
{
    enum brd_status status;

    while ((status = try_number(number, size, ttl_ms)) == BRD_BUSY)
        brd_engine_tick(rig.engine);
    return status;
}

static enum brd_status
append_bytes(const char *key, size_t size)
{
    static uint8_t block[1 << 20];
    enum brd_status status;

    while ((status = rig_do(&rig, REQUEST(APPEND, KEY(key), .value = brd_bytes(block, size)))) ==
           BRD_BUSY)
        brd_engine_tick(rig.engine);
    return status;
}

static enum brd_status
expire_number(int number, uint64_t deadline_ms)
{
    enum brd_status status;
    char key[24];

    snprintf(key, sizeof(key), "key:%d", number);
    while ((status = rig_do(&rig, REQUEST(EXPIRE, KEY(key), .deadline_ms = deadline_ms))) ==
           BRD_BUSY)
        brd_engine_tick(rig.engine);
    return status;
}

static bool
has_number(int number)
{
    char key[24];

    snprintf(key, sizeof(key), "key:%d", number);
    return rig_get(&rig, key) == BRD_OK;
}

START_TEST(every_policy_holds_the_limit_whatever_is_written)
{
    static const enum brd_eviction policies[] = { BRD_EVICTION_S3FIFO, BRD_EVICTION_LRU,
                                                  BRD_EVICTION_VOLATILE_TTL, BRD_EVICTION_RANDOM };
    static const size_t sizes[] = { 10, 100, 1000, 20000, 60000 };
    unsigned p;
    int i;

    for (p = 0; p < sizeof(policies) / sizeof(policies[0]); p++) {
        setup();
        rig.options.eviction = policies[p];
        ck_assert_int_eq(rig_start(&rig), BRD_OK);
        for (i = 0; i < 20000; i++) {
            ck_assert_int_eq(put_number(i, sizes[i % 50 < 45 ? i % 3 : i % 5], 60000), BRD_OK);
            if (i % 1000 == 0)
                ck_assert_int_le(stat_of("memory_used"), (int64_t)(LIMIT + LIMIT / 16));
            if (i % 5000 == 0)
                tick_until_idle();
        }
        ck_assert_int_gt(stat_of("evictions"), 10000);
        ck_assert_int_gt(stat_of("evicted_bytes"), stat_of("evictions") * 10);
        ck_assert_int_eq(stat_of("out_of_memory"), 0);
        ck_assert_int_eq(stat_of("keys"), 20000 - stat_of("evictions"));
        ck_assert(has_number(19999));
        if (p + 1 < sizeof(policies) / sizeof(policies[0]))
            teardown();
    }
}
END_TEST

START_TEST(noeviction_refuses_and_reads_and_deletes_go_on)
{
    struct brd_bytes key = brd_bytes_of("key:0");
    int i;

    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; put_number(i, 1000, 0) == BRD_OK; i++)
        ck_assert_int_lt(i, 1000);
    ck_assert_int_eq(rig.reply.status, BRD_OUT_OF_MEMORY);
    ck_assert_ptr_nonnull(strstr(rig.message, "max-memory"));
    ck_assert(has_number(0));
    ck_assert_int_eq(rig_do(&rig, REQUEST(DELETE, .keys = &key, .count = 1)), BRD_OK);
    ck_assert_int_eq(put_number(0, 100, 0), BRD_OK);
    ck_assert_int_eq(stat_of("evictions"), 0);
    ck_assert_int_eq(stat_of("out_of_memory"), 1);
}
END_TEST

START_TEST(volatile_ttl_without_deadlines_has_nothing_to_give)
{
    int i;

    rig.options.eviction = BRD_EVICTION_VOLATILE_TTL;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; put_number(i, 1000, 0) == BRD_OK; i++)
        ck_assert_int_lt(i, 1000);
    ck_assert_int_eq(rig.reply.status, BRD_OUT_OF_MEMORY);
    ck_assert(has_number(0));
}
END_TEST

START_TEST(a_giant_value_does_not_evict_the_world)
{
    int64_t before;
    int i;

    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 10000; i++)
        ck_assert_int_eq(put_number(i, 100, 0), BRD_OK);
    before = stat_of("evictions");
    ck_assert_int_eq(put_number(1, LIMIT / 8 + 1, 0), BRD_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(rig.message, "max-memory"));
    ck_assert_int_eq(stat_of("evictions"), before);
    /* One that fits costs what it needs; where many have to go the reaper helps. */
    ck_assert_int_eq(put_number(1, LIMIT / 8 - 1000, 0), BRD_OK);
    ck_assert_int_gt(stat_of("evictions"), before);
    ck_assert_int_lt(stat_of("evictions"), before + 3000);
    ck_assert_int_gt(stat_of("memory_waits"), 0);
    ck_assert_uint_gt(told, 0);
}
END_TEST

START_TEST(a_value_that_grows_does_not_evict_the_world)
{
    int64_t before;
    int64_t keys;
    int i;

    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 10000; i++)
        ck_assert_int_eq(put_number(i, 100, 0), BRD_OK);
    keys = stat_of("keys");
    for (i = 0; append_bytes("giant", LIMIT / 50) == BRD_OK; i++)
        ck_assert_int_lt(i, 50);
    ck_assert_int_ge(i, 4);
    ck_assert_int_le(i, 50 / 8 + 1);
    ck_assert_int_eq(rig.reply.status, BRD_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(rig.message, "max-memory"));
    ck_assert_int_gt(stat_of("keys"), keys / 2);
    before = stat_of("evictions");
    ck_assert_int_eq(append_bytes("giant", LIMIT / 50), BRD_TOO_LARGE);
    ck_assert_int_eq(stat_of("evictions"), before);
    /* A short one may still grow. */
    ck_assert_int_eq(append_bytes("short", 100), BRD_OK);
    ck_assert_int_eq(append_bytes("short", 100), BRD_OK);
}
END_TEST

/* A deadline takes memory, too. */
START_TEST(a_deadline_is_given_within_the_limit)
{
    uint64_t later;
    int refused = 0;
    int keys;
    int i;

    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (keys = 0; put_number(keys, 100, keys == 0 ? 60000 : 0) == BRD_OK; keys++)
        ck_assert_int_lt(keys, 20000);
    later = RIG_START_NS / BRD_NS_PER_MS + 1000000;
    for (i = 0; i < keys; i++)
        refused += expire_number(i, later) == BRD_OUT_OF_MEMORY;
    ck_assert_int_gt(refused, keys / 2);
    ck_assert_int_le(stat_of("memory_used"), (int64_t)LIMIT + (int64_t)LIMIT / 32);
    /* One that has a deadline may have another one, and any may end. */
    ck_assert_int_eq(expire_number(0, later + 1), BRD_OK);
    ck_assert_int_eq(expire_number(keys - 1, 1), BRD_OK);
    ck_assert(!has_number(keys - 1));
    ck_assert_int_eq(expire_number(1000000, later), BRD_NOT_FOUND);
    /* Where keys may go, all get theirs. */
    brd_engine_set_eviction(rig.engine, BRD_EVICTION_RANDOM);
    for (i = 0; i < keys; i++)
        ck_assert_int_ne(expire_number(i, later), BRD_OUT_OF_MEMORY);
    ck_assert_int_le(stat_of("memory_used"), (int64_t)LIMIT + (int64_t)LIMIT / 32);
    ck_assert_int_gt(stat_of("evictions"), 0);
}
END_TEST

START_TEST(a_lower_limit_is_reached_behind_the_callers)
{
    int64_t keys;
    int i;

    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 5000; i++)
        ck_assert_int_eq(put_number(i, 100, 0), BRD_OK);
    keys = stat_of("keys");
    brd_engine_set_max_memory(rig.engine, LIMIT / 2);
    tick_until_idle();
    ck_assert_int_lt(stat_of("keys"), keys * 2 / 3);
    ck_assert_int_gt(stat_of("keys"), 500);
    ck_assert_int_le(stat_of("memory_used"), (int64_t)LIMIT / 2 + (int64_t)LIMIT / 32);
    /* A policy chosen later works at once. */
    brd_engine_set_eviction(rig.engine, BRD_EVICTION_NONE);
    for (i = 10000; put_number(i, 100, 0) == BRD_OK; i++)
        ck_assert_int_lt(i, 20000);
    ck_assert_int_eq(rig.reply.status, BRD_OUT_OF_MEMORY);
    brd_engine_set_eviction(rig.engine, BRD_EVICTION_RANDOM);
    ck_assert_int_eq(put_number(1, 100, 0), BRD_OK);
    brd_engine_set_eviction(rig.engine, BRD_EVICTION_LRU);
    ck_assert_int_eq(put_number(2, 100, 0), BRD_OK);
}
END_TEST

START_TEST(what_was_evicted_stays_away_after_a_restart)
{
    static bool there[4000];
    int64_t keys;
    int i;

    use_directory();
    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 4000; i++)
        ck_assert_int_eq(put_number(i, 500, 0), BRD_OK);
    keys = stat_of("keys");
    ck_assert_int_eq(stat_of("evictions"), 4000 - keys);
    ck_assert_int_gt(keys, 500);
    for (i = 0; i < 4000; i++)
        there[i] = has_number(i);
    rig_stop(&rig);
    /* Also where there would be room for all now. */
    rig.options.max_memory_bytes = 0;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(stat_of("keys"), keys);
    for (i = 0; i < 4000; i++)
        ck_assert_int_eq(has_number(i), there[i]);
}
END_TEST

START_TEST(a_restart_under_a_lower_limit_evicts_after_the_last_record)
{
    int64_t keys;
    int i;

    use_directory();
    rig.options.max_memory_bytes = 0;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 4000; i++)
        ck_assert_int_eq(put_number(i, 500, 0), BRD_OK);
    rig_stop(&rig);
    rig.options.max_memory_bytes = LIMIT;
    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    keys = stat_of("keys");
    ck_assert_int_lt(keys, 2000);
    ck_assert_int_gt(keys, 500);
    ck_assert_int_eq(stat_of("evictions"), 4000 - keys);
    rig_stop(&rig);
    rig.options.max_memory_bytes = 0;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(stat_of("keys"), keys);
}
END_TEST

/* However late the background thread is: what the allocator makes of so many bytes is
 * not known before it has measured. Far below the limit, too. */
START_TEST(writers_wait_until_memory_has_been_measured)
{
    const uint64_t most = UINT64_C(8) << 20;
    const size_t size = 60000;
    uint64_t written = 0;
    int rounds;
    int i = 0;

    rig.options.max_memory_bytes = 16 * most;
    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (rounds = 0; rounds < 3; rounds++) {
        enum brd_status status;

        while ((status = try_number(i % 100, size, 0)) == BRD_OK) {
            written += size;
            ck_assert_uint_le(written, most + (UINT64_C(256) << 10));
            i++;
        }
        ck_assert_int_eq(status, BRD_BUSY);
        ck_assert_uint_gt(written, most - (UINT64_C(256) << 10));
        ck_assert(has_number(0));
        ck_assert_int_eq(try_number(0, size, 0), BRD_BUSY);
        ck_assert_uint_eq(told, (unsigned)rounds);
        brd_engine_tick(rig.engine);
        ck_assert_uint_eq(told, (unsigned)rounds + 1);
        written = 0;
    }
    ck_assert_int_eq(stat_of("evictions"), 0);
    ck_assert_int_eq(stat_of("memory_waits"), 6);
    /* Without a limit there is nothing to wait for. */
    brd_engine_set_max_memory(rig.engine, 0);
    for (i = 0; i < 1000; i++)
        ck_assert_int_eq(try_number(i % 100, size, 0), BRD_OK);
}
END_TEST

/* Absence waits for the log as a value does, also where a condition finds it. */
START_TEST(an_eviction_that_may_be_lost_is_not_told)
{
    static bool there[4000];
    char key[24];
    int gone = 0;
    int keys;
    int i;

    use_directory();
    rig.options.eviction = BRD_EVICTION_S3FIFO;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (keys = 0; stat_of("evictions") == 0; keys++)
        ck_assert_int_eq(put_number(keys, 500, 0), BRD_OK);
    ck_assert_int_lt(keys, 4000 - 100);
    for (i = 0; i < keys; i++)
        there[i] = has_number(i);
    /* What the log commits from here on this batch does not know. */
    brd_caller_begin(rig.caller);
    for (i = keys; i < keys + 20; i++) {
        snprintf(key, sizeof(key), "key:%d", i);
        rig.request = REQUEST(PUT, KEY(key), .value = brd_bytes(rig.value, 500));
        brd_caller_prepare(rig.caller, &rig.request, 1);
        ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
        ck_assert_int_eq(rig.reply.status, BRD_OK);
        brd_caller_done(rig.caller, &rig.reply);
    }
    for (i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "key:%d", i);
        rig.request = i % 2 == 0
                          ? REQUEST(GET, KEY(key))
                          : REQUEST(PUT, KEY(key), .condition = BRD_IF_VERSION, .if_version = 1);
        brd_caller_prepare(rig.caller, &rig.request, 1);
        ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
        if (there[i] && rig.reply.status == BRD_NOT_FOUND) {
            ck_assert_uint_gt(rig.reply.after_normal, 0);
            ck_assert_uint_eq(rig.reply.version, 0);
            gone++;
        }
        brd_caller_done(rig.caller, &rig.reply);
    }
    brd_caller_end(rig.caller);
    ck_assert_int_gt(gone, 0);
}
END_TEST

START_TEST(an_expired_victim_is_no_eviction)
{
    int i;

    rig.options.eviction = BRD_EVICTION_VOLATILE_TTL;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 500; i++)
        ck_assert_int_eq(put_number(i, 1000, 50), BRD_OK);
    rig_advance_ms(&rig, 100);
    for (i = 1000; i < 1500; i++)
        ck_assert_int_eq(put_number(i, 1000, 0), BRD_OK);
    ck_assert_int_gt(stat_of("ttl_evicted"), 0);
    ck_assert_int_eq(stat_of("evictions"), 0);
    ck_assert_int_eq(stat_of("ttl_expired"), stat_of("ttl_evicted"));
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("eviction");
    TCase *tcase = tcase_create("eviction");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_policy_holds_the_limit_whatever_is_written);
    tcase_add_test(tcase, noeviction_refuses_and_reads_and_deletes_go_on);
    tcase_add_test(tcase, volatile_ttl_without_deadlines_has_nothing_to_give);
    tcase_add_test(tcase, a_giant_value_does_not_evict_the_world);
    tcase_add_test(tcase, a_value_that_grows_does_not_evict_the_world);
    tcase_add_test(tcase, a_deadline_is_given_within_the_limit);
    tcase_add_test(tcase, a_lower_limit_is_reached_behind_the_callers);
    tcase_add_test(tcase, what_was_evicted_stays_away_after_a_restart);
    tcase_add_test(tcase, a_restart_under_a_lower_limit_evicts_after_the_last_record);
    tcase_add_test(tcase, writers_wait_until_memory_has_been_measured);
    tcase_add_test(tcase, an_eviction_that_may_be_lost_is_not_told);
    tcase_add_test(tcase, an_expired_victim_is_no_eviction);
    suite_add_tcase(suite, tcase);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(make_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

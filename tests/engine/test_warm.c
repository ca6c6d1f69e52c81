/* TSAN */
/* A cache that is not logged, over orderly stops and all others: it is there whole, or it is empty,
 * and never shows what had been changed. */
#include "engine/rig.h"

#include "base/diag.h"
#include "engine/core.h"
#include "engine/snapshot.h"
#include "support/faulty_io.h"

#include <errno.h>
#include <inttypes.h>

#define LARGE_BYTES ((size_t)100000)

static struct rig rig;
static struct faulty *disk;
static uint64_t file_version; /* of the file in DIR/warm, where find_file has found one */
static size_t unfinished;     /* files there that are none */

static void
setup(void)
{
    disk = faulty_create();
    memset(&rig, 0, sizeof(rig));
    rig.options.data_dir = "/data";
    rig.options.io = faulty_io(disk);
    rig.options.durability = BRD_DURABILITY_NONE;
    rig.options.warm = true;
    rig.options.stripes = 8;
    rig.options.wal_segment_bytes = 64 << 10;
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

/* kill -9 */
static void
kill_it(void)
{
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_kill(disk);
}

static int
note_file(void *arg, const char *name)
{
    (void)arg;
    if (!snapshot_version_of(name, &file_version))
        unfinished++;
    return 0;
}

/* Its path, or NULL. */
static const char *
find_file(void)
{
    static char path[128];
    const struct brd_io *io = faulty_io(disk);

    file_version = 0;
    unfinished = 0;
    (void)io->list(io->ctx, "/data/warm/snapshots", note_file, NULL);
    snprintf(path, sizeof(path), "/data/warm/snapshots/%016" PRIx64 ".snap", file_version);
    return file_version != 0 ? path : NULL;
}

/* All that is visible, in one number; where nothing is, 0. */
static void
add_entry(void *arg, struct brd_bytes key, struct brd_bytes value, uint64_t version,
          uint64_t deadline_ms)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    uint8_t numbers[16];
    size_t i;

    brd_store_le64(numbers, version);
    brd_store_le64(numbers + 8, deadline_ms);
    for (i = 0; i < key.size; i++)
        hash = (hash ^ key.data[i]) * UINT64_C(1099511628211);
    hash = (hash ^ 0x100) * UINT64_C(1099511628211);
    for (i = 0; i < value.size; i++)
        hash = (hash ^ value.data[i]) * UINT64_C(1099511628211);
    for (i = 0; i < sizeof(numbers); i++)
        hash = (hash ^ numbers[i]) * UINT64_C(1099511628211);
    *(uint64_t *)arg += hash;
}

static uint64_t
content(void)
{
    uint64_t sum = 0;

    brd_engine_walk(rig.engine, add_entry, &sum);
    return sum;
}

static void
put_large(const char *key, char byte)
{
    char *value = malloc(LARGE_BYTES);

    ck_assert_ptr_nonnull(value);
    memset(value, byte, LARGE_BYTES);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), .value = brd_bytes(value, LARGE_BYTES))),
                     BRD_OK);
    free(value);
}

static void
fill(unsigned keys)
{
    char key[32];
    unsigned i;

    for (i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "key-%u", i);
        ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), VALUE(key + i % 4),
                                              .ttl_ms = i % 3 == 0 ? 1000000 + i : 0)),
                         BRD_OK);
    }
}

static void
delete_key(const char *text)
{
    struct brd_bytes key = brd_bytes_of(text);

    ck_assert_int_eq(rig_do(&rig, REQUEST(DELETE, .keys = &key, .count = 1)), BRD_OK);
}

/* ---- What stays ---- */

START_TEST(an_orderly_stop_keeps_values_versions_and_deadlines)
{
    uint64_t before;
    uint64_t version;
    int round;

    up();
    fill(300);
    put_large("large", 'x');
    put_large("larger", 'y');
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("short"), VALUE("v"), .ttl_ms = 5000)), BRD_OK);
    delete_key("key-7");
    ck_assert_int_eq(rig_put(&rig, "newest", "v"), BRD_OK);
    version = rig.reply.version;
    before = content();
    for (round = 0; round < 3; round++) { /* and again, and again */
        rig_stop(&rig);
        ck_assert_ptr_nonnull(find_file());
        ck_assert_uint_eq(file_version, version);
        rig_advance_ms(&rig, 1000);
        up();
        ck_assert_ptr_null(find_file());
        ck_assert_uint_eq(content(), before);
    }
    assert_absent(&rig, "key-7");
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("short"))), BRD_OK);
    ck_assert_uint_eq(rig.reply.ttl_ms, 2000);
    ck_assert_int_eq(rig_get(&rig, "newest"), BRD_OK);
    ck_assert_uint_eq(rig.reply.version, version);
    ck_assert_int_eq(rig_put(&rig, "next", "v"), BRD_OK);
    ck_assert_uint_gt(rig.reply.version, version);
    rig_stop(&rig);
    rig_advance_ms(&rig, 2000);
    up();
    assert_absent(&rig, "short");
    assert_value(&rig, "next", "v");
    ck_assert_uint_eq(rig.engine->warm.expired, 1);
}
END_TEST

/* A clock that is set back must not lead to versions that were there. */
START_TEST(versions_go_on_above_all_that_were_issued)
{
    uint64_t version;

    up();
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    version = rig.reply.version;
    rig_stop(&rig);
    brd_clock_step(rig.options.clock, -(int64_t)(60 * BRD_NS_PER_S));
    up();
    assert_value(&rig, "k", "v");
    ck_assert_int_eq(rig_put(&rig, "k", "w"), BRD_OK);
    ck_assert_uint_gt(rig.reply.version, version);
}
END_TEST

START_TEST(a_cache_that_is_empty_leaves_no_file)
{
    up();
    rig_stop(&rig);
    ck_assert_ptr_null(find_file());
    up();
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
    rig_stop(&rig);
    up();
    ck_assert_uint_eq(content(), 0);
}
END_TEST

/* ---- What does not come back ---- */

START_TEST(after_a_kill_it_is_empty)
{
    up();
    fill(20);
    kill_it();
    up();
    ck_assert_uint_eq(content(), 0);
    fill(20);
    rig_stop(&rig);
    up(); /* warm */
    ck_assert_int_eq(rig_put(&rig, "key-1", "new"), BRD_OK);
    kill_it();
    up();
    ck_assert_uint_eq(content(), 0);
}
END_TEST

/* As if the removal had been lost with the power, and its sync had lied. */
START_TEST(a_file_that_comes_back_after_a_start_is_not_used)
{
    struct brd_bytes bytes;
    char path[128];
    uint8_t *copy;

    up();
    fill(20);
    rig_stop(&rig);
    snprintf(path, sizeof(path), "%s", find_file());
    bytes = faulty_content(disk, path);
    copy = malloc(bytes.size);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes.data, bytes.size);
    bytes.data = copy;

    up();
    ck_assert_uint_eq(rig.engine->warm.keys, 20);
    kill_it();
    faulty_set_content(disk, path, bytes);
    up();
    ck_assert_uint_eq(content(), 0);
    ck_assert_ptr_null(find_file());
    rig_stop(&rig);

    rig.options.warm = false; /* nor after a start that does not want it */
    faulty_set_content(disk, path, bytes);
    up();
    ck_assert_uint_eq(content(), 0);
    ck_assert_ptr_null(find_file());
    rig_stop(&rig);
    free(copy);
}
END_TEST

START_TEST(a_start_without_warm_and_one_with_a_log_remove_it)
{
    const enum brd_durability others[] = { BRD_DURABILITY_NONE, BRD_DURABILITY_NORMAL };
    size_t i;

    for (i = 0; i < 2; i++) {
        rig.options.warm = true;
        rig.options.durability = BRD_DURABILITY_NONE;
        up();
        fill(20);
        rig_stop(&rig);
        ck_assert_ptr_nonnull(find_file());
        rig.options.warm = false;
        rig.options.durability = others[i];
        up();
        ck_assert_uint_eq(content(), 0);
        ck_assert_ptr_null(find_file());
        rig_stop(&rig);
        ck_assert_ptr_null(find_file());
    }
    up();
    ck_assert_int_eq(rig_put(&rig, "logged", "v"), BRD_OK);
    rig_stop(&rig);
    up();
    assert_value(&rig, "logged", "v");
    rig_stop(&rig);
    rig.options.warm = true;
    rig.options.durability = BRD_DURABILITY_NONE;
    ck_assert_int_eq(rig_start(&rig), BRD_INVALID_ARGUMENT); /* as without warm */
    brd_engine_destroy(&rig.engine);
}
END_TEST

START_TEST(warm_is_refused_where_something_is_logged_or_there_is_no_directory)
{
    struct brd_engine_options options;

    up(); /* for its clock */
    options = rig.options;
    rig_stop(&rig);
    options.durability = BRD_DURABILITY_NORMAL;
    ck_assert_int_eq(brd_engine_create(&options, &rig.engine), BRD_INVALID_ARGUMENT);
    options.durability = BRD_DURABILITY_NONE;
    options.data_dir = NULL;
    ck_assert_int_eq(brd_engine_create(&options, &rig.engine), BRD_INVALID_ARGUMENT);
    up();
}
END_TEST

/* ---- Less memory ---- */

START_TEST(what_has_no_room_is_left_out)
{
    const enum brd_eviction policies[] = { BRD_EVICTION_NONE, BRD_EVICTION_S3FIFO, BRD_EVICTION_LRU,
                                           BRD_EVICTION_VOLATILE_TTL, BRD_EVICTION_RANDOM };
    char value[2000] = { 0 };
    size_t i;

    memset(value, 'v', sizeof(value) - 1);
    for (i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        char key[32];
        unsigned n;

        rig.options.max_memory_bytes = 0;
        up();
        ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
        for (n = 0; n < 5000; n++) {
            snprintf(key, sizeof(key), "key-%u", n);
            ck_assert_int_eq(rig_put(&rig, key, value), BRD_OK);
        }
        rig_stop(&rig);
        rig.options.eviction = policies[i];
        rig.options.max_memory_bytes = 4 << 20;
        up();
        ck_assert_uint_gt(rig.engine->warm.keys, 1000);
        ck_assert_uint_lt(rig.engine->warm.keys, 2500);
        ck_assert_uint_eq(rig.engine->warm.keys + rig.engine->warm.left_out, 5000);
        ck_assert_uint_le(brd_store_used_bytes(rig.engine->store), (4 << 20) + (4 << 20) / 16);
        delete_key("key-1");
        rig_stop(&rig);
    }
    up();
}
END_TEST

/* ---- Files that are none of ours, or damaged ---- */

START_TEST(a_damaged_file_is_an_empty_cache)
{
    uint64_t random = 1;
    struct brd_bytes bytes;
    char path[128];
    uint8_t *copy;
    size_t tried = 0;
    size_t at;

    up();
    fill(60);
    put_large("large", 'x');
    rig_stop(&rig);
    snprintf(path, sizeof(path), "%s", find_file());
    bytes = faulty_content(disk, path);
    copy = malloc(bytes.size);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes.data, bytes.size);
    bytes.data = copy;
    for (at = 0; at < bytes.size; at += at < 88 || bytes.size - at < 50 ? 1 : 1 + random % 997) {
        struct faulty *other = faulty_clone(disk);

        random = random * UINT64_C(6364136223846793005) + 1;
        rig.options.io = faulty_io(other);
        if (tried++ % 3 == 0)
            faulty_cut_file(other, path, at);
        else
            faulty_flip(other, path, at * 8 + random % 8);
        up();
        ck_assert_msg(content() == 0, "byte %zu", at);
        ck_assert_ptr_null(faulty_content(other, path).data);
        ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
        rig_stop(&rig);
        up();
        assert_value(&rig, "k", "v");
        rig_stop(&rig);
        faulty_destroy(&other);
    }
    free(copy);
    rig.options.io = faulty_io(disk);
    up();
    ck_assert_uint_eq(rig.engine->warm.keys, 61);
}
END_TEST

/* Write one with the means of the daemon, as somebody might who knows them. */
static void
forge(const struct snapshot_header *header, uint64_t end_version, uint64_t ns)
{
    struct snapshot_writer writer;

    ck_assert_int_eq(snapshot_create(&writer, faulty_io(disk), NULL, "/data/warm", header), 0);
    snapshot_add(&writer, header->start_version, ns, brd_bytes_of("forged"), 0,
                 brd_bytes_of("value"));
    ck_assert_int_eq(snapshot_complete(&writer, end_version), 0);
    ck_assert_int_eq(snapshot_publish(&writer), 0);
}

START_TEST(a_foreign_file_and_one_of_the_future_are_an_empty_cache)
{
    struct snapshot_header header = { .created_ns = 1 };
    uint64_t version;
    int lie;

    for (lie = 0; lie < 7; lie++) {
        up();
        ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
        ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
        memcpy(header.uuid, brd_wal_uuid(rig.engine->wal).data, sizeof(header.uuid));
        header.epoch = brd_wal_epoch(rig.engine->wal);
        rig_stop(&rig);
        ck_assert_ptr_nonnull(find_file());
        version = header.start_version = file_version;
        faulty_remove(disk, find_file());
        if (lie == 1)
            header.uuid[3] ^= 1;
        if (lie == 2)
            header.epoch++;
        if (lie == 3)
            header.epoch--;
        if (lie == 4)
            header.start_version = version = UINT64_MAX - 1;
        if (lie == 6)
            header.start_version = version += 1000; /* which may have been issued */
        forge(&header, version, lie == 5 ? 2 : 1);
        up();
        if (lie == 0 || lie == 6)
            assert_value(&rig, "forged", "value"); /* forged well */
        else
            ck_assert_msg(content() == 0, "lie %d", lie);
        ck_assert_ptr_null(find_file());
        ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
        ck_assert(lie == 4 || rig.reply.version > version);
        rig_stop(&rig);
    }
    up();
}
END_TEST

/* ---- Disks that fail ---- */

static const enum faulty_kind kinds[] = { FAULTY_OPEN,   FAULTY_READ,   FAULTY_WRITE,
                                          FAULTY_FSYNC,  FAULTY_SIZE,   FAULTY_FDATASYNC,
                                          FAULTY_RENAME, FAULTY_UNLINK, FAULTY_LIST,
                                          FAULTY_MKDIR };

START_TEST(a_disk_that_fails_at_the_stop_costs_the_cache_and_nothing_else)
{
    uint64_t failures = 0;
    uint64_t before;
    uint64_t after;
    size_t kind;
    long nth;

    for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (nth = 1;; nth++) {
            bool hit;

            up();
            fill(40);
            put_large("large", (char)('a' + nth % 20));
            before = content();
            faulty_fail_path(disk, "warm");
            faulty_fail(disk, kinds[kind], nth, 1, nth % 2 == 0 ? EIO : ENOSPC);
            brd_caller_detach(&rig.caller);
            ck_assert_int_eq(brd_engine_stop(rig.engine), BRD_OK);
            hit = faulty_hit(disk);
            faulty_clear(disk);
            brd_engine_destroy(&rig.engine);
            failures += hit;
            (void)find_file();
            /* What could not even be removed is removed by the next start. */
            ck_assert(unfinished == 0 || kinds[kind] == FAULTY_UNLINK);
            up();
            after = content();
            ck_assert(after == before || after == 0);
            ck_assert_ptr_null(find_file());
            ck_assert_uint_eq(unfinished, 0);
            rig_stop(&rig);
            if (!hit)
                break;
            ck_assert_int_lt(nth, 100);
        }
    }
    ck_assert_uint_gt(failures, 10);
    up();
}
END_TEST

START_TEST(half_a_write_at_the_stop_is_completed)
{
    uint64_t before;

    up();
    fill(40);
    before = content();
    faulty_fail_path(disk, "warm");
    faulty_short(disk, 2, 7);
    rig_stop(&rig);
    up();
    ck_assert_uint_eq(content(), before);
}
END_TEST

START_TEST(a_disk_that_fails_at_the_start_never_keeps_it_from_starting_nor_shows_old_values)
{
    uint64_t failures = 0;
    uint64_t before;
    uint64_t after;
    size_t kind;
    long nth;

    for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (nth = 1;; nth++) {
            bool hit;

            up();
            fill(40);
            before = content();
            rig_stop(&rig);
            ck_assert_ptr_nonnull(find_file());
            faulty_fail_path(disk, "warm");
            faulty_fail(disk, kinds[kind], nth, nth % 2, EIO); /* once, or for good */
            up();
            hit = faulty_hit(disk);
            failures += hit;
            after = content();
            ck_assert(after == before || after == 0);
            ck_assert_int_eq(rig_put(&rig, "key-1", "newer"), BRD_OK);
            kill_it();
            faulty_clear(disk);
            up();
            ck_assert_uint_eq(content(), 0);
            rig_stop(&rig);
            if (!hit)
                break;
            ck_assert_int_lt(nth, 100);
        }
    }
    ck_assert_uint_gt(failures, 10);
    up();
}
END_TEST

START_TEST(power_may_fail_at_every_step_of_a_stop_and_of_a_start)
{
    const enum faulty_keep keeps[] = { FAULTY_KEEP_NONE, FAULTY_KEEP_ALL, FAULTY_KEEP_SOME };
    uint64_t whole = 0;
    uint64_t empty = 0;
    long nth;

    for (nth = 1;; nth++) {
        enum faulty_keep keep = keeps[nth % 3];
        enum brd_status status;
        uint64_t before;
        uint64_t after;
        bool cut;

        up();
        fill(30);
        before = content();
        faulty_cut_at(disk, nth);
        rig_stop(&rig); /* with the power, or without */
        cut = faulty_is_cut(disk);
        if (cut)
            faulty_reboot(disk, keep, (uint64_t)nth);
        else
            faulty_clear(disk);
        up();
        after = content();
        ck_assert(after == before || after == 0);
        whole += after != 0;
        empty += after == 0;
        rig_stop(&rig);

        /* The start. */
        up();
        fill(30);
        before = content();
        rig_stop(&rig);
        faulty_cut_at(disk, nth);
        status = rig_start(&rig);
        cut = cut || faulty_is_cut(disk);
        if (status == BRD_OK) {
            ck_assert_uint_eq(content(), before);
            ck_assert_int_eq(rig_put(&rig, "key-1", "newer"), BRD_OK);
            faulty_cut(disk);
            rig_stop(&rig);
        } else {
            brd_engine_destroy(&rig.engine);
        }
        faulty_reboot(disk, keep, (uint64_t)nth + 1);
        up();
        after = content();
        /* Nobody had been served, or nothing is there. */
        ck_assert(after == 0 || (after == before && status != BRD_OK));
        whole += after != 0;
        rig_stop(&rig);
        if (!cut && status == BRD_OK)
            break;
        ck_assert_int_lt(nth, 500);
    }
    ck_assert_uint_gt(whole, 5);
    ck_assert_uint_gt(empty, 2);
    up();
}
END_TEST

/* ---- Told to stop ---- */

static int looks;
static int looks_before_stop; /* 0: never */
static int lasts;

static bool
look(void *arg)
{
    (void)arg;
    return ++looks == looks_before_stop;
}

static void
last(void *arg)
{
    (void)arg;
    lasts++;
}

START_TEST(a_stop_during_the_load_leaves_the_file_and_one_during_the_write_no_file)
{
    uint64_t before;
    int started = 0;
    int i;

    up();
    for (i = 0; i < 30; i++) {
        char key[32];

        snprintf(key, sizeof(key), "large-%d", i);
        put_large(key, (char)('a' + i % 26));
    }
    before = content();
    lasts = 0;
    rig.engine->options.on_stopping = last;
    rig_stop(&rig);
    ck_assert_int_ge(lasts, 1);
    ck_assert_ptr_nonnull(find_file());

    rig.options.stop_wanted = look;
    for (looks_before_stop = 1; !started; looks_before_stop++) {
        enum brd_status status;

        looks = 0;
        status = rig_start(&rig);
        started = status == BRD_OK;
        if (started)
            break;
        ck_assert_int_eq(status, BRD_SHUTTING_DOWN);
        brd_engine_destroy(&rig.engine);
        ck_assert_ptr_nonnull(find_file());
    }
    ck_assert_int_gt(looks_before_stop, 3);
    ck_assert_uint_eq(content(), before);

    looks = 0;
    looks_before_stop = 2;
    rig_stop(&rig);
    ck_assert_int_eq(looks, 2);
    ck_assert_ptr_null(find_file());
    ck_assert_uint_eq(unfinished, 0);
    looks_before_stop = 0;
    up();
    ck_assert_uint_eq(content(), 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("warm");
    TCase *tcase = tcase_create("warm");
    SRunner *runner;
    int failed;

    brd_diag_set_level((enum brd_diag_level)0); /* failures are what is tested here */
    tcase_set_timeout(tcase, 500);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, an_orderly_stop_keeps_values_versions_and_deadlines);
    tcase_add_test(tcase, versions_go_on_above_all_that_were_issued);
    tcase_add_test(tcase, a_cache_that_is_empty_leaves_no_file);
    tcase_add_test(tcase, after_a_kill_it_is_empty);
    tcase_add_test(tcase, a_file_that_comes_back_after_a_start_is_not_used);
    tcase_add_test(tcase, a_start_without_warm_and_one_with_a_log_remove_it);
    tcase_add_test(tcase, warm_is_refused_where_something_is_logged_or_there_is_no_directory);
    tcase_add_test(tcase, what_has_no_room_is_left_out);
    tcase_add_test(tcase, a_damaged_file_is_an_empty_cache);
    tcase_add_test(tcase, a_foreign_file_and_one_of_the_future_are_an_empty_cache);
    tcase_add_test(tcase, a_disk_that_fails_at_the_stop_costs_the_cache_and_nothing_else);
    tcase_add_test(tcase, half_a_write_at_the_stop_is_completed);
    tcase_add_test(
        tcase, a_disk_that_fails_at_the_start_never_keeps_it_from_starting_nor_shows_old_values);
    tcase_add_test(tcase, power_may_fail_at_every_step_of_a_stop_and_of_a_start);
    tcase_add_test(tcase, a_stop_during_the_load_leaves_the_file_and_one_during_the_write_no_file);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

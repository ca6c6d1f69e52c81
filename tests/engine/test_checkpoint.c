/* TSAN */
/* Checkpoints while others write, and recovery from what they leave: whatever was
 * written meanwhile, wherever power fails, whatever the disk refuses, what comes
 * back is what was there. */
#include "engine/history.h"

#include "engine/core.h"
#include "support/faulty_io.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

static struct faulty *disk;
static pthread_t checkpointer; /* the thread in which the hook may write */
static int steps_in_hook;      /* of a history, before each call of the disk */
static bool in_hook;

static void
setup(void)
{
    take_seed();
    disk = faulty_create();
    memset(&rig, 0, sizeof(rig));
    rig.options.data_dir = "/data";
    rig.options.io = faulty_io(disk);
    rig.options.durability = BRD_DURABILITY_NORMAL;
    rig.options.wal_segment_bytes = 64 << 10;
    rig.options.stripes = 8;
    steps_in_hook = 0;
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

/* Steps of a history in the middle of a checkpoint. */
static void
write_meanwhile(void *arg, enum faulty_kind kind)
{
    int i;

    (void)arg;
    if (!pthread_equal(pthread_self(), checkpointer) || in_hook || kind == FAULTY_LIST)
        return;
    in_hook = true;
    for (i = 0; i < steps_in_hook; i++)
        random_step();
    in_hook = false;
}

static struct checkpoint_result
checkpoint_with(enum brd_checkpoint_mode mode)
{
    struct checkpoint_result result;
    uint64_t ticket = 0;

    checkpointer = pthread_self();
    faulty_set_hook(disk, steps_in_hook > 0 ? write_meanwhile : NULL, NULL);
    ck_assert(checkpoint_ask(rig.engine, mode, &ticket, &result));
    faulty_set_hook(disk, NULL, NULL);
    return result;
}

static struct checkpoint_result
checkpoint_now(void)
{
    struct checkpoint_result result = checkpoint_with(BRD_CHECKPOINT_FULL);

    ck_assert_msg(result.status == BRD_OK, "%s", result.text);
    return result;
}

static void
restart_and_compare(void)
{
    struct picture before;
    struct picture after;

    take_picture(&before);
    rig_stop(&rig);
    faulty_kill(disk);
    up();
    take_picture(&after);
    assert_same(&before, &after);
    free_picture(&before);
    free_picture(&after);
}

static const char *
snapshot_file(uint64_t version)
{
    static char path[64];

    snprintf(path, sizeof(path), "/data/snapshots/%016llx.snap", (unsigned long long)version);
    return path;
}

static bool
exists(const char *path)
{
    return faulty_content(disk, path).data != NULL;
}

START_TEST(a_checkpoint_shortens_the_log_and_everything_comes_back)
{
    struct checkpoint_result result;
    uint64_t first;
    int i;

    up();
    for (i = 0; i < 1000; i++)
        random_step();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    ck_assert(exists("/data/wal/0000000000000001.wal"));
    result = checkpoint_now();
    first = result.snapshot.start_version;
    ck_assert_uint_eq(first, rig.reply.version);
    ck_assert_uint_eq(result.snapshot.end_version, first);
    ck_assert_uint_gt(result.records.total, 0);
    ck_assert_uint_eq(result.records.done, result.records.total);
    ck_assert(exists(snapshot_file(first)));
    ck_assert(!exists("/data/wal/0000000000000001.wal"));
    restart_and_compare();
    ck_assert_uint_eq(rig.engine->snapshot.start_version, first);
    ck_assert_uint_eq(rig.engine->recovered.records, 0);

    for (i = 0; i < 1000; i++)
        random_step();
    restart_and_compare();
    ck_assert_uint_gt(rig.engine->recovered.records, 0);
    ck_assert_int_eq(rig_put(&rig, "b", "1"), BRD_OK);
    result = checkpoint_now();
    ck_assert_uint_gt(result.snapshot.start_version, first);
    ck_assert(!exists(snapshot_file(first)));
    restart_and_compare();
}
END_TEST

START_TEST(nothing_new_needs_no_other_snapshot)
{
    struct checkpoint_result result;
    struct checkpoint_result again;

    up();
    result = checkpoint_now();
    ck_assert_uint_eq(result.snapshot.start_version, 0);
    ck_assert_uint_eq(result.records.total, 0);
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    result = checkpoint_now();
    ck_assert_uint_eq(result.records.total, 1);
    ck_assert_uint_eq(result.records.done, 1);
    again = checkpoint_now();
    ck_assert_uint_eq(again.snapshot.start_version, result.snapshot.start_version);
    ck_assert_uint_eq(again.records.total, 0);
    restart_and_compare();
    again = checkpoint_now();
    ck_assert_uint_eq(again.snapshot.start_version, result.snapshot.start_version);
    ck_assert_int_eq(rig_put(&rig, "a", "2"), BRD_OK);
    result = checkpoint_with(BRD_CHECKPOINT_TRUNCATE);
    ck_assert_int_eq(result.status, BRD_OK);
    ck_assert_uint_eq(result.records.total, 0);
    ck_assert_uint_eq(result.records.done, 0);
    restart_and_compare();
    assert_value(&rig, "a", "2");
}
END_TEST

/* Every kind of change, before, in the middle of and after the walk: deletes and
 * clears of what the snapshot has seen or will see, appends to what it missed. */
START_TEST(what_is_written_meanwhile_comes_back)
{
    struct checkpoint_result result;
    uint64_t fuzzy = 0;
    int round;
    int i;

    up();
    for (round = 0; round < 40; round++) {
        steps_in_hook = round % 4 * 7;
        for (i = 0; i < 200; i++)
            random_step();
        result = checkpoint_now();
        fuzzy += result.snapshot.end_version > result.snapshot.start_version;
        if (round % 2 == 0)
            for (i = 0; i < 50; i++)
                random_step();
        restart_and_compare();
    }
    ck_assert_uint_gt(fuzzy, 10);
}
END_TEST

/* What happens at each call of the disk in the middle of a checkpoint. */
static void
put_meanwhile(void *arg, enum faulty_kind kind)
{
    int i;

    (void)arg;
    if (!pthread_equal(pthread_self(), checkpointer) || in_hook || kind == FAULTY_LIST)
        return;
    in_hook = true;
    for (i = 0; i < 50; i++)
        ck_assert_int_eq(rig_put(&rig, "meanwhile", "20 bytes of a value."), BRD_OK);
    in_hook = false;
}

static void
let_time_pass(void *arg, enum faulty_kind kind)
{
    (void)arg;
    if (pthread_equal(pthread_self(), checkpointer) && kind == FAULTY_WRITE)
        rig_advance_ms(&rig, 2500);
}

/* The view after one more checkpoint; slices and yields are its own. */
static struct checkpoint_view
checkpoint_while(void (*hook)(void *arg, enum faulty_kind kind))
{
    struct checkpoint_result result;
    struct checkpoint_view before;
    struct checkpoint_view view;
    uint64_t ticket = 0;

    ck_assert_int_eq(rig_put(&rig, "new", "1"), BRD_OK);
    checkpoint_look(rig.engine, &before);
    checkpointer = pthread_self();
    faulty_set_hook(disk, hook, NULL);
    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_FULL, &ticket, &result));
    faulty_set_hook(disk, NULL, NULL);
    ck_assert_int_eq(result.status, BRD_OK);
    checkpoint_look(rig.engine, &view);
    view.slices -= before.slices;
    view.yields -= before.yields;
    return view;
}

START_TEST(a_checkpoint_makes_way_until_it_is_pressed)
{
    struct checkpoint_view view;
    char value[201];
    char key[32];
    int i;

    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    rig.options.checkpoint_log_bytes = 4096;
    up();
    for (i = 0; i < 10000; i++) { /* some blocks of the snapshot */
        snprintf(key, sizeof(key), "key-%d", i);
        ck_assert_int_eq(rig_put(&rig, key, value), BRD_OK);
    }
    view = checkpoint_while(NULL);
    ck_assert_uint_eq(view.pressed, 0);
    ck_assert_uint_ge(view.slices, 200);
    ck_assert_uint_eq(view.yields, view.slices);

    /* 50 puts are nothing beside such a snapshot. */
    view = checkpoint_while(put_meanwhile);
    ck_assert_uint_eq(view.pressed, 0);

    /* Time: three blocks take longer than five seconds, and the clock stands still in between. */
    view = checkpoint_while(let_time_pass);
    ck_assert_uint_eq(view.pressed, 1);
    ck_assert_uint_gt(view.yields, 0);
    ck_assert_uint_lt(view.yields, view.slices);

    /* Log, where the snapshot is small. */
    ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        ck_assert_int_eq(rig_put(&rig, key, "1"), BRD_OK);
    }
    (void)checkpoint_while(NULL);
    view = checkpoint_while(put_meanwhile);
    ck_assert_uint_eq(view.pressed, 2);
    ck_assert_uint_lt(view.yields, view.slices);
    restart_and_compare();
}
END_TEST

START_TEST(what_eviction_takes_meanwhile_is_gone)
{
    int round;
    int i;

    rig.options.max_memory_bytes = UINT64_C(192) << 10;
    rig.options.eviction = BRD_EVICTION_S3FIFO;
    up();
    for (round = 0; round < 12; round++) {
        steps_in_hook = 10;
        for (i = 0; i < 300; i++)
            random_step();
        (void)checkpoint_now();
        /* A restart evicts too, so compare without a limit. */
        rig.options.max_memory_bytes = 0;
        restart_and_compare();
        rig.options.max_memory_bytes = UINT64_C(192) << 10;
        rig_stop(&rig);
        up();
    }
}
END_TEST

/* ---- power ---- */

static void
wait_until_full(uint64_t version)
{
    while (brd_engine_committed(rig.engine).full < version &&
           !brd_engine_committed(rig.engine).failed)
        sched_yield();
}

/* Counters that only grow; what was acknowledged as synced must be there. */
static uint64_t acked[32];
static bool counts_meanwhile;

static void
count_up(int key)
{
    char name[16];
    uint64_t number;

    snprintf(name, sizeof(name), "n%d", key);
    if (rig_do(&rig, REQUEST(INCR, KEY(name), .delta = 1, .durability = BRD_DURABILITY_FULL)) !=
        BRD_OK)
        return;
    number = (uint64_t)rig.reply.number;
    wait_until_full(rig.reply.version);
    if (brd_engine_committed(rig.engine).full >= rig.reply.version)
        acked[key] = number;
}

static void
count_meanwhile(void *arg, enum faulty_kind kind)
{
    (void)arg;
    if (!pthread_equal(pthread_self(), checkpointer) || in_hook || kind == FAULTY_LIST)
        return;
    in_hook = true;
    if (counts_meanwhile)
        count_up((int)(next_random() % 32));
    /* The snapshot may see it, nobody waits for it, and so the log may lose it. */
    (void)rig_put(&rig, "unsynced", "x");
    in_hook = false;
}

/* A checkpoint with an older snapshot and log before it, cut at its nth change. */
static bool
cut_checkpoint(long nth, enum faulty_keep keep)
{
    struct checkpoint_result result;
    uint64_t ticket = 0;
    bool was_cut;
    int key;

    memset(acked, 0, sizeof(acked));
    up();
    for (key = 0; key < 32; key++)
        count_up(key);
    (void)checkpoint_now();
    for (key = 0; key < 32; key += 2)
        count_up(key);
    checkpointer = pthread_self();
    faulty_set_hook(disk, count_meanwhile, NULL);
    faulty_cut_at(disk, nth);
    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_FULL, &ticket, &result));
    faulty_set_hook(disk, NULL, NULL);
    was_cut = faulty_is_cut(disk);
    if (!was_cut)
        faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, keep, next_random());

    up();
    for (key = 0; key < 32; key++) {
        char name[16];

        snprintf(name, sizeof(name), "n%d", key);
        ck_assert_int_eq(rig_get(&rig, name), BRD_OK);
        ck_assert_uint_ge(strtoull(rig.value, NULL, 10), acked[key]);
    }
    /* ... and life goes on from there. */
    count_up(0);
    result = checkpoint_now();
    restart_and_compare();
    return was_cut;
}

START_TEST(power_may_fail_at_every_step_of_a_checkpoint)
{
    static const enum faulty_keep keeps[] = { FAULTY_KEEP_NONE, FAULTY_KEEP_ALL, FAULTY_KEEP_SOME };
    bool was_cut = true;
    long nth;

    counts_meanwhile = _i % 2 == 0;
    for (nth = 1; was_cut; nth++) {
        was_cut = cut_checkpoint(nth, keeps[_i / 2]);
        teardown();
        setup();
    }
    ck_assert_int_gt(nth, 20);
}
END_TEST

static void
put_durably(const char *key, const char *value)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), VALUE(value),
                                          .durability = BRD_DURABILITY_FULL)),
                     BRD_OK);
    wait_until_full(rig.reply.version);
}

/* The process ends without a word to the disk. */
static void
kill_engine(void)
{
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_kill(disk);
}

/* The process ends at the nth change of a checkpoint, and the next one loses its power
 * at the mth of its start or of its own checkpoint. What the first has left in the page
 * cache the second has taken for true. */
static bool
kill_then_cut(long nth, long mth, enum faulty_keep keep, bool *out_was_cut)
{
    struct checkpoint_result result;
    uint64_t ticket = 0;
    bool was_killed;

    up();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    (void)checkpoint_now();
    put_durably("b", "2");
    checkpointer = pthread_self();
    faulty_cut_at(disk, nth);
    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_FULL, &ticket, &result));
    was_killed = faulty_is_cut(disk);
    kill_engine();

    faulty_cut_at(disk, mth);
    ticket = 0;
    if (rig_start(&rig) == BRD_OK)
        ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_FULL, &ticket, &result));
    *out_was_cut = faulty_is_cut(disk);
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, keep, next_random());

    up();
    assert_value(&rig, "a", "1");
    assert_value(&rig, "b", "2");
    return was_killed;
}

START_TEST(a_snapshot_under_a_name_that_was_not_synced_stays_once_it_was_loaded)
{
    struct checkpoint_result result;
    char large[4096];
    int i;

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    up();
    put_durably("a", "1");
    (void)checkpoint_now();
    put_durably("b", "2");
    faulty_fail_path(disk, "snapshots");
    faulty_fail(disk, FAULTY_FSYNC, 1, 1, EIO);
    result = checkpoint_with(BRD_CHECKPOINT_FULL);
    ck_assert_int_eq(result.status, BRD_IO_ERROR);
    faulty_clear(disk);
    faulty_fail_path(disk, NULL);
    kill_engine();

    up();
    ck_assert_uint_eq(rig.engine->recovered_uncovered, 0); /* there is a snapshot of all */
    (void)checkpoint_now();                                /* ... and its log is not kept */
    for (i = 0; i < 64; i++)
        put_durably("c", large); /* the next segments are prepared: their names are synced */
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, FAULTY_KEEP_NONE, 0);

    up();
    assert_value(&rig, "a", "1");
    assert_value(&rig, "b", "2");
}
END_TEST

START_TEST(power_may_fail_while_a_start_mends_a_killed_checkpoint)
{
    static const enum faulty_keep keeps[] = { FAULTY_KEEP_NONE, FAULTY_KEEP_SOME };
    bool was_killed = true;
    long nth;

    /* A few of the thousands of pairs, others each time. */
    for (nth = 1; was_killed; nth += 1 + (long)(next_random() % 8)) {
        bool was_cut = true;
        long mth;

        for (mth = 1; was_cut; mth += 1 + (long)(next_random() % 8)) {
            was_killed = kill_then_cut(nth, mth, keeps[_i], &was_cut);
            teardown();
            setup();
        }
        ck_assert_int_gt(mth, 10);
    }
    ck_assert_int_gt(nth, 20);
}
END_TEST

/* ---- a disk that refuses ---- */

START_TEST(a_disk_that_refuses_costs_the_attempt_and_nothing_else)
{
    static const struct {
        enum faulty_kind kind;
        int error;
        enum brd_status status;
    } faults[] = {
        { FAULTY_OPEN, EMFILE, BRD_IO_ERROR },   { FAULTY_WRITE, ENOSPC, BRD_DISK_FULL },
        { FAULTY_WRITE, EIO, BRD_IO_ERROR },     { FAULTY_FDATASYNC, EIO, BRD_IO_ERROR },
        { FAULTY_RENAME, EACCES, BRD_IO_ERROR }, { FAULTY_FSYNC, EIO, BRD_IO_ERROR },
        { FAULTY_READ, EIO, BRD_IO_ERROR },      { FAULTY_MKDIR, EROFS, BRD_IO_ERROR },
    };
    size_t i;

    for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct checkpoint_result result;
        uint64_t first;

        up();
        if (faults[i].kind != FAULTY_MKDIR) {
            ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
            (void)checkpoint_now();
        }
        first = rig.engine->checkpoint.last.snapshot.start_version;
        ck_assert_int_eq(rig_put(&rig, "a", "2"), BRD_OK);
        faulty_fail_path(disk, "snapshots");
        faulty_fail(disk, faults[i].kind, 1, 1, faults[i].error);
        result = checkpoint_with(BRD_CHECKPOINT_FULL);
        ck_assert(faulty_hit(disk));
        ck_assert_msg(result.status == faults[i].status, "%zu: %s: %s", i,
                      brd_status_name(result.status), result.text);
        ck_assert_ptr_nonnull(strstr(result.text, "snapshot"));
        ck_assert(first == 0 || exists(snapshot_file(first)));
        faulty_clear(disk);
        faulty_fail_path(disk, NULL);
        ck_assert_int_eq(rig_put(&rig, "b", "1"), BRD_OK); /* the log is well */
        restart_and_compare();
        ck_assert_int_eq(rig_put(&rig, "b", "2"), BRD_OK);
        (void)checkpoint_now();
        restart_and_compare();
        teardown();
        setup();
    }
}
END_TEST

START_TEST(a_snapshot_that_cannot_be_read_back_gets_no_name)
{
    struct checkpoint_result result;

    up();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    (void)checkpoint_now();
    ck_assert_int_eq(rig_put(&rig, "a", "2"), BRD_OK);
    faulty_fail_path(disk, "snapshots");
    faulty_fail(disk, FAULTY_READ, 1, 1, EIO);
    faulty_fail(disk, FAULTY_RENAME, 1, 1, EACCES);
    result = checkpoint_with(BRD_CHECKPOINT_FULL);
    ck_assert_int_eq(result.status, BRD_IO_ERROR);
    /* And not that it cannot have its name. Taking that away again would not be enough: power
     * may fail before that is durable, and the newest snapshot is the one that counts. */
    ck_assert_ptr_nonnull(strstr(result.text, "cannot be read"));
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, FAULTY_KEEP_NONE, 0);
    up();
    assert_value(&rig, "a", "2");
}
END_TEST

START_TEST(a_failed_log_makes_no_snapshot)
{
    struct checkpoint_result result;

    up();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    wait_until_full(0);
    faulty_fail_path(disk, "/wal/");
    faulty_fail(disk, FAULTY_FDATASYNC, 1, 0, EIO);
    ck_assert_int_eq(rig_put(&rig, "a", "2"), BRD_OK);
    result = checkpoint_with(BRD_CHECKPOINT_FULL);
    ck_assert_int_eq(result.status, BRD_READ_ONLY);
    ck_assert_uint_eq(rig.engine->checkpoint.last.snapshot.start_version, 0);
    result = checkpoint_with(BRD_CHECKPOINT_FULL);
    ck_assert_int_eq(result.status, BRD_READ_ONLY);
}
END_TEST

/* ---- damage ---- */

static void
expect_refusal(enum brd_status wanted, const char *text)
{
    enum brd_status status;

    status = rig_start(&rig);
    ck_assert_msg(status == wanted, "%s: %s", brd_status_name(status), rig.error.text);
    ck_assert_msg(strstr(rig.error.text, text) != NULL, "%s", rig.error.text);
    brd_engine_destroy(&rig.engine);
}

/* A snapshot, and ten changes of the log behind it. */
static uint64_t
make_both(void)
{
    uint64_t version;
    int i;

    up();
    for (i = 0; i < 300; i++)
        random_step();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    version = checkpoint_now().snapshot.start_version;
    for (i = 0; i < 10; i++)
        ck_assert_int_eq(rig_put(&rig, "b", "1"), BRD_OK);
    rig_stop(&rig);
    return version;
}

START_TEST(damage_of_a_snapshot_is_refused_and_named)
{
    uint64_t version = make_both();
    const char *path = snapshot_file(version);
    struct faulty *whole = disk;
    uint64_t bits = faulty_content(whole, path).size * 8;
    int i;

    for (i = 0; i < 300; i++) {
        uint64_t fingerprint;

        disk = faulty_clone(whole);
        rig.options.io = faulty_io(disk);
        if (i % 3 == 0)
            faulty_cut_file(disk, path, next_random() % (bits / 8));
        else
            faulty_flip(disk, path, i < 100 ? next_random() % (4096 * 8) : next_random() % bits);
        fingerprint = faulty_fingerprint(disk);
        if (rig_start(&rig) == BRD_UNSUPPORTED) /* "a later format", with the checksum right? */
            ck_abort_msg("%s", rig.error.text);
        brd_engine_destroy(&rig.engine);
        expect_refusal(BRD_CORRUPT, path);
        ck_assert_ptr_nonnull(strstr(rig.error.text, "offset"));
        ck_assert_uint_eq(faulty_fingerprint(disk), fingerprint);
        faulty_destroy(&disk);
    }
    disk = whole;
    rig.options.io = faulty_io(disk);
    up();
}
END_TEST

START_TEST(a_snapshot_that_is_missing_or_foreign_is_refused)
{
    uint64_t version = make_both();
    char path[64];
    struct faulty *whole = disk;
    struct faulty *other;

    snprintf(path, sizeof(path), "%s", snapshot_file(version));
    disk = faulty_clone(whole);
    rig.options.io = faulty_io(disk);
    faulty_remove(disk, path);
    expect_refusal(BRD_CORRUPT, "/data/snapshots holds no snapshot");

    faulty_set_content(disk, snapshot_file(version - 1), faulty_content(whole, path));
    expect_refusal(BRD_CORRUPT, "under another name");
    faulty_remove(disk, snapshot_file(version - 1));
    faulty_destroy(&disk);

    /* Another directory's, of the same name. */
    other = faulty_create();
    disk = other;
    rig.options.io = faulty_io(disk);
    brd_clock_advance(rig.options.clock, 1000 * BRD_NS_PER_S);
    up();
    ck_assert_int_eq(rig_put(&rig, "x", "1"), BRD_OK);
    (void)checkpoint_now();
    faulty_set_content(whole, snapshot_file(rig.reply.version),
                       faulty_content(other, snapshot_file(rig.reply.version)));
    rig_stop(&rig);
    disk = whole;
    rig.options.io = faulty_io(disk);
    expect_refusal(BRD_CORRUPT, "another data directory");
    faulty_destroy(&other);
    faulty_remove(disk, snapshot_file(rig.reply.version));
    up();
}
END_TEST

START_TEST(a_log_that_ends_before_the_snapshot_does_is_refused)
{
    struct brd_bytes content;
    uint64_t version;
    uint8_t *old;
    size_t size;
    char path[64];

    up();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    steps_in_hook = 1; /* all of it in one segment */
    version = checkpoint_now().snapshot.start_version;
    ck_assert_uint_gt(rig.engine->checkpoint.last.snapshot.end_version, version);
    rig_stop(&rig);
    /* Nothing of the segment but its header, and a meta that never heard of more. */
    snprintf(path, sizeof(path), "/data/wal/0000000000000002.wal");
    content = faulty_content(disk, path);
    size = content.size < 4096 ? content.size : 4096;
    old = malloc(size);
    memcpy(old, content.data, size);
    faulty_set_content(disk, path, brd_bytes(old, size));
    free(old);
    expect_refusal(BRD_CORRUPT, "/data");
    rig.options.data_dir = "/new";
    up();
}
END_TEST

/* ---- threads ---- */

START_TEST(requests_wait_for_the_thread_and_triggers_fire)
{
    struct brd_job job = { .ticket = 0 };
    struct brd_request request =
        REQUEST(CHECKPOINT, .checkpoint_mode = BRD_CHECKPOINT_FULL, .job = &job);
    struct checkpoint_view view;
    struct picture before;
    struct picture after;
    enum brd_status status;
    int i;

    /* As rig_start, with threads. */
    rig.options.clock = brd_clock_create_real(0);
    rig.options.checkpoint_log_bytes = 200 << 10;
    rig.options.checkpoint_on_stop = true;
    ck_assert_int_eq(brd_engine_create(&rig.options, &rig.engine), BRD_OK);
    ck_assert_int_eq(brd_engine_start(rig.engine, &rig.error), BRD_OK);
    ck_assert_int_eq(brd_caller_attach(rig.engine, &rig.caller), BRD_OK);
    for (i = 0; i < 200; i++)
        ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    ck_assert(brd_engine_may_go_on(rig.engine, &job));
    while ((status = rig_do(&rig, request)) == BRD_BUSY) {
        ck_assert_uint_gt(job.ticket, 0);
        while (!brd_engine_may_go_on(rig.engine, &job))
            sched_yield();
    }
    ck_assert_int_eq(status, BRD_OK);
    ck_assert_uint_eq(job.ticket, 0);
    ck_assert_ptr_nonnull(rig.reply.checkpoint);
    ck_assert_uint_ge(rig.reply.checkpoint->done, 200);
    ck_assert_uint_le(rig.reply.checkpoint->done, rig.reply.checkpoint->total);

    /* Enough log for one by itself, again and again. */
    do {
        for (i = 0; i < 100; i++) {
            char key[32];
            struct brd_request put =
                REQUEST(PUT, .key = random_key(key, sizeof(key)), .value = random_value());

            while (rig_do(&rig, put) == BRD_BUSY)
                sched_yield();
        }
        checkpoint_look(rig.engine, &view);
        ck_assert_uint_eq(view.failures, 0);
    } while (view.runs < 6);
    take_picture(&before);
    rig_stop(&rig);
    rig.options.checkpoint_log_bytes = 0;
    rig.options.checkpoint_on_stop = false;
    up();
    ck_assert_uint_eq(rig.engine->recovered.records, 0); /* the last one held everything */
    take_picture(&after);
    assert_same(&before, &after);
    free_picture(&before);
    free_picture(&after);
}
END_TEST

/* One run for what was asked so far; others may come before its result is looked at. */
static void
run_one_for(uint64_t *ticket)
{
    struct checkpoint_result result;

    *ticket = 0;
    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_FULL, ticket, &result));
}

START_TEST(who_asks_late_is_told_of_the_checkpoint_that_was_waited_for)
{
    static const enum brd_checkpoint_mode modes[] = { BRD_CHECKPOINT_FULL, BRD_CHECKPOINT_RESTART };
    struct checkpoint_result result;
    uint64_t versions[2];
    uint64_t good;
    uint64_t bad;
    uint64_t other;
    size_t i;

    up();
    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    versions[0] = rig.reply.version;
    run_one_for(&good);
    ck_assert_int_eq(rig_put(&rig, "a", "2"), BRD_OK);
    faulty_fail_path(disk, "snapshots");
    faulty_fail(disk, FAULTY_RENAME, 1, 1, EACCES);
    run_one_for(&bad);
    faulty_clear(disk);
    ck_assert_int_eq(rig_put(&rig, "a", "3"), BRD_OK);
    versions[1] = rig.reply.version;
    run_one_for(&other);
    for (i = 0; i < 2; i++) {
        ck_assert(checkpoint_ask(rig.engine, modes[i], &good, &result));
        ck_assert_int_eq(result.status, BRD_OK);
        ck_assert_uint_eq(result.snapshot.start_version, versions[0]);
        ck_assert_uint_eq(result.records.done, 1);
        ck_assert(checkpoint_ask(rig.engine, modes[i], &bad, &result));
        ck_assert_int_eq(result.status, BRD_IO_ERROR);
        ck_assert_ptr_nonnull(strstr(result.text, "snapshots"));
        ck_assert(checkpoint_ask(rig.engine, modes[i], &other, &result));
        ck_assert_int_eq(result.status, BRD_OK);
        ck_assert_uint_eq(result.snapshot.start_version, versions[1]);
        ck_assert_uint_eq(result.records.done, 2);
    }
    /* Nobody waits for so long; but who would is not told of another one. */
    for (i = 0; i < CHECKPOINT_ANSWERS; i++)
        run_one_for(&other);
    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_FULL, &bad, &result));
    ck_assert_int_eq(result.status, BRD_UNKNOWN_RESULT);
}
END_TEST

START_TEST(what_is_not_logged_is_in_no_snapshot)
{
    struct checkpoint_result result;

    up();
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
    rig_stop(&rig);
    rig.options.durability = BRD_DURABILITY_NONE;
    up();
    ck_assert_int_eq(rig_put(&rig, "k", "not logged"), BRD_OK);
    result = checkpoint_now();
    ck_assert_uint_eq(result.snapshot.records, 0);
    assert_value(&rig, "k", "not logged");
    rig_stop(&rig);
    rig.options.durability = BRD_DURABILITY_NORMAL;
    up();
    assert_absent(&rig, "k");
}
END_TEST

static int looks;
static int looks_before_stop;

static bool
look(void *arg)
{
    (void)arg;
    return looks++ == looks_before_stop;
}

/* At the beginning, while the snapshot is loaded, before the log begins; nothing is lost by it. */
START_TEST(loading_can_be_told_to_stop)
{
    char value[4096];
    char key[24];
    int i;

    memset(value, 'v', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    up();
    for (i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        ck_assert_int_eq(rig_put(&rig, key, value), BRD_OK);
    }
    (void)checkpoint_now();
    rig_stop(&rig);
    rig.options.stop_wanted = look;
    for (i = 0;; i++) {
        looks = 0;
        looks_before_stop = i;
        if (rig_start(&rig) == BRD_OK)
            break;
        ck_assert_ptr_nonnull(strstr(rig.error.text, "told to stop"));
        brd_engine_destroy(&rig.engine);
    }
    /* There are some 32 blocks, of which others may load all but none. */
    ck_assert_int_ge(i, 3);
    rig_stop(&rig);
    rig.options.stop_wanted = NULL;
    up();
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 2000);
}
END_TEST

START_TEST(a_daemon_without_a_log_has_nothing_to_checkpoint)
{
    rig.options.data_dir = NULL;
    rig.options.durability = BRD_DURABILITY_NONE;
    up();
    ck_assert_int_eq(rig_do(&rig, REQUEST(CHECKPOINT)), BRD_NOT_DURABLE);
}
END_TEST

static TCase *
new_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int
main(void)
{
    Suite *suite = suite_create("engine checkpoint");
    TCase *tcase = new_case(suite, "checkpoint");
    TCase *eviction = new_case(suite, "eviction"); /* by themselves, for test_planted.sh */
    TCase *power = new_case(suite, "power");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_checkpoint_shortens_the_log_and_everything_comes_back);
    tcase_add_test(tcase, nothing_new_needs_no_other_snapshot);
    tcase_add_test(tcase, what_is_written_meanwhile_comes_back);
    tcase_add_test(tcase, a_checkpoint_makes_way_until_it_is_pressed);
    tcase_add_test(eviction, what_eviction_takes_meanwhile_is_gone);
    tcase_add_loop_test(power, power_may_fail_at_every_step_of_a_checkpoint, 0, 6);
    tcase_add_test(tcase, a_snapshot_under_a_name_that_was_not_synced_stays_once_it_was_loaded);
    tcase_add_loop_test(power, power_may_fail_while_a_start_mends_a_killed_checkpoint, 0, 2);
    tcase_add_test(tcase, a_disk_that_refuses_costs_the_attempt_and_nothing_else);
    tcase_add_test(tcase, a_snapshot_that_cannot_be_read_back_gets_no_name);
    tcase_add_test(power, a_failed_log_makes_no_snapshot);
    tcase_add_test(tcase, damage_of_a_snapshot_is_refused_and_named);
    tcase_add_test(tcase, a_snapshot_that_is_missing_or_foreign_is_refused);
    tcase_add_test(tcase, a_log_that_ends_before_the_snapshot_does_is_refused);
    tcase_add_test(tcase, requests_wait_for_the_thread_and_triggers_fire);
    tcase_add_test(tcase, who_asks_late_is_told_of_the_checkpoint_that_was_waited_for);
    tcase_add_test(tcase, what_is_not_logged_is_in_no_snapshot);
    tcase_add_test(tcase, loading_can_be_told_to_stop);
    tcase_add_test(tcase, a_daemon_without_a_log_has_nothing_to_checkpoint);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

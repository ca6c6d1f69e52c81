/* TSAN */
/* Replay equals memory: random histories against an engine with a log, which is
 * then given up and started again, many times; what the new one holds must be
 * what the old one held, entry by entry, versions and deadlines included. */
#include "engine/history.h"

#include "engine/mutation.h"
#include "wal/wal.h"

#include <ftw.h>
#include <unistd.h>

/* A limit that holds less than the keys would take. */
#define EVICTING_BYTES (UINT64_C(192) << 10)

static char dir[256];

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    take_seed();
    snprintf(dir, sizeof(dir), "%s/brindle-replay-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    memset(&rig, 0, sizeof(rig));
    rig.options.data_dir = dir;
    rig.options.durability = BRD_DURABILITY_NORMAL;
    rig.options.wal_segment_bytes = 256 << 10;
}

static void
teardown(void)
{
    rig_fini(&rig);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int64_t
count_evictions(void)
{
    int64_t number;

    rig.request = REQUEST(STATS, .value = brd_bytes_of("evictions"));
    brd_caller_begin(rig.caller);
    ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
    ck_assert_uint_eq(rig.reply.stat_count, 1);
    number = rig.reply.stats[0].number;
    brd_caller_done(rig.caller, &rig.reply);
    brd_caller_end(rig.caller);
    return number;
}

/* Some history under a limit (0: none), and a restart without one. Returns how many
 * keys were evicted. */
static int64_t
live_and_restart(uint64_t limit, enum brd_eviction policy, uint64_t *newest)
{
    struct picture before;
    struct picture after;
    int64_t evicted;
    int step;

    rig.options.max_memory_bytes = limit;
    rig.options.eviction = policy;
    ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
    for (step = 0; step < 1500; step++)
        random_step();
    evicted = count_evictions();
    rig.options.max_memory_bytes = 0;
    brd_engine_set_max_memory(rig.engine, 0);
    ck_assert_int_eq(rig_put(&rig, "newest", "x"), BRD_OK);
    ck_assert_uint_gt(rig.reply.version, *newest);
    *newest = rig.reply.version;
    take_picture(&before);
    rig_stop(&rig);
    ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
    take_picture(&after);
    assert_same(&before, &after);
    free_picture(&before);
    free_picture(&after);
    rig_stop(&rig);
    return evicted;
}

START_TEST(what_is_replayed_is_what_was_in_memory)
{
    uint64_t newest = 0;
    int round;

    for (round = 0; round < 12; round++)
        ck_assert_int_eq(live_and_restart(0, BRD_EVICTION_NONE, &newest), 0);
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
}
END_TEST

/* Whatever is evicted between, before and in the middle of changes of a key. */
START_TEST(what_is_replayed_is_what_eviction_left_in_memory)
{
    static const enum brd_eviction policies[] = { BRD_EVICTION_S3FIFO, BRD_EVICTION_LRU,
                                                  BRD_EVICTION_VOLATILE_TTL, BRD_EVICTION_RANDOM };
    uint64_t newest = 0;
    int64_t evicted = 0;
    int round;

    for (round = 0; round < 12; round++)
        evicted += live_and_restart(EVICTING_BYTES, policies[round % 4], &newest);
    ck_assert_int_gt(evicted, 100);
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
}
END_TEST

static const unsigned crews[] = { 1, 2, 3, 8, 0 };

/* Larger than what is handed from thread to thread, and changed in between. */
static void
large_step(void)
{
    char text[32];
    struct brd_bytes key = random_key(text, sizeof(text));
    size_t size = 60000 + next_random() % 60000;
    uint8_t *value = malloc(size);

    ck_assert_ptr_nonnull(value);
    memset(value, (int)(next_random() & 0xff), size);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, .key = key, .value = brd_bytes(value, size))),
                     BRD_OK);
    if (next_random() % 2 == 0)
        (void)rig_do(&rig, REQUEST(EXPIRE, .key = key, .ttl_ms = 1 + next_random() % 300));
    if (next_random() % 2 == 0)
        ck_assert_int_eq(rig_do(&rig,
                                REQUEST(APPEND, .key = key, .value = brd_bytes(value, size / 2))),
                         BRD_OK);
    free(value);
}

START_TEST(any_number_of_threads_comes_to_the_same)
{
    struct picture before;
    struct picture after;
    int round;
    int step;
    size_t i;

    for (round = 0; round < 3; round++) {
        rig.options.replay_threads = 0;
        ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
        for (step = 0; step < 4000; step++) {
            random_step();
            if (next_random() % 40 == 0)
                large_step();
        }
        take_picture(&before);
        rig_stop(&rig);
        for (i = 0; i < sizeof(crews) / sizeof(crews[0]); i++) {
            rig.options.replay_threads = crews[i];
            ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
            take_picture(&after);
            assert_same(&before, &after);
            free_picture(&after);
            rig_stop(&rig);
        }
        free_picture(&before);
    }
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
}
END_TEST

/* ---- Logs that no engine writes ---- */

/* Adds records to the log behind the engine's back. */
static void
write_records(const struct brd_bytes *payloads, size_t count)
{
    struct brd_sequencer sequencer;
    struct brd_wal_options options = { .dir = dir,
                                       .clock = rig.options.clock,
                                       .sequencer = &sequencer };
    struct brd_wal_report report;
    struct brd_wal_error error;
    struct brd_wal *wal = NULL;
    size_t i;

    brd_sequencer_init(&sequencer, 0);
    ck_assert_int_eq(brd_wal_open(&options, &wal, &error), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(wal, NULL, NULL, &report, &error), BRD_OK);
    ck_assert_int_eq(brd_wal_start(wal, &error), BRD_OK);
    for (i = 0; i < count; i++) {
        const struct brd_wal_payload payload = { .head = payloads[i] };

        ck_assert_int_eq(brd_wal_reserve(wal, payloads[i].size), BRD_OK);
        ck_assert_uint_gt(brd_wal_append(wal, payloads[i].size, brd_clock_now_ns(rig.options.clock),
                                         &payload, false),
                          0);
    }
    ck_assert_int_eq(brd_wal_stop(wal), BRD_OK);
    brd_wal_close(&wal);
}

#define MANY 3000

START_TEST(the_first_change_that_fails_is_told_whatever_the_number_of_threads)
{
    static const char wrong[] = "no change at all";
    struct brd_buf bufs[MANY];
    struct brd_bytes payloads[MANY];
    char first[sizeof(rig.error.text)] = "";
    size_t i;

    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    rig_stop(&rig);
    for (i = 0; i < MANY; i++) {
        char key[32];
        bool bad = i >= 2000 && i % 10 == 0;
        struct mutation mutation = { .kind = bad ? MUTATION_APPEND : MUTATION_PUT,
                                     .ns = 1,
                                     .value = brd_bytes_of("some value"),
                                     .base = i };

        snprintf(key, sizeof(key), bad ? "absent-%zu" : "key-%zu", i % 500);
        mutation.key = brd_bytes_of(key);
        brd_buf_init(&bufs[i]);
        mutation_encode(&bufs[i], &mutation, false);
        ck_assert(!bufs[i].failed);
        payloads[i] = i == 2500 ? brd_bytes_of(wrong) : brd_buf_bytes(&bufs[i]);
    }
    write_records(payloads, MANY);
    for (i = 0; i < sizeof(crews) / sizeof(crews[0]); i++) {
        rig.options.replay_threads = crews[i];
        ck_assert_int_eq(rig_start(&rig), BRD_CORRUPT);
        ck_assert_ptr_nonnull(strstr(rig.error.text, "whose version 2000 is missing"));
        if (i == 0)
            snprintf(first, sizeof(first), "%s", rig.error.text);
        ck_assert_str_eq(rig.error.text, first);
        brd_engine_destroy(&rig.engine);
    }
    for (i = 0; i < MANY; i++)
        brd_buf_fini(&bufs[i]);
}
END_TEST

START_TEST(what_is_no_change_is_told_before_what_comes_later)
{
    struct brd_buf buf;
    struct mutation mutation = {
        .kind = MUTATION_APPEND, .ns = 1, .key = brd_bytes_of("absent"), .base = 7
    };
    struct brd_bytes payloads[2] = { brd_bytes_of("nonsense") };
    size_t i;

    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    rig_stop(&rig);
    brd_buf_init(&buf);
    mutation_encode(&buf, &mutation, false);
    payloads[1] = brd_buf_bytes(&buf);
    write_records(payloads, 2);
    for (i = 0; i < sizeof(crews) / sizeof(crews[0]); i++) {
        rig.options.replay_threads = crews[i];
        ck_assert_int_eq(rig_start(&rig), BRD_CORRUPT);
        ck_assert_ptr_nonnull(strstr(rig.error.text, "is no change that this Brindle knows"));
        brd_engine_destroy(&rig.engine);
    }
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(an_expired_key_stays_gone_and_a_deadline_stays_exact_over_a_restart)
{
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("short"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("long"), VALUE("v"), .ttl_ms = 100000)), BRD_OK);
    rig_stop(&rig);
    rig_advance_ms(&rig, 100);
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_absent(&rig, "short");
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 1);
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("long"))), BRD_OK);
    ck_assert_uint_eq(rig.reply.ttl_ms, 99900);
}
END_TEST

START_TEST(a_clock_stepped_back_over_a_restart_does_not_revive_an_expired_key)
{
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_advance_ms(&rig, 150);
    assert_absent(&rig, "k");
    rig_stop(&rig);
    brd_clock_step(rig.options.clock, -60 * (int64_t)BRD_NS_PER_S);
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_absent(&rig, "k");
}
END_TEST

START_TEST(a_clock_stepped_back_before_the_stop_does_not_revive_an_expired_key)
{
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_advance_ms(&rig, 150);
    assert_absent(&rig, "k");
    brd_clock_step(rig.options.clock, -60 * (int64_t)BRD_NS_PER_S);
    rig_stop(&rig);
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_absent(&rig, "k");
}
END_TEST

START_TEST(a_clock_far_behind_the_log_is_refused_unless_told)
{
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    rig_stop(&rig);
    brd_clock_step(rig.options.clock, -7200 * (int64_t)BRD_NS_PER_S);
    ck_assert_int_eq(rig_start(&rig), BRD_OUT_OF_RANGE);
    ck_assert_ptr_nonnull(strstr(rig.error.text, "--ignore-clock"));
    brd_engine_destroy(&rig.engine);
    rig.options.ignore_clock = true;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_value(&rig, "k", "v");
}
END_TEST

START_TEST(a_write_waits_under_its_own_class_and_a_read_under_the_namespaces)
{
    struct brd_committed committed;

    rig.options.wal_sync_interval_ns = 3600 * BRD_NS_PER_S; /* no sync by itself */
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    ck_assert_uint_eq(rig.reply.after_normal, rig.reply.version);
    ck_assert_uint_eq(rig.reply.after_full, 0);
    ck_assert_int_eq(rig_do(&rig,
                            REQUEST(PUT, KEY("k"), VALUE("w"), .durability = BRD_DURABILITY_FULL)),
                     BRD_OK);
    ck_assert_uint_eq(rig.reply.after_full, rig.reply.version);
    ck_assert_int_eq(rig_do(&rig,
                            REQUEST(PUT, KEY("k"), VALUE("x"), .durability = BRD_DURABILITY_ASYNC)),
                     BRD_OK);
    ck_assert_uint_eq(rig.reply.after_normal, 0);
    ck_assert_uint_eq(rig.reply.after_full, 0);
    ck_assert_int_eq(rig_do(&rig,
                            REQUEST(PUT, KEY("k"), VALUE("x"), .durability = BRD_DURABILITY_NONE)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(rig_do(&rig, REQUEST(SYNC)), BRD_OK);
    ck_assert_uint_eq(rig.reply.after_full, rig.reply.version);
    do {
        committed = brd_engine_committed(rig.engine);
    } while (committed.full < rig.reply.version);
    assert_value(&rig, "k", "x");
    ck_assert_uint_eq(rig.reply.after_normal, 0); /* committed long ago */
}
END_TEST

/* Else it would come back over what was done to it meanwhile. */
START_TEST(without_durability_nothing_that_was_logged_is_taken)
{
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("short"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_stop(&rig);
    rig_advance_ms(&rig, 100);
    rig.options.durability = BRD_DURABILITY_NONE;
    ck_assert_int_eq(rig_start(&rig), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rig.error.text, dir));
    ck_assert_ptr_nonnull(strstr(rig.error.text, "keys that were logged (1)"));
    brd_engine_destroy(&rig.engine);

    rig.options.durability = BRD_DURABILITY_NORMAL;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_value(&rig, "k", "v");
    ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
    rig_stop(&rig);
    rig.options.durability = BRD_DURABILITY_NONE;
    ck_assert_msg(rig_start(&rig) == BRD_OK, "%s", rig.error.text);
    ck_assert_int_eq(rig_put(&rig, "k", "not logged"), BRD_OK);
    rig_stop(&rig);
    rig.options.durability = BRD_DURABILITY_NORMAL;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    assert_absent(&rig, "k");
}
END_TEST

/* Recovery asks whether to stop; each time three seconds have passed. */
static int looks;
static int looks_before_stop;

static bool
look(void *arg)
{
    (void)arg;
    rig_advance_ms(&rig, 3000);
    return looks++ == looks_before_stop;
}

/* Starts once more, giving up at the nth look; what it said is in text. */
static enum brd_status
start_and_listen(int stop_at, char *text, size_t room)
{
    int kept = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    enum brd_status status;

    ck_assert_int_ge(kept, 0);
    ck_assert_ptr_nonnull(file);
    rig.options.stop_wanted = look;
    looks = 0;
    looks_before_stop = stop_at;
    ck_assert_int_eq(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
    status = rig_start(&rig);
    ck_assert_int_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    close(kept);
    rewind(file);
    text[fread(text, 1, room - 1, file)] = '\0';
    fclose(file);
    return status;
}

static int
count_in(const char *text, const char *wanted)
{
    int count = 0;

    for (text = strstr(text, wanted); text != NULL; text = strstr(text + 1, wanted))
        count++;
    return count;
}

/* What is in meta, and how many segments there are. */
static void
look_at_files(uint8_t out_meta[8192], int *out_segments)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/meta", dir);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(out_meta, 1, 8192, file), 8192);
    fclose(file);
    *out_segments = 0;
    for (;; ++*out_segments) {
        snprintf(path, sizeof(path), "%s/wal/%016x.wal", dir, *out_segments + 1);
        if (access(path, F_OK) != 0)
            return;
    }
}

START_TEST(recovery_tells_how_far_it_is_and_can_be_told_to_stop)
{
    /* At the beginning, behind each large value, twice in the small ones, before the log
     * begins. Whoever is told later than that starts to its end. */
    const int looks_that_stop = 1 + 8 + 2 + 1;
    const size_t size = 6 << 20;
    char *value = calloc(1, size);
    uint8_t before[8192];
    uint8_t after[8192];
    char said[16384];
    char key[24];
    int segments;
    int more;
    int i;

    ck_assert_ptr_nonnull(value);
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    for (i = 0; i < 8; i++) {
        snprintf(key, sizeof(key), "large-%d", i);
        ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), .value = brd_bytes(value, size))),
                         BRD_OK);
    }
    for (i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "small-%d", i);
        ck_assert_int_eq(rig_put(&rig, key, "v"), BRD_OK);
    }
    free(value);
    rig_stop(&rig);

    look_at_files(before, &segments);
    for (i = 0; i < looks_that_stop; i++) {
        ck_assert_int_eq(start_and_listen(i, said, sizeof(said)), BRD_SHUTTING_DOWN);
        ck_assert_ptr_nonnull(strstr(rig.error.text, "told to stop"));
        brd_engine_destroy(&rig.engine);
        look_at_files(after, &more);
        ck_assert_mem_eq(before, after, sizeof(before));
        ck_assert_int_eq(segments, more);
    }
    ck_assert_int_eq(count_in(said, " MiB of the log replayed, about "), 8 + 2);
    ck_assert_int_eq(start_and_listen(looks_that_stop, said, sizeof(said)), BRD_OK);
    ck_assert_str_eq(rig.error.text, "");
    rig_stop(&rig);
    rig.options.stop_wanted = NULL;
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 10008);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("replay");
    TCase *tcase = tcase_create("replay");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_replayed_is_what_was_in_memory);
    tcase_add_test(tcase, what_is_replayed_is_what_eviction_left_in_memory);
    tcase_add_test(tcase, any_number_of_threads_comes_to_the_same);
    tcase_add_test(tcase, the_first_change_that_fails_is_told_whatever_the_number_of_threads);
    tcase_add_test(tcase, what_is_no_change_is_told_before_what_comes_later);
    tcase_add_test(tcase, an_expired_key_stays_gone_and_a_deadline_stays_exact_over_a_restart);
    tcase_add_test(tcase, a_clock_stepped_back_over_a_restart_does_not_revive_an_expired_key);
    tcase_add_test(tcase, a_clock_stepped_back_before_the_stop_does_not_revive_an_expired_key);
    tcase_add_test(tcase, a_clock_far_behind_the_log_is_refused_unless_told);
    tcase_add_test(tcase, a_write_waits_under_its_own_class_and_a_read_under_the_namespaces);
    tcase_add_test(tcase, without_durability_nothing_that_was_logged_is_taken);
    tcase_add_test(tcase, recovery_tells_how_far_it_is_and_can_be_told_to_stop);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

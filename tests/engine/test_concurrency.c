/* Several callers at once, with the reaper and the log running. */
/* TSAN */
#include "engine/rig.h"

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  3000
#define PAIRS   7

static char dir[256];
static struct brd_engine *engine;
static struct brd_clock *brd_test_clock;
static atomic_uint torn;     /* get_many that saw half a put_many */
static atomic_uint revived;  /* an expired key that was seen */
static atomic_uint failures; /* statuses that no request here may have */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
start_engine(const char *data_dir)
{
    struct brd_engine_options options = { .data_dir = data_dir,
                                          .clock = brd_test_clock,
                                          .stripes = 8,
                                          .reap_interval_ns = BRD_NS_PER_MS,
                                          .wal_segment_bytes = 1 << 20,
                                          .wal_queue_bytes = 1 << 20 };
    struct brd_engine_error error = { .text = "" };

    ck_assert_int_eq(brd_engine_create(&options, &engine), BRD_OK);
    ck_assert_msg(brd_engine_start(engine, &error) == BRD_OK, "%s", error.text);
}

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof(dir), "%s/brindle-concurrency-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    brd_test_clock = brd_clock_create_real(0);
    ck_assert_ptr_nonnull(brd_test_clock);
}

static void
teardown(void)
{
    brd_engine_destroy(&engine);
    brd_clock_destroy(&brd_test_clock);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Execute, waiting for the log's queue where it is full. Leaves the reply open. */
static void
execute(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    enum brd_status status;

    do {
        brd_caller_begin(caller);
        brd_caller_prepare(caller, request, 1);
        status = brd_caller_execute(caller, request, reply);
        if (status != BRD_OK)
            brd_caller_end(caller);
    } while (status == BRD_BUSY);
    if (reply->status != BRD_OK && reply->status != BRD_NOT_FOUND)
        atomic_fetch_add(&failures, 1);
}

static void
finish(struct brd_caller *caller, struct brd_reply *reply)
{
    brd_caller_done(caller, reply);
    brd_caller_end(caller);
}

static void
put_pair(struct brd_caller *caller, unsigned pair, unsigned number)
{
    char keys[2][32];
    char value[16];
    struct brd_key_value items[2];
    struct brd_request request = { .op = BRD_OP_PUT_MANY, .items = items, .count = 2 };
    struct brd_reply reply;
    int i;

    snprintf(value, sizeof(value), "%u", number);
    for (i = 0; i < 2; i++) {
        snprintf(keys[i], sizeof(keys[i]), "pair%u-%d", pair, i);
        items[i] = (struct brd_key_value){ brd_bytes_of(keys[i]), brd_bytes_of(value) };
    }
    execute(caller, &request, &reply);
    finish(caller, &reply);
}

static void
check_pair(struct brd_caller *caller, unsigned pair)
{
    char names[2][32];
    struct brd_bytes keys[2];
    struct brd_request request = { .op = BRD_OP_GET_MANY, .keys = keys, .count = 2 };
    struct brd_reply reply;
    int i;

    for (i = 0; i < 2; i++) {
        snprintf(names[i], sizeof(names[i]), "pair%u-%d", pair, i);
        keys[i] = brd_bytes_of(names[i]);
    }
    execute(caller, &request, &reply);
    if (reply.items[0].found != reply.items[1].found ||
        reply.items[0].version != reply.items[1].version ||
        !brd_bytes_equal(reply.items[0].value, reply.items[1].value))
        atomic_fetch_add(&torn, 1);
    finish(caller, &reply);
}

/* A value is its own deadline, so that whoever reads it can tell, whoever wrote it. */
static void
touch_short_lived(struct brd_caller *caller, unsigned number)
{
    uint64_t deadline_ms = brd_clock_now_ns(brd_test_clock) / BRD_NS_PER_MS + 1 + number % 3;
    char key[24];
    struct brd_request put = { .op = BRD_OP_PUT,
                               .value = brd_bytes(&deadline_ms, sizeof(deadline_ms)),
                               .deadline_ms = deadline_ms };
    struct brd_request get = { .op = BRD_OP_GET };
    struct brd_reply reply;
    uint64_t seen_ms;

    snprintf(key, sizeof(key), "short-%u", number % 50);
    put.key = get.key = brd_bytes_of(key);
    execute(caller, &put, &reply);
    finish(caller, &reply);
    execute(caller, &get, &reply);
    if (reply.status == BRD_OK) {
        memcpy(&seen_ms, reply.value.data, sizeof(seen_ms));
        if (reply.value.size != sizeof(seen_ms) || brd_caller_now_ms(caller) >= seen_ms)
            atomic_fetch_add(&revived, 1);
    }
    finish(caller, &reply);
}

static void *
work(void *arg)
{
    unsigned id = *(unsigned *)arg;
    struct brd_request incr = { .op = BRD_OP_INCR, .key = brd_bytes_of("total"), .delta = 1 };
    struct brd_caller *caller;
    struct brd_reply reply;
    unsigned i;

    if (brd_caller_attach(engine, &caller) != BRD_OK) {
        atomic_fetch_add(&failures, 1);
        return NULL;
    }
    for (i = 0; i < ROUNDS; i++) {
        put_pair(caller, (id + i) % PAIRS, id * ROUNDS + i);
        check_pair(caller, i % PAIRS);
        touch_short_lived(caller, i);
        execute(caller, &incr, &reply);
        finish(caller, &reply);
        if (i % 500 == 499) {
            struct brd_request stats = { .op = BRD_OP_STATS };
            struct brd_request count = { .op = BRD_OP_COUNT, .exact = true };

            execute(caller, &stats, &reply);
            finish(caller, &reply);
            execute(caller, &count, &reply);
            finish(caller, &reply);
        }
    }
    brd_caller_detach(&caller);
    return NULL;
}

static void
assert_total(void)
{
    struct brd_request get = { .op = BRD_OP_GET, .key = brd_bytes_of("total") };
    struct brd_caller *caller;
    struct brd_reply reply;
    char expected[16];

    snprintf(expected, sizeof(expected), "%d", THREADS * ROUNDS);
    ck_assert_int_eq(brd_caller_attach(engine, &caller), BRD_OK);
    execute(caller, &get, &reply);
    ck_assert_int_eq(reply.status, BRD_OK);
    ck_assert_uint_eq(reply.value.size, strlen(expected));
    ck_assert_mem_eq(reply.value.data, expected, strlen(expected));
    finish(caller, &reply);
    brd_caller_detach(&caller);
}

static void
run_threads(void)
{
    pthread_t threads[THREADS];
    unsigned ids[THREADS];
    unsigned i;

    for (i = 0; i < THREADS; i++) {
        ids[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &ids[i]), 0);
    }
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&torn), 0);
    ck_assert_uint_eq(atomic_load(&revived), 0);
    ck_assert_uint_eq(atomic_load(&failures), 0);
}

START_TEST(multi_key_writes_are_seen_whole_and_no_increment_is_lost_in_memory)
{
    start_engine(NULL);
    run_threads();
    assert_total();
}
END_TEST

START_TEST(the_same_holds_with_a_log_and_after_a_restart)
{
    start_engine(dir);
    run_threads();
    assert_total();
    brd_engine_destroy(&engine);
    start_engine(dir);
    assert_total();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("engine concurrency");
    TCase *tcase = tcase_create("concurrency");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, multi_key_writes_are_seen_whole_and_no_increment_is_lost_in_memory);
    tcase_add_test(tcase, the_same_holds_with_a_log_and_after_a_restart);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* A log on a disk in memory, under a clock that stands still, with records whose
 * content follows from their number, so that any replay can be checked.
 *
 * All tests run twice, the second time encrypted: what holds of a log, and what a disk does
 * to it, does not depend on keys. */
#ifndef TESTS_UNIT_WAL_WAL_TEST_H
#define TESTS_UNIT_WAL_WAL_TEST_H

#include "base/blob.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/diag.h"
#include "seal/seal.h"
#include "support/faulty_io.h"
#include "wal/wal.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEST_DIR      "/data"
#define TEST_NOW_NS   (UINT64_C(1700000000) * BRD_NS_PER_S)
#define TEST_SIZE_MAX 4096

struct log_test {
    struct faulty *disk;     /* owned */
    struct brd_clock *clock; /* owned; fake */
    struct brd_sequencer sequencer;
    struct brd_wal_options options;
    struct brd_wal *wal;
    struct brd_wal_error error;
    struct brd_wal_report report;
    uint64_t next;         /* number of the next record */
    uint64_t replayed;     /* records that the last replay gave */
    uint64_t last_version; /* of them */
    uint64_t filler;       /* bytes of content at most; 0: up to 200 */
    pthread_mutex_t lock;
    pthread_cond_t progress;
    uint64_t calls; /* of on_progress */
};

#define TEST_KEY_A "0101010101010101010101010101010101010101010101010101010101010101"
#define TEST_KEY_B "0202020202020202020202020202020202020202020202020202020202020202"
#define TEST_KEY_C "0303030303030303030303030303030303030303030303030303030303030303"

static bool test_sealed; /* the second time */

/* A ring with these lines; never closed but by who wants to. */
static inline struct brd_keyring *
test_ring(const char *text)
{
    char path[] = "/tmp/brindle-wal-keys-XXXXXX";
    struct brd_keyring *ring = NULL;
    int fd = mkstemp(path);
    char error[512] = "";

    BRD_CHECK(fd >= 0);
    BRD_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    BRD_CHECK(close(fd) == 0);
    if (brd_keyring_load(path, &ring, error, sizeof(error)) != BRD_OK) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    unlink(path);
    return ring;
}

/* The keys of the second time. */
static inline const struct brd_keyring *
test_keys(void)
{
    static struct brd_keyring *ring;

    if (ring == NULL)
        ring = test_ring(TEST_KEY_A);
    return ring;
}

static inline uint64_t
test_seed(void)
{
    const char *text = getenv("SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);

    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

static inline uint64_t
test_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline void
test_on_progress(void *arg)
{
    struct log_test *test = arg;

    pthread_mutex_lock(&test->lock);
    test->calls++;
    pthread_cond_broadcast(&test->progress);
    pthread_mutex_unlock(&test->lock);
}

/* Wait until something has moved since `seen` calls. */
static inline uint64_t
test_wait_progress(struct log_test *test, uint64_t seen)
{
    pthread_mutex_lock(&test->lock);
    while (test->calls == seen)
        pthread_cond_wait(&test->progress, &test->lock);
    seen = test->calls;
    pthread_mutex_unlock(&test->lock);
    return seen;
}

static inline uint64_t
test_calls(struct log_test *test)
{
    uint64_t calls;

    pthread_mutex_lock(&test->lock);
    calls = test->calls;
    pthread_mutex_unlock(&test->lock);
    return calls;
}

/* Wait until the class has reached version. False: poisoned before. */
static inline bool
test_wait(struct log_test *test, enum brd_durability class_, uint64_t version)
{
    for (;;) {
        uint64_t seen = test_calls(test);

        if (brd_wal_committed(test->wal, class_) >= version)
            return true;
        if (brd_wal_poisoned(test->wal)) {
            /* The last sync may be under way still. */
            return brd_wal_committed(test->wal, class_) >= version;
        }
        test_wait_progress(test, seen);
    }
}

static inline void
test_init(struct log_test *test)
{
    memset(test, 0, sizeof(*test));
    test->disk = faulty_create();
    test->clock = brd_clock_create_fake(TEST_NOW_NS);
    pthread_mutex_init(&test->lock, NULL);
    pthread_cond_init(&test->progress, NULL);
    test->options = (struct brd_wal_options){
        .dir = TEST_DIR,
        .io = faulty_io(test->disk),
        .clock = test->clock,
        .sequencer = &test->sequencer,
        .segment_bytes = 64 << 10,
        .queue_bytes_max = 1 << 20,
        .on_progress = test_on_progress,
        .arg = test,
        .keys = test_sealed ? test_keys() : NULL,
    };
}

static inline void
test_fini(struct log_test *test)
{
    brd_wal_close(&test->wal);
    faulty_destroy(&test->disk);
    brd_clock_destroy(&test->clock);
    pthread_cond_destroy(&test->progress);
    pthread_mutex_destroy(&test->lock);
}

/* What record number n holds. */
static inline size_t
test_content(uint64_t n, uint64_t filler_max, uint8_t *out)
{
    uint64_t state = n;
    size_t size = sizeof(n) + test_random(&state) % (filler_max != 0 ? filler_max : 200);
    size_t i;

    BRD_CHECK(size <= TEST_SIZE_MAX);
    brd_store_le64(out, n);
    for (i = sizeof(n); i < size; i++)
        out[i] = (uint8_t)(n * 31 + i);
    return size;
}

/* Checks that it is the next number, with its content. */
static inline enum brd_status
test_replayed(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    struct log_test *test = arg;
    uint8_t expected[TEST_SIZE_MAX];
    size_t size = test_content(test->replayed, test->filler, expected);

    BRD_CHECK(done <= total);
    BRD_CHECK(version > test->last_version);
    BRD_CHECK(brd_bytes_equal(payload, brd_bytes(expected, size)));
    test->replayed++;
    test->last_version = version;
    return BRD_OK;
}

static inline enum brd_status
test_open(struct log_test *test)
{
    brd_sequencer_init(&test->sequencer, 0);
    return brd_wal_open(&test->options, &test->wal, &test->error);
}

static inline enum brd_status
test_replay(struct log_test *test)
{
    test->replayed = 0;
    test->last_version = 0;
    return brd_wal_replay(test->wal, test_replayed, test, &test->report, &test->error);
}

/* Open and replay; on an error nothing is open. */
static inline enum brd_status
test_read(struct log_test *test)
{
    enum brd_status status = test_open(test);

    if (status == BRD_OK)
        status = test_replay(test);
    if (status != BRD_OK)
        brd_wal_close(&test->wal);
    return status;
}

/* Open, replay, start; on an error nothing is open. */
static inline enum brd_status
test_try_up(struct log_test *test)
{
    enum brd_status status = test_read(test);

    if (status == BRD_OK) {
        status = brd_wal_start(test->wal, &test->error);
        if (status != BRD_OK)
            brd_wal_close(&test->wal);
        test->next = test->replayed;
    }
    return status;
}

static inline void
test_up(struct log_test *test)
{
    enum brd_status status = test_try_up(test);

    ck_assert_msg(status == BRD_OK, "%s: %s", brd_status_name(status), test->error.text);
}

/* Append the next record. 0: refused (poisoned). */
static inline uint64_t
test_append(struct log_test *test, bool sync)
{
    uint8_t content[TEST_SIZE_MAX];
    size_t size = test_content(test->next, test->filler, content);
    struct brd_wal_payload payload = { .head = brd_bytes(content, size) };
    uint64_t version;

    for (;;) {
        uint64_t seen = test_calls(test);
        enum brd_status status = brd_wal_reserve(test->wal, size);

        if (status == BRD_OK)
            break;
        if (status == BRD_READ_ONLY)
            return 0;
        ck_assert_int_eq(status, BRD_BUSY);
        brd_wal_kick(test->wal);
        test_wait_progress(test, seen);
    }
    version = brd_wal_append(test->wal, size, brd_clock_now_ns(test->clock), &payload, sync);
    test->next++;
    return version;
}

static inline uint64_t
test_append_many(struct log_test *test, uint64_t count, bool sync)
{
    uint64_t version = 0;

    while (count-- > 0)
        version = test_append(test, sync);
    brd_wal_kick(test->wal);
    return version;
}

/* Append and wait: every record is a group of its own. */
static inline uint64_t
test_append_groups(struct log_test *test, uint64_t count, enum brd_durability class_)
{
    uint64_t version = 0;

    while (count-- > 0) {
        version = test_append_many(test, 1, class_ == BRD_DURABILITY_FULL);
        ck_assert(test_wait(test, class_, version));
    }
    return version;
}

static inline void
test_down(struct log_test *test)
{
    ck_assert_int_eq(brd_wal_stop(test->wal), BRD_OK);
    brd_wal_close(&test->wal);
}

/* kill -9: nothing of the log runs any more, the page cache stays. */
static inline void
test_kill(struct log_test *test)
{
    faulty_cut(test->disk);
    brd_wal_close(&test->wal);
    faulty_kill(test->disk);
}

static inline void
test_cut(struct log_test *test, enum faulty_keep keep, uint64_t seed)
{
    faulty_cut(test->disk);
    brd_wal_close(&test->wal);
    faulty_reboot(test->disk, keep, seed);
}

/* "/data/wal/0000000000000001.wal", valid until the next call but three. */
static inline const char *
test_segment(uint64_t number)
{
    static char paths[4][64];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), TEST_DIR "/wal/%016llx.wal", (unsigned long long)number);
    return path;
}

/* Test programs end here, with all once more under a key, or without. */
static inline int
test_main_of(Suite *suite, bool once_more)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    brd_diag_set_level((enum brd_diag_level)0); /* failures are what is tested here */
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    if (failed == 0 && once_more) {
        test_sealed = true;
        printf("encrypted:\n");
        srunner_run_all(runner, CK_SILENT);
        failed = srunner_ntests_failed(runner);
    }
    srunner_print(runner, CK_NORMAL);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static inline int
test_main(Suite *suite)
{
    return test_main_of(suite, true);
}

#endif

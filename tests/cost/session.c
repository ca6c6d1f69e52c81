/* What a request costs between its bytes and the bytes of its reply: decoding,
 * hashing, executing, encoding; no sockets.
 *
 *   cost_session count WORK [DEPTH]        20,000 operations among 100,000 keys, to be run under
 *                                          callgrind, which collects while they run
 *   cost_session time WORK [KEYS [DEPTH]]  nanoseconds of processor time for each operation,
 *                                          the median of some rounds: to compare two builds
 *
 * A memory-only engine with a fake clock, a fixed secret and no threads holds KEYS
 * keys of 16 bytes with values of 100 bytes. Requests come DEPTH at a time, as one
 * read from a socket would bring them; keys are chosen by a fixed sequence of
 * pseudo-random numbers. An operation is a request, or one key of a get_many.
 *
 * Only the session's work is counted or timed, not the making of requests. */
#include "session/session.h"
#include "base/check.h"
#include "engine/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION ((void)0)
#define CALLGRIND_STOP_INSTRUMENTATION  ((void)0)
#define CALLGRIND_TOGGLE_COLLECT        ((void)0)
#endif

#define START_NS      UINT64_C(1700000000000000000)
#define OPERATIONS    20000
#define KEYS_COUNTED  100000
#define KEYS_TIMED    1000000
#define DEPTH         100
#define MANY          100 /* keys of a get_many */
#define KEY_BYTES     16
#define VALUE_BYTES   100
#define BODY_MAX      (MANY * (KEY_BYTES + 2))
#define BATCH_ROOM    (512u << 10)
#define TIMED_ROUNDS  9
#define TIMED_BATCHES 2000
#define STRIPES       256 /* so that shards have tables of some chunks */

static struct brd_clock *clock_at;
static struct brd_engine *engine;
static struct brd_session_env *env;
static struct brd_session *session;

static uint64_t random_state;
static uint64_t keys; /* that are there */
static uint64_t new_key;

static uint8_t batch[BATCH_ROOM]; /* requests as they come from a socket */
static size_t batch_size;
static size_t replies_size; /* of all batches */

/* ---- requests ---- */

/* SplitMix64 (G. Steele, D. Lea, C. Flood, 2014). */
static uint64_t
next_random(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint8_t *
add_head(uint8_t *at, unsigned field, size_t size)
{
    *at++ = (uint8_t)(field << 3 | 2);
    return at + brd_varint_put(at, size);
}

static uint8_t *
add_key(uint8_t *at, uint64_t number)
{
    char text[KEY_BYTES + 1];

    at = add_head(at, 1, KEY_BYTES);
    snprintf(text, sizeof(text), "key:%012" PRIu64, number);
    memcpy(at, text, KEY_BYTES);
    return at + KEY_BYTES;
}

/* Append a framed request: id, and the kind that has this field. */
static void
add_request(unsigned field, const uint8_t *body, size_t size)
{
    uint8_t head[32];
    uint8_t *at = head;
    size_t head_size;

    *at++ = 1 << 3;
    at += brd_varint_put(at, 1000 + batch_size % 1000); /* two bytes */
    at = add_head(at, field, size);
    head_size = (size_t)(at - head);
    BRD_CHECK(batch_size + BRD_VARINT_MAX + head_size + size <= sizeof(batch));
    batch_size += brd_varint_put(batch + batch_size, head_size + size);
    memcpy(batch + batch_size, head, head_size);
    batch_size += head_size;
    memcpy(batch + batch_size, body, size);
    batch_size += size;
}

static void
add_get(uint64_t key)
{
    uint8_t body[BODY_MAX];

    add_request(2, body, (size_t)(add_key(body, key) - body));
}

static void
add_put(uint64_t key, uint64_t ttl_ms)
{
    uint8_t body[BODY_MAX];
    uint8_t *at = add_head(add_key(body, key), 2, VALUE_BYTES);

    memset(at, (int)(key & 0x7f), VALUE_BYTES);
    at += VALUE_BYTES;
    if (ttl_ms != 0) {
        *at++ = 3 << 3;
        at += brd_varint_put(at, ttl_ms);
    }
    add_request(3, body, (size_t)(at - body));
}

static void
make_get(void)
{
    add_get(next_random() % keys);
}

static void
make_miss(void)
{
    add_get(UINT64_C(500000000000) + next_random() % keys);
}

static void
make_set(void)
{
    add_put(next_random() % keys, 0);
}

static void
make_set_new(void)
{
    add_put(new_key++, 0);
}

static void
make_set_ttl(void)
{
    add_put(next_random() % keys, 3600000 + next_random() % 1000);
}

static void
make_get_many(void)
{
    uint8_t body[BODY_MAX];
    uint8_t *at = body;
    int i;

    for (i = 0; i < MANY; i++)
        at = add_key(at, next_random() % keys);
    add_request(5, body, (size_t)(at - body));
}

struct work {
    const char *name;
    void (*make)(void);
    size_t operations; /* of one request */
    size_t depth;
};

static const struct work works[] = {
    { "get", make_get, 1, DEPTH },         { "miss", make_miss, 1, DEPTH },
    { "set", make_set, 1, DEPTH },         { "set_new", make_set_new, 1, DEPTH },
    { "set_ttl", make_set_ttl, 1, DEPTH }, { "get_many", make_get_many, MANY, 1 },
};

/* ---- running ---- */

/* What a worker does between reading and writing. */
static void
exchange(void)
{
    struct iovec parts[16];
    size_t used = brd_session_input(session, brd_bytes(batch, batch_size));
    size_t n;

    BRD_CHECK(used == batch_size);
    while ((n = brd_session_output(session, parts, 16)) > 0) {
        size_t size = 0;
        size_t i;

        for (i = 0; i < n; i++)
            size += parts[i].iov_len;
        replies_size += size;
        brd_session_sent(session, size);
    }
    batch_size = 0;
}

static void
make_batch(const struct work *work, size_t depth)
{
    size_t i;

    for (i = 0; i < depth; i++)
        work->make();
}

static void
start(uint64_t key_count)
{
    static const struct brd_hash_key secret = { 1, 2 };
    struct brd_engine_options options = { .stripes = STRIPES, .manual = true, .secret = &secret };
    struct brd_session_options session_options = { 0 };
    static const struct work fill = { "fill", make_set_new, 1, DEPTH };
    struct brd_engine_error error;

    clock_at = brd_clock_create_fake(START_NS);
    BRD_CHECK(clock_at != NULL);
    options.clock = clock_at;
    BRD_CHECK(brd_engine_create(&options, &engine) == BRD_OK);
    BRD_CHECK(brd_engine_start(engine, &error) == BRD_OK);
    session_options.engine = engine;
    BRD_CHECK(brd_session_env_create(&session_options, &env) == BRD_OK);
    session = brd_session_create(env);
    BRD_CHECK(session != NULL);
    keys = key_count - key_count % DEPTH;
    while (new_key < keys) {
        make_batch(&fill, DEPTH);
        exchange();
    }
}

static void
stop(void)
{
    brd_session_destroy(&session);
    brd_session_env_destroy(&env);
    brd_engine_destroy(&engine);
    brd_clock_destroy(&clock_at);
}

static void
count(const struct work *work, size_t depth)
{
    size_t left = OPERATIONS / (work->operations * depth);

    start(KEYS_COUNTED);
    CALLGRIND_START_INSTRUMENTATION;
    while (left-- > 0) {
        make_batch(work, depth);
        CALLGRIND_TOGGLE_COLLECT;
        exchange();
        CALLGRIND_TOGGLE_COLLECT;
    }
    CALLGRIND_STOP_INSTRUMENTATION;
    stop();
}

/* ---- timing ---- */

static uint64_t
cpu_ns(void)
{
    struct timespec now;

    BRD_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * BRD_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
time_rounds(const struct work *work, uint64_t key_count, size_t depth)
{
    double rounds[TIMED_ROUNDS];
    size_t r;

    start(key_count);
    for (r = 0; r < TIMED_ROUNDS; r++) {
        uint64_t took = 0;
        size_t i;

        for (i = 0; i < TIMED_BATCHES; i++) {
            uint64_t before;

            make_batch(work, depth);
            before = cpu_ns();
            exchange();
            took += cpu_ns() - before;
        }
        rounds[r] = (double)took / (double)(TIMED_BATCHES * depth * work->operations);
    }
    stop();
    qsort(rounds, TIMED_ROUNDS, sizeof(rounds[0]), compare);
    printf("%s: %.1f ns, at least %.1f\n", work->name, rounds[TIMED_ROUNDS / 2], rounds[0]);
}

int
main(int argc, char **argv)
{
    size_t i;

    for (i = 0; argc > 2 && i < sizeof(works) / sizeof(works[0]); i++) {
        const struct work *work = &works[i];

        if (strcmp(argv[2], work->name) != 0)
            continue;
        if (strcmp(argv[1], "count") == 0) {
            count(work, argc > 3 ? strtoul(argv[3], NULL, 10) : work->depth);
            return 0;
        }
        if (strcmp(argv[1], "time") == 0) {
            time_rounds(work, argc > 3 ? strtoull(argv[3], NULL, 10) : KEYS_TIMED,
                        argc > 4 ? strtoul(argv[4], NULL, 10) : work->depth);
            return 0;
        }
    }
    fprintf(stderr, "usage: cost_session count WORK [DEPTH] | time WORK [KEYS [DEPTH]]\n"
                    "works: ");
    for (i = 0; i < sizeof(works) / sizeof(works[0]); i++)
        fprintf(stderr, " %s", works[i].name);
    fprintf(stderr, "\n");
    return 2;
}

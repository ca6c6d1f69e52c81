/* Random histories against the engine `rig`, and pictures of what it holds, entry by
 * entry, versions and deadlines included. For one test program at a time: it
 * has its rig and its seed here. */
#ifndef BRD_TESTS_ENGINE_HISTORY_H
#define BRD_TESTS_ENGINE_HISTORY_H

#include "engine/rig.h"

#include "base/buf.h"

#include <unistd.h>

#define KEYS 200

static struct rig rig;
static uint64_t seed;

static inline void
take_seed(void)
{
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u;
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
}

static inline uint64_t
next_random(void)
{
    /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- a sorted picture of what an engine holds ---- */

struct picture {
    struct brd_buf lines; /* struct line */
    struct brd_buf bytes;
};

struct line {
    size_t key_at;
    size_t key_size;
    size_t value_size; /* the value lies behind the key */
    uint64_t version;
    uint64_t deadline_ms;
};

static const uint8_t *sorting;

static inline int
by_key(const void *va, const void *vb)
{
    const struct line *a = va;
    const struct line *b = vb;
    size_t common = a->key_size < b->key_size ? a->key_size : b->key_size;
    int order = memcmp(sorting + a->key_at, sorting + b->key_at, common);

    return order != 0 ? order : (a->key_size > b->key_size) - (a->key_size < b->key_size);
}

static inline void
draw(void *arg, struct brd_bytes key, struct brd_bytes value, uint64_t version,
     uint64_t deadline_ms)
{
    struct picture *picture = arg;
    struct line line = { picture->bytes.size, key.size, value.size, version, deadline_ms };

    brd_buf_append(&picture->bytes, key.data, key.size);
    brd_buf_append(&picture->bytes, value.data, value.size);
    brd_buf_append(&picture->lines, &line, sizeof(line));
}

static inline void
take_picture(struct picture *picture)
{
    brd_buf_init(&picture->lines);
    brd_buf_init(&picture->bytes);
    brd_engine_walk(rig.engine, draw, picture);
    ck_assert(!picture->lines.failed && !picture->bytes.failed);
    sorting = picture->bytes.data;
    if (picture->lines.size > 0)
        qsort(picture->lines.data, picture->lines.size / sizeof(struct line), sizeof(struct line),
              by_key);
}

static inline void
free_picture(struct picture *picture)
{
    brd_buf_fini(&picture->lines);
    brd_buf_fini(&picture->bytes);
}

static inline void
assert_same(const struct picture *a, const struct picture *b)
{
    const struct line *la = (const struct line *)(const void *)a->lines.data;
    const struct line *lb = (const struct line *)(const void *)b->lines.data;
    size_t i;

    ck_assert_uint_eq(a->lines.size, b->lines.size);
    for (i = 0; i < a->lines.size / sizeof(struct line); i++) {
        ck_assert_uint_eq(la[i].key_size, lb[i].key_size);
        ck_assert_uint_eq(la[i].value_size, lb[i].value_size);
        ck_assert_uint_eq(la[i].version, lb[i].version);
        ck_assert_uint_eq(la[i].deadline_ms, lb[i].deadline_ms);
        ck_assert_mem_eq(a->bytes.data + la[i].key_at, b->bytes.data + lb[i].key_at,
                         la[i].key_size + la[i].value_size);
    }
}

/* ---- histories ---- */

static uint8_t noise[40000];

static inline struct brd_bytes
random_key(char *text, size_t room)
{
    int n = snprintf(text, room, "key-%llu", (unsigned long long)(next_random() % KEYS));

    return brd_bytes(text, (size_t)n);
}

static inline struct brd_bytes
random_value(void)
{
    uint64_t kind = next_random() % 20;
    size_t size = kind == 0 ? 16000 + next_random() % 20000 : next_random() % 200;

    noise[next_random() % sizeof(noise)] = (uint8_t)next_random();
    return brd_bytes(noise + next_random() % 1000, size);
}

static inline void
random_step(void)
{
    char texts[3][32];
    struct brd_bytes keys[3];
    struct brd_key_value items[3];
    struct brd_request request = { .key = random_key(texts[0], sizeof(texts[0])) };
    uint64_t kind = next_random() % 100;
    enum brd_status status;
    size_t i;

    for (i = 0; i < 3; i++) {
        keys[i] = random_key(texts[i], sizeof(texts[i]));
        items[i] = (struct brd_key_value){ keys[i], random_value() };
    }
    request.key = keys[0];
    if (kind < 30) {
        request.op = BRD_OP_PUT;
        request.value = random_value();
        request.ttl_ms = next_random() % 3 == 0 ? 1 + next_random() % 300 : 0;
        request.keep_ttl = request.ttl_ms == 0 && next_random() % 4 == 0;
    } else if (kind < 45) {
        request.op = BRD_OP_APPEND;
        request.value = random_value();
        if (request.value.size > 1000)
            request.value.size /= 4;
    } else if (kind < 55) {
        request.op = BRD_OP_INCR;
        request.delta = (int64_t)(next_random() % 1000) - 500;
    } else if (kind < 65) {
        request.op = BRD_OP_EXPIRE;
        request.ttl_ms = 1 + next_random() % 300;
    } else if (kind < 70) {
        request.op = BRD_OP_PERSIST;
    } else if (kind < 80) {
        request.op = BRD_OP_DELETE;
        request.keys = keys;
        request.count = 1 + next_random() % 3;
    } else if (kind < 93) {
        request.op = BRD_OP_PUT_MANY;
        request.items = items;
        request.count = 3;
    } else if (kind < 99) {
        rig_advance_ms(&rig, next_random() % 50);
        if (next_random() % 2 == 0)
            brd_engine_tick(rig.engine);
        return;
    } else {
        request.op = next_random() % 4 == 0 ? BRD_OP_CLEAR : BRD_OP_PURGE;
    }
    while ((status = rig_do(&rig, request)) == BRD_BUSY)
        brd_engine_tick(rig.engine);
    ck_assert_msg(status == BRD_OK || status == BRD_NOT_FOUND || status == BRD_NOT_AN_INTEGER ||
                      status == BRD_TOO_LARGE ||
                      (status == BRD_OUT_OF_MEMORY && rig.options.max_memory_bytes != 0),
                  "%s: %s", brd_status_name(status), rig.message);
}

#endif

/* Numbered requests: what crash_load writes, what each of them changes, and what it
 * must be answered.
 *
 * A connection owns KEYS keys of three kinds: strings; counters; short-lived ones,
 * which are put with a deadline some milliseconds away. Every value names the
 * request that wrote it, so that it can be made again and told apart from all
 * others. The model keeps hashes of values, which appends can continue. */
#ifndef TESTS_SUPPORT_NUMBERED_H
#define TESTS_SUPPORT_NUMBERED_H

#include <brindle.h>

#define STRINGS   44
#define COUNTERS  12
#define SHORTS    8
#define KEYS      (STRINGS + COUNTERS + SHORTS)
#define MANY_MAX  8
#define KEY_MAX   24
#define VALUE_MAX (192u * 1024)
#define BATCH_MAX (MANY_MAX * VALUE_MAX)

#define NUMBERED_HASH_EMPTY UINT64_C(14695981039346656037) /* FNV-1a */

enum kind { PUT, PUT_KEEP, APPEND, DELETE, EXPIRE, PERSIST, PUT_MANY, INCR, SHORT, GET, CLEAR };

/* What the model knows of a key. */
struct cell {
    uint64_t hash;
    uint64_t deadline_ms;
    int64_t number; /* of a counter */
    uint32_t size;
    bool present;
};

/* A request. */
struct op {
    uint64_t version; /* 0: not told, or nothing changed */
    uint64_t issued_ns, acked_ns;
    uint64_t deadline_ms;
    int64_t expected; /* a number, or of GET the value's hash */
    uint32_t round;
    int16_t status; /* that is expected */
    uint8_t kind;
    uint8_t key;
    uint8_t count;
    uint8_t durability;
    bool acked; /* before the cut began */
};

/* Whose request it is. */
struct author {
    uint32_t id;
    uint32_t value_max; /* 0: VALUE_MAX */
    uint8_t *scratch;   /* BATCH_MAX; owned by whoever made it */
};

uint64_t numbered_hash(uint64_t hash, const void *data, size_t size);

struct brd_bytes numbered_key(char out[KEY_MAX], uint32_t author, uint32_t key);

/* Change cells (KEYS of them) as request number index does, and note in it the
 * answer that it must get. False: nothing changes. */
bool numbered_apply(const struct author *author, struct cell *cells, struct op *op, uint32_t index);

/* Append the request to the output of wire. Returns as the brd_conn_ functions. */
enum brd_status numbered_encode(struct brd_conn *wire, const struct author *author,
                                const struct op *op, uint32_t index);

/* Which request wrote this value of a string: the newest name in it. False: none. */
bool numbered_parse(struct brd_bytes value, unsigned int *out_round, unsigned int *out_author,
                    unsigned int *out_index);

#endif

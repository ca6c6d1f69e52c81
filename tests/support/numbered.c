#include "support/numbered.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- keys and values ---------------------------------------------------- */

uint64_t
numbered_hash(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    size_t i;

    for (i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

struct brd_bytes
numbered_key(char out[KEY_MAX], uint32_t conn, uint32_t key)
{
    int size = snprintf(out, KEY_MAX, "load/%02u/%02u", conn, key);

    return brd_bytes(out, (size_t)size);
}

/* Mostly small; some as large as a blob, a few larger than a buffer. */
static uint32_t
value_size(uint64_t name)
{
    uint64_t dice = numbered_hash(NUMBERED_HASH_EMPTY, &name, sizeof(name));

    if (dice % 1000 == 0)
        return (uint32_t)(dice >> 20) % VALUE_MAX;
    if (dice % 50 == 0)
        return (uint32_t)(dice >> 20) % 6000;
    return (uint32_t)(dice >> 20) % 120;
}

/* The value of item `item` of a request; begins with who wrote it. */
static struct brd_bytes
numbered_value(uint8_t *out, const struct author *author, const struct op *op, uint32_t index,
               uint32_t item)
{
    int head = snprintf((char *)out, 64, "%c%u.%u.%u.%u;", op->kind == APPEND ? '+' : 'v',
                        op->round, author->id, index, item);
    uint64_t name = ((uint64_t)op->round << 40) ^ ((uint64_t)index << 8) ^ item;
    uint32_t size = op->kind == APPEND ? 0 : value_size(name);
    uint32_t i;

    if (author->value_max != 0)
        size %= author->value_max;
    for (i = (uint32_t)head; i < size; i++)
        out[i] = (uint8_t)('a' + (name + i) % 26);
    return brd_bytes(out, size > (uint32_t)head ? size : (uint32_t)head);
}

/* ---- the model ---------------------------------------------------------- */

static void
set_value(struct cell *cell, struct brd_bytes value, uint64_t deadline_ms)
{
    cell->present = true;
    cell->size = (uint32_t)value.size;
    cell->hash = numbered_hash(NUMBERED_HASH_EMPTY, value.data, value.size);
    cell->deadline_ms = deadline_ms;
}

static bool
apply_incr(struct cell *cell, struct op *op)
{
    char text[32];
    int size;

    cell->number = (cell->present ? cell->number : 100) + op->count;
    size = snprintf(text, sizeof(text), "%" PRId64, cell->number);
    op->expected = cell->number;
    set_value(cell, brd_bytes(text, (size_t)size), 0);
    return true;
}

static bool
apply_append(const struct author *author, struct cell *cell, struct op *op, uint32_t index)
{
    struct brd_bytes value = numbered_value(author->scratch, author, op, index, 0);

    if (!cell->present)
        *cell = (struct cell){ .hash = NUMBERED_HASH_EMPTY };
    cell->present = true;
    cell->size += (uint32_t)value.size;
    cell->hash = numbered_hash(cell->hash, value.data, value.size);
    op->expected = cell->size;
    return true;
}

static bool
apply_delete(struct cell *cells, struct op *op)
{
    uint32_t i;

    op->expected = 0;
    for (i = op->key; i < (uint32_t)op->key + op->count; i++) {
        op->expected += cells[i].present;
        cells[i].present = false;
    }
    return op->expected > 0;
}

bool
numbered_apply(const struct author *author, struct cell *cells, struct op *op, uint32_t index)
{
    struct cell *cell = &cells[op->key];
    uint32_t i;

    op->status = BRD_OK;
    switch ((enum kind)op->kind) {
    case PUT:
    case SHORT:
        set_value(cell, numbered_value(author->scratch, author, op, index, 0), op->deadline_ms);
        return true;
    case PUT_KEEP:
        set_value(cell, numbered_value(author->scratch, author, op, index, 0),
                  cell->present ? cell->deadline_ms : 0);
        return true;
    case APPEND:
        return apply_append(author, cell, op, index);
    case DELETE:
        return apply_delete(cells, op);
    case EXPIRE:
        op->status = cell->present ? BRD_OK : BRD_NOT_FOUND;
        cell->deadline_ms = cell->present ? op->deadline_ms : 0;
        return cell->present;
    case PERSIST:
        op->status = cell->present ? BRD_OK : BRD_NOT_FOUND;
        op->expected = cell->present && cell->deadline_ms != 0;
        cell->deadline_ms = 0;
        return op->expected != 0;
    case PUT_MANY:
        for (i = 0; i < op->count; i++)
            set_value(&cells[op->key + i], numbered_value(author->scratch, author, op, index, i),
                      0);
        return true;
    case INCR:
        return apply_incr(cell, op);
    case GET:
        op->status = cell->present ? BRD_OK : BRD_NOT_FOUND;
        op->expected = (int64_t)cell->hash;
        return false;
    case CLEAR:
        for (i = 0; i < KEYS; i++)
            cells[i].present = false;
        return true;
    }
    return false;
}

/* ---- on the wire --------------------------------------------------------- */

static enum brd_status
encode_put(struct brd_conn *wire, const struct author *author, const struct op *op, uint32_t index,
           struct brd_bytes key)
{
    struct brd_put_options opts = { .size = sizeof(opts),
                                    .deadline_ms = op->deadline_ms,
                                    .durability = op->durability,
                                    .keep_ttl = op->kind == PUT_KEEP };

    return brd_conn_put(wire, key, numbered_value(author->scratch, author, op, index, 0), &opts,
                        NULL);
}

static enum brd_status
encode_many(struct brd_conn *wire, const struct author *author, const struct op *op, uint32_t index)
{
    struct brd_put_many_options opts = { .size = sizeof(opts), .durability = op->durability };
    struct brd_pair pairs[MANY_MAX];
    char names[MANY_MAX][KEY_MAX];
    uint32_t i;

    for (i = 0; i < op->count; i++) {
        pairs[i].key = numbered_key(names[i], author->id, op->key + i);
        pairs[i].value =
            numbered_value(author->scratch + (size_t)i * VALUE_MAX, author, op, index, i);
    }
    return brd_conn_put_many(wire, pairs, op->count, &opts, NULL);
}

enum brd_status
numbered_encode(struct brd_conn *wire, const struct author *author, const struct op *op,
                uint32_t index)
{
    struct brd_write_options opts = { .size = sizeof(opts), .durability = op->durability };
    struct brd_incr_options incr = { .size = sizeof(incr),
                                     .initial = 100,
                                     .durability = op->durability };
    struct brd_expire_options expire = { .size = sizeof(expire),
                                         .deadline_ms = op->deadline_ms,
                                         .durability = op->durability };
    char names[MANY_MAX][KEY_MAX];
    struct brd_bytes keys[MANY_MAX];
    uint32_t i;

    keys[0] = numbered_key(names[0], author->id, op->key);
    switch ((enum kind)op->kind) {
    case PUT:
    case PUT_KEEP:
    case SHORT:
        return encode_put(wire, author, op, index, keys[0]);
    case APPEND:
        return brd_conn_append(wire, keys[0], numbered_value(author->scratch, author, op, index, 0),
                               &opts, NULL);
    case DELETE:
        for (i = 1; i < op->count; i++)
            keys[i] = numbered_key(names[i], author->id, op->key + i);
        return brd_conn_delete(wire, keys, op->count, &opts, NULL);
    case EXPIRE:
        return brd_conn_expire(wire, keys[0], &expire, NULL);
    case PERSIST:
        return brd_conn_persist(wire, keys[0], &opts, NULL);
    case PUT_MANY:
        return encode_many(wire, author, op, index);
    case INCR:
        return brd_conn_incr(wire, keys[0], op->count, &incr, NULL);
    case GET:
        return brd_conn_get(wire, keys[0], NULL);
    case CLEAR:
        return brd_conn_clear(wire, &opts, NULL);
    }
    return BRD_INTERNAL;
}

/* ---- read back ----------------------------------------------------------- */

bool
numbered_parse(struct brd_bytes value, unsigned int *out_round, unsigned int *out_conn,
               unsigned int *out_index)
{
    char head[64] = "";
    const char *bytes = value.data;
    size_t at = value.size;

    while (at > 0 && bytes[at - 1] != '+')
        at--;
    if (at > 0)
        at--;
    memcpy(head, bytes + at, value.size - at < 63 ? value.size - at : 63);
    return sscanf(head + 1, "%u.%u.%u.", out_round, out_conn, out_index) == 3; /* NOLINT */
}

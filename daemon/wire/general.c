/* Any request: scan.c, then protobuf-c, then a plain request.
 *
 * One function for each kind maps its message to struct brd_request; what they
 * share (a durability, a list of keys) is in helpers. protobuf-c copies bytes
 * into the arena, so the request lives as long as the arena is not cleared.
 *
 * The numbers of enums are the same on both sides, which the assertions below
 * hold the schema to; a number that the schema does not have is refused here,
 * because a request may not be carried out without what it asks for. */
#include "wire/general.h"

#include "wire/arena.h"
#include "wire/scan.h"

#include "brindle.pb-c.h"

#include <assert.h>

#define STATUS_ASSERT(name, number, sentence)                          \
    static_assert((int)BRD_##name == (int)BRINDLE__V1__STATUS__##name, \
                  "statuses are numbered as in the schema");
BRD_STATUSES(STATUS_ASSERT)
#undef STATUS_ASSERT

#define DURABILITY_ASSERT(name)                                                                  \
    static_assert((int)BRD_DURABILITY_##name == (int)BRINDLE__V1__DURABILITY__DURABILITY_##name, \
                  "durability classes are numbered as in the schema")
DURABILITY_ASSERT(DEFAULT);
DURABILITY_ASSERT(NONE);
DURABILITY_ASSERT(ASYNC);
DURABILITY_ASSERT(NORMAL);
DURABILITY_ASSERT(FULL);

#define CONDITION_ASSERT(name)                                            \
    static_assert((int)BRD_##name == (int)BRINDLE__V1__CONDITION__##name, \
                  "conditions are numbered as in the schema")
CONDITION_ASSERT(ALWAYS);
CONDITION_ASSERT(IF_ABSENT);
CONDITION_ASSERT(IF_PRESENT);
CONDITION_ASSERT(IF_VERSION);

#define MODE_ASSERT(name)                                                   \
    static_assert((int)BRD_CHECKPOINT_##name ==                             \
                      (int)BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_##name, \
                  "modes of checkpoints are numbered as in the schema")
MODE_ASSERT(PASSIVE);
MODE_ASSERT(FULL);
MODE_ASSERT(RESTART);
MODE_ASSERT(TRUNCATE);

static struct brd_bytes
bytes_of(ProtobufCBinaryData data)
{
    return brd_bytes(data.data, data.len);
}

/* An enum's number is whatever the peer sent. */
static enum brd_status
map_durability(Brindle__V1__Durability durability, struct brd_request *request)
{
    int number = (int)durability;

    if (number < BRD_DURABILITY_DEFAULT || number > BRD_DURABILITY_FULL)
        return BRD_INVALID_ARGUMENT;
    request->durability = (enum brd_durability)number;
    return BRD_OK;
}

static enum brd_status
map_keys(struct brd_wire_arena *arena, const ProtobufCBinaryData *keys, size_t count,
         struct brd_request *request)
{
    struct brd_bytes *mapped = wire_arena_alloc_array(arena, count, sizeof(*mapped));
    size_t i;

    if (mapped == NULL)
        return arena->failure;
    for (i = 0; i < count; i++)
        mapped[i] = bytes_of(keys[i]);
    request->keys = mapped;
    request->count = count;
    return BRD_OK;
}

static enum brd_status
map_put(const Brindle__V1__Put *put, struct brd_request *request)
{
    int condition = (int)put->condition;

    request->key = bytes_of(put->key);
    request->value = bytes_of(put->value);
    request->ttl_ms = put->ttl_ms;
    request->deadline_ms = put->deadline_ms;
    request->if_version = put->if_version;
    request->keep_ttl = put->keep_ttl != 0;
    request->return_previous = put->return_previous != 0;
    if (condition < BRD_ALWAYS || condition > BRD_IF_VERSION)
        return BRD_INVALID_ARGUMENT;
    request->condition = (enum brd_condition)condition;
    return map_durability(put->durability, request);
}

static enum brd_status
map_put_many(struct brd_wire_arena *arena, const Brindle__V1__PutMany *put_many,
             struct brd_request *request)
{
    struct brd_key_value *items = wire_arena_alloc_array(arena, put_many->n_items, sizeof(*items));
    size_t i;

    if (items == NULL)
        return arena->failure;
    for (i = 0; i < put_many->n_items; i++) {
        items[i].key = bytes_of(put_many->items[i]->key);
        items[i].value = bytes_of(put_many->items[i]->value);
    }
    request->items = items;
    request->count = put_many->n_items;
    request->ttl_ms = put_many->ttl_ms;
    request->deadline_ms = put_many->deadline_ms;
    return map_durability(put_many->durability, request);
}

static enum brd_status
map_incr(const Brindle__V1__Incr *incr, struct brd_request *request)
{
    request->key = bytes_of(incr->key);
    request->delta = incr->delta;
    request->initial = incr->initial;
    request->ttl_ms = incr->ttl_ms;
    request->deadline_ms = incr->deadline_ms;
    return map_durability(incr->durability, request);
}

static enum brd_status
map_expire(const Brindle__V1__Expire *expire, struct brd_request *request)
{
    request->key = bytes_of(expire->key);
    request->ttl_ms = expire->ttl_ms;
    request->deadline_ms = expire->deadline_ms;
    return map_durability(expire->durability, request);
}

static enum brd_status
map_append(const Brindle__V1__Append *append, struct brd_request *request)
{
    request->key = bytes_of(append->key);
    request->value = bytes_of(append->value);
    return map_durability(append->durability, request);
}

static enum brd_status
map_delete(struct brd_wire_arena *arena, const Brindle__V1__Delete *delete,
           struct brd_request *request)
{
    enum brd_status status = map_keys(arena, delete->keys, delete->n_keys, request);

    return status != BRD_OK ? status : map_durability(delete->durability, request);
}

static enum brd_status
map_persist(const Brindle__V1__Persist *persist, struct brd_request *request)
{
    request->key = bytes_of(persist->key);
    return map_durability(persist->durability, request);
}

static enum brd_status
map_checkpoint(const Brindle__V1__Checkpoint *checkpoint, struct brd_request *request)
{
    int mode = (int)checkpoint->mode;

    if (mode < BRD_CHECKPOINT_PASSIVE || mode > BRD_CHECKPOINT_TRUNCATE)
        return BRD_INVALID_ARGUMENT;
    request->checkpoint_mode = (enum brd_checkpoint_mode)mode;
    return BRD_OK;
}

/* op is set before what may fail, so that a refusal names it. */
static enum brd_status
map_op(struct brd_wire_arena *arena, const Brindle__V1__Request *message,
       struct brd_request *request)
{
    switch (message->op_case) {
    case BRINDLE__V1__REQUEST__OP_GET:
        request->op = BRD_OP_GET;
        request->key = bytes_of(message->get->key);
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_PUT:
        request->op = BRD_OP_PUT;
        return map_put(message->put, request);
    case BRINDLE__V1__REQUEST__OP_DELETE:
        request->op = BRD_OP_DELETE;
        return map_delete(arena, message->delete_, request);
    case BRINDLE__V1__REQUEST__OP_GET_MANY:
        request->op = BRD_OP_GET_MANY;
        return map_keys(arena, message->get_many->keys, message->get_many->n_keys, request);
    case BRINDLE__V1__REQUEST__OP_PUT_MANY:
        request->op = BRD_OP_PUT_MANY;
        return map_put_many(arena, message->put_many, request);
    case BRINDLE__V1__REQUEST__OP_INCR:
        request->op = BRD_OP_INCR;
        return map_incr(message->incr, request);
    case BRINDLE__V1__REQUEST__OP_EXISTS:
        request->op = BRD_OP_EXISTS;
        return map_keys(arena, message->exists->keys, message->exists->n_keys, request);
    case BRINDLE__V1__REQUEST__OP_TTL:
        request->op = BRD_OP_TTL;
        request->key = bytes_of(message->ttl->key);
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_EXPIRE:
        request->op = BRD_OP_EXPIRE;
        return map_expire(message->expire, request);
    case BRINDLE__V1__REQUEST__OP_PERSIST:
        request->op = BRD_OP_PERSIST;
        return map_persist(message->persist, request);
    case BRINDLE__V1__REQUEST__OP_APPEND:
        request->op = BRD_OP_APPEND;
        return map_append(message->append, request);
    case BRINDLE__V1__REQUEST__OP_COUNT:
        request->op = BRD_OP_COUNT;
        request->exact = message->count->exact != 0;
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_CLEAR:
        request->op = BRD_OP_CLEAR;
        return map_durability(message->clear->durability, request);
    case BRINDLE__V1__REQUEST__OP_PURGE:
        request->op = BRD_OP_PURGE;
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_SYNC:
        request->op = BRD_OP_SYNC;
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_STATS:
        request->op = BRD_OP_STATS;
        request->value = brd_bytes_of(message->stats->prefix);
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_RESET_STATS:
        request->op = BRD_OP_RESET_STATS;
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_CHECKPOINT:
        request->op = BRD_OP_CHECKPOINT;
        return map_checkpoint(message->checkpoint, request);
    case BRINDLE__V1__REQUEST__OP_HELLO:
        request->op = BRD_OP_HELLO;
        request->protocol_version = message->hello->protocol_version;
        request->value = brd_bytes_of(message->hello->client_name);
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP_PING:
        request->op = BRD_OP_PING;
        request->value = bytes_of(message->ping->payload);
        return BRD_OK;
    case BRINDLE__V1__REQUEST__OP__NOT_SET:
    default:
        return BRD_UNKNOWN_REQUEST;
    }
}

enum brd_status
general_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
               struct brd_bytes message, struct brd_request *out_request)
{
    struct scan_result scanned;
    const Brindle__V1__Request *unpacked;
    enum brd_status status;

    status = scan_request(message, limits->batch_keys_max, &scanned);
    *out_request = (struct brd_request){ .id = scanned.id };
    if (status != BRD_OK)
        return status;
    arena->failure = BRD_OK;
    unpacked = brindle__v1__request__unpack(&arena->allocator, message.size, message.data);
    if (unpacked == NULL)
        return arena->failure != BRD_OK ? arena->failure : BRD_PROTOCOL_ERROR;
    out_request->name_space = brd_bytes_of(unpacked->namespace_);
    return map_op(arena, unpacked, out_request);
}

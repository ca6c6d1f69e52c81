#include "engine/mutation.h"

#include "base/check.h"
#include "engine/engine.h"

static void
put_bytes(struct brd_buf *buf, struct brd_bytes bytes, bool apart)
{
    brd_buf_append_varint(buf, bytes.size);
    if (!apart)
        brd_buf_append(buf, bytes.data, bytes.size);
}

void
mutation_encode(struct brd_buf *buf, const struct mutation *mutation, bool value_apart)
{
    uint8_t kind = (uint8_t)mutation->kind;

    brd_buf_append(buf, &kind, 1);
    brd_buf_append_varint(buf, mutation->ns);
    if (mutation->kind == MUTATION_CLEAR)
        return;
    put_bytes(buf, mutation->key, false);
    switch (mutation->kind) {
    case MUTATION_PUT:
        brd_buf_append_varint(buf, mutation->deadline_ms);
        put_bytes(buf, mutation->value, value_apart);
        break;
    case MUTATION_TOUCH:
        brd_buf_append_varint(buf, mutation->base);
        brd_buf_append_varint(buf, mutation->deadline_ms);
        break;
    case MUTATION_APPEND:
        brd_buf_append_varint(buf, mutation->base);
        put_bytes(buf, mutation->value, value_apart);
        break;
    case MUTATION_DELETE:
    case MUTATION_CLEAR:
        break;
    }
}

static bool
take_bytes(struct brd_bytes *in, struct brd_bytes *out)
{
    uint64_t size;

    return brd_varint_get(in, &size) && brd_bytes_take(in, size, out);
}

static bool
decode_fields(struct brd_bytes *in, struct mutation *out)
{
    if (out->kind == MUTATION_CLEAR)
        return true;
    if (!take_bytes(in, &out->key))
        return false;
    switch (out->kind) {
    case MUTATION_PUT:
        return brd_varint_get(in, &out->deadline_ms) && take_bytes(in, &out->value);
    case MUTATION_TOUCH:
        return brd_varint_get(in, &out->base) && brd_varint_get(in, &out->deadline_ms);
    case MUTATION_APPEND:
        return brd_varint_get(in, &out->base) && take_bytes(in, &out->value);
    case MUTATION_DELETE:
    case MUTATION_CLEAR:
        return true;
    }
    return false;
}

enum brd_status
mutation_decode(struct brd_bytes *payload, struct mutation *out)
{
    struct brd_bytes in = *payload;

    if (in.size == 0)
        return BRD_NOT_FOUND;
    *out = (struct mutation){ .kind = (enum mutation_kind)in.data[0] };
    if (in.data[0] < MUTATION_PUT || in.data[0] > MUTATION_CLEAR)
        return BRD_CORRUPT;
    in.data++;
    in.size--;
    if (!brd_varint_get(&in, &out->ns) || !decode_fields(&in, out))
        return BRD_CORRUPT;
    *payload = in;
    return BRD_OK;
}

const char *
mutation_kind_name(enum mutation_kind kind)
{
    switch (kind) {
    case MUTATION_PUT:
        return "put";
    case MUTATION_TOUCH:
        return "touch";
    case MUTATION_DELETE:
        return "delete";
    case MUTATION_APPEND:
        return "append";
    case MUTATION_CLEAR:
        return "clear";
    }
    return "unknown";
}

enum brd_status
brd_change_next(struct brd_bytes *payload, struct brd_change *out_change)
{
    struct mutation mutation;
    enum brd_status status = mutation_decode(payload, &mutation);

    if (status != BRD_OK)
        return status;
    *out_change = (struct brd_change){ .kind = mutation_kind_name(mutation.kind),
                                       .ns = mutation.ns,
                                       .key = mutation.key,
                                       .value = mutation.value,
                                       .base = mutation.base,
                                       .deadline_ms = mutation.deadline_ms };
    return BRD_OK;
}

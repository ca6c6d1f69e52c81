/* Foreign bytes as a stream of framed requests: decoding never reads beyond a
 * message or takes more than its arena may, and answers only what its contract
 * says.
 *
 * The first byte chooses the limits; the rest is the stream. Every message is
 * decoded from memory of exactly its size. */
#include "base/check.h"
#include "proto/frame.h"
#include "wire/arena.h"

#include <stdlib.h>

static struct brd_wire_arena *arenas[2];
static const size_t arena_sizes[2] = { 4096, (size_t)1 << 20 };
static const struct brd_wire_limits limits[2] = { { 3 }, { 1000 } };

/* Touch every byte, so that the address sanitizer looks at it. */
static unsigned
sum(struct brd_bytes bytes)
{
    unsigned total = 0;

    for (size_t i = 0; i < bytes.size; i++)
        total += bytes.data[i];
    return total;
}

static void
touch(const struct brd_request *request)
{
    volatile unsigned total = 0;

    total += sum(request->name_space) + sum(request->key) + sum(request->value);
    for (size_t i = 0; i < request->count; i++) {
        BRD_CHECK((request->keys == NULL) != (request->items == NULL));
        if (request->keys != NULL)
            total += sum(request->keys[i]);
        else
            total += sum(request->items[i].key) + sum(request->items[i].value);
    }
    (void)total;
}

static void
check_text(struct brd_bytes text)
{
    BRD_CHECK(text.size == 0 || memchr(text.data, 0, text.size) == NULL);
}

static void
decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limit, struct brd_bytes message)
{
    struct brd_request request;
    enum brd_status status = brd_wire_decode(arena, limit, message, NULL, &request);

    switch (status) {
    case BRD_OK:
        BRD_CHECK(request.op > BRD_OP_UNKNOWN && request.op < BRD_OP_COUNT_OF);
        BRD_CHECK(request.durability <= BRD_DURABILITY_FULL);
        BRD_CHECK(request.condition <= BRD_IF_VERSION);
        BRD_CHECK(request.checkpoint_mode <= BRD_CHECKPOINT_TRUNCATE);
        BRD_CHECK(request.count <= limit->batch_keys_max);
        check_text(request.name_space);
        touch(&request);
        break;
    case BRD_UNKNOWN_REQUEST:
        BRD_CHECK(request.op == BRD_OP_UNKNOWN);
        break;
    case BRD_INVALID_ARGUMENT:
    case BRD_TOO_LARGE:
    case BRD_PROTOCOL_ERROR:
    case BRD_OUT_OF_MEMORY:
        break;
    default:
        BRD_CHECK(status == BRD_OK); /* an answer that the contract does not have */
    }
    BRD_CHECK(arena->bytes <= arena->bytes_max);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned choice;
    uint64_t body;
    size_t head;

    if (size == 0)
        return 0;
    choice = data[0] & 1;
    data++;
    size--;
    if (arenas[choice] == NULL)
        arenas[choice] = brd_wire_arena_create(arena_sizes[choice]);
    BRD_CHECK(arenas[choice] != NULL);
    brd_wire_arena_clear(arenas[choice]);
    while (brd_frame_parse(data, size, 1 << 20, &head, &body) == BRD_FRAME_OK) {
        uint8_t *exact = malloc(body == 0 ? 1 : (size_t)body);

        BRD_CHECK(exact != NULL);
        memcpy(exact, data + head, (size_t)body);
        decode(arenas[choice], &limits[choice], brd_bytes(exact, (size_t)body));
        free(exact);
        data += head + (size_t)body;
        size -= head + (size_t)body;
    }
    return 0;
}

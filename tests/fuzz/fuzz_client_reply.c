/* What a server may send to the client library: anything.
 *
 * The input is the stream of bytes that a brd_conn receives. It is fed in two
 * pieces, split at every place (at every 64th of long inputs), and in single
 * bytes: whatever the pieces are, the same replies must come out. Every byte that
 * a reply points to is read, for the address sanitizer. */
#include <brindle.h>

#include <stdlib.h>

#define REQUESTS        8
#define EVERY_SPLIT_MAX 256 /* longer inputs are split at fewer places */
#define STEP_LONG       64

/* FNV-1a over all that comes out. */
static uint64_t
mix(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    size_t i;

    for (i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

static uint64_t
mix_bytes(uint64_t hash, struct brd_bytes bytes)
{
    return mix(mix(hash, &bytes.size, sizeof(bytes.size)), bytes.data, bytes.size);
}

static uint64_t
mix_reply(uint64_t hash, const struct brd_reply *reply)
{
    size_t i;

    hash = mix(hash, &reply->id, sizeof(reply->id));
    hash = mix(hash, &reply->status, sizeof(reply->status));
    hash = mix(hash, &reply->version, sizeof(reply->version));
    hash = mix(hash, &reply->number, sizeof(reply->number));
    hash = mix(hash, &reply->ttl_ms, sizeof(reply->ttl_ms));
    hash = mix_bytes(hash, reply->value);
    hash = mix_bytes(hash, reply->message);
    if (reply->hello != NULL)
        hash = mix_bytes(hash, reply->hello->server_version);
    if (reply->checkpoint != NULL)
        hash = mix(hash, reply->checkpoint, sizeof(*reply->checkpoint));
    for (i = 0; i < reply->item_count; i++)
        hash = mix_bytes(hash, brd_reply_item(reply, i)->value);
    for (i = 0; i < reply->stat_count; i++) {
        const struct brd_stat *stat = brd_reply_stat(reply, i);

        hash = mix_bytes(hash, stat->name);
        hash = mix_bytes(hash, stat->unit);
        hash = mix_bytes(hash, stat->text);
        hash = mix(hash, &stat->number, sizeof(stat->number));
    }
    return hash;
}

static uint64_t
drain(struct brd_conn *conn, uint64_t hash)
{
    const struct brd_reply *reply;

    while (brd_conn_next_reply(conn, &reply) == BRD_CONN_REPLY)
        hash = mix_reply(hash, reply);
    return hash;
}

/* All that comes out when the input arrives in pieces of these sizes. */
static uint64_t
run(const uint8_t *data, size_t size, size_t first, size_t step)
{
    uint64_t hash = 0xcbf29ce484222325;
    struct brd_conn *conn;
    size_t at = 0;
    int i;

    if (brd_conn_create(NULL, &conn) != BRD_OK)
        abort();
    for (i = 0; i < REQUESTS; i++) {
        if (brd_conn_get(conn, brd_bytes_of("key"), NULL) != BRD_OK)
            abort();
    }
    while (at < size) {
        size_t piece = at == 0 && first != 0 ? first : step;

        if (piece > size - at)
            piece = size - at;
        if (brd_conn_feed(conn, data + at, piece) != BRD_OK)
            abort();
        at += piece;
        hash = drain(conn, hash);
    }
    hash = mix(hash, brd_conn_error(conn), strlen(brd_conn_error(conn)));
    brd_conn_destroy(&conn);
    return hash;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole = run(data, size, 0, size == 0 ? 1 : size);
    size_t step = size <= EVERY_SPLIT_MAX ? 1 : size / STEP_LONG;
    size_t split;

    for (split = 1; split < size; split += step) {
        if (run(data, size, split, size) != whole)
            abort();
    }
    if (size <= EVERY_SPLIT_MAX && run(data, size, 0, 1) != whole)
        abort();
    return 0;
}

#include "engine/dump.h"

#include <errno.h>
#include <string.h>

#define SLICE 32

/* A large value, taken by reference. */
struct large {
    struct brd_blob *blob; /* owned reference */
    uint64_t version;
    uint64_t deadline_ms;
    size_t key_at; /* in dump->keys */
    size_t key_size;
};

void
dump_init(struct dump *dump, uint64_t ns, uint64_t now_ms)
{
    dump->ns = ns;
    dump->now_ms = now_ms;
    brd_buf_init(&dump->larges);
    brd_buf_init(&dump->keys);
}

void
dump_fini(struct dump *dump)
{
    brd_buf_fini(&dump->larges);
    brd_buf_fini(&dump->keys);
}

static void
visit(void *arg, const struct brd_walk_item *item)
{
    struct dump *dump = arg;
    struct large large = { .version = item->view.version,
                           .deadline_ms = item->view.deadline_ms,
                           .key_at = dump->keys.size,
                           .key_size = item->key.size };

    if (item->view.deadline_ms != 0 && item->view.deadline_ms <= dump->now_ms)
        return;
    if (item->view.blob == NULL) {
        snapshot_add(&dump->writer, item->view.version, dump->ns, item->key, item->view.deadline_ms,
                     item->view.value);
        return;
    }
    large.blob = brd_blob_ref(item->view.blob);
    brd_buf_append(&dump->keys, item->key.data, item->key.size);
    brd_buf_append(&dump->larges, &large, sizeof(large));
    if (dump->larges.failed)
        brd_blob_unref(large.blob);
}

/* Outside of the stripe. */
static int
write_large(struct dump *dump)
{
    struct brd_bytes left = brd_buf_bytes(&dump->larges);
    int result = dump->keys.failed || dump->larges.failed ? -ENOMEM : 0;
    struct brd_bytes bytes;

    while (brd_bytes_take(&left, sizeof(struct large), &bytes)) {
        struct large large;

        memcpy(&large, bytes.data, sizeof(large));
        if (result == 0)
            result = snapshot_add_large(&dump->writer, large.version, dump->ns,
                                        brd_bytes(dump->keys.data + large.key_at, large.key_size),
                                        large.deadline_ms, brd_blob_bytes(large.blob));
        if (result == 0 && dump->go_on != NULL && !dump->go_on(dump->arg))
            result = -ECANCELED;
        brd_blob_unref(large.blob);
    }
    brd_buf_clear(&dump->larges);
    brd_buf_clear(&dump->keys);
    return result;
}

int
dump_slice(struct dump *dump, struct brd_keyspace *keyspace, uint32_t shard, uint64_t *cursor)
{
    int result;

    brd_shard_walk(keyspace, shard, cursor, SLICE, visit, dump);
    result = write_large(dump);
    return result == 0 ? snapshot_flush(&dump->writer, false) : result;
}

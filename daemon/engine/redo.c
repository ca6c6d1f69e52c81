/* One change of the log or of a snapshot -> store, whatever is there already.
 *
 *   PUT     a full value: applies if newer than the entry
 *   DELETE  applies if newer than the entry
 *   TOUCH, APPEND  carry the version they were applied to: they apply to exactly
 *           that one; an entry that is newer skips them. A missing base is damage
 *           above fuzzy_end; up to there the key may have been removed before
 *           the snapshot came by. An older one is damage anywhere.
 *   CLEAR   everything older in the namespace dies; up to fuzzy_end there may be
 *           entries that are newer: the snapshot's
 *
 * Replay never judges expiry: an expired entry may be the base of a later change. */
#include "engine/redo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum brd_status
redo_give_up(struct redo *redo, enum brd_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(redo->error->text, sizeof(redo->error->text), format, args);
    va_end(args);
    return status;
}

static enum brd_status
no_memory(struct redo *redo)
{
    return redo_give_up(redo, BRD_OUT_OF_MEMORY,
                        "memory ran out while the log was replayed; give the daemon more");
}

/* An entry with this value, or NULL. */
static struct brd_entry *
entry_of(struct brd_bytes key, struct brd_bytes head, struct brd_bytes tail, uint64_t deadline_ms)
{
    size_t size = head.size + tail.size;
    struct brd_blob *blob;
    struct brd_entry *entry;

    if (size < BRD_STORE_BLOB_MIN) {
        uint8_t joined[BRD_STORE_BLOB_MIN];

        if (tail.size == 0)
            return brd_entry_create(key, head, NULL, deadline_ms != 0);
        if (head.size > 0)
            memcpy(joined, head.data, head.size);
        memcpy(joined + head.size, tail.data, tail.size);
        return brd_entry_create(key, brd_bytes(joined, size), NULL, deadline_ms != 0);
    }
    blob = brd_blob_create(size);
    if (blob == NULL)
        return NULL;
    if (head.size > 0)
        memcpy(blob->data, head.data, head.size);
    if (tail.size > 0)
        memcpy(blob->data + head.size, tail.data, tail.size);
    entry = brd_entry_create(key, brd_bytes(NULL, 0), blob, deadline_ms != 0);
    if (entry == NULL)
        brd_blob_unref(blob);
    return entry;
}

/* Put an entry under the guard. Takes it over. */
static enum brd_status
put_entry(struct redo *redo, struct brd_guard *guard, uint64_t hash, struct brd_entry *entry,
          uint64_t version, uint64_t deadline_ms)
{
    if (entry == NULL)
        return no_memory(redo);
    if (brd_guard_reserve(guard, hash, deadline_ms != 0) != BRD_OK) {
        brd_entry_discard(&entry);
        return no_memory(redo);
    }
    brd_guard_put(guard, hash, entry, version, deadline_ms, 0);
    return BRD_OK;
}

static enum brd_status
apply_delta(struct redo *redo, struct brd_guard *guard, uint64_t hash, uint64_t version,
            const struct mutation *mutation, const struct brd_view *view, bool present)
{
    struct brd_entry *entry;
    uint64_t deadline_ms;

    if (present && view->version > mutation->base)
        return BRD_OK;
    if (!present && version <= redo->fuzzy_end)
        return BRD_OK;
    if (!present || view->version < mutation->base)
        return redo_give_up(redo, BRD_CORRUPT,
                            "the log holds %s version %" PRIu64 " of a key whose version %" PRIu64
                            " is missing: a part of the log is gone",
                            mutation_kind_name(mutation->kind), version, mutation->base);
    if (mutation->kind == MUTATION_TOUCH) {
        deadline_ms = mutation->deadline_ms;
        entry = brd_guard_copy_entry(guard, hash, mutation->key, deadline_ms != 0);
    } else {
        deadline_ms = view->deadline_ms;
        entry = entry_of(mutation->key, view->value, mutation->value, deadline_ms);
    }
    return put_entry(redo, guard, hash, entry, version, deadline_ms);
}

static enum brd_status
apply_to_key(struct redo *redo, struct brd_keyspace *keyspace, uint64_t version, uint64_t hash,
             const struct mutation *mutation)
{
    enum brd_status status = BRD_OK;
    struct brd_view view = { 0 };
    struct brd_guard guard;
    bool was_large;
    uint64_t seen;
    bool present;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
    /* At time 0 nothing is expired. */
    present = brd_guard_find(&guard, hash, mutation->key, 0, &view, &seen) == BRD_OK;
    was_large = view.blob != NULL;
    switch (mutation->kind) {
    case MUTATION_PUT:
        /* Of a key that stands twice in one record the last one wins. */
        if (!present || view.version <= version)
            status = put_entry(redo, &guard, hash,
                               entry_of(mutation->key, mutation->value, brd_bytes(NULL, 0),
                                        mutation->deadline_ms),
                               version, mutation->deadline_ms);
        break;
    case MUTATION_DELETE:
        if (present && view.version < version)
            brd_guard_remove(&guard, hash, mutation->key, version, 0);
        break;
    case MUTATION_TOUCH:
    case MUTATION_APPEND:
        status = apply_delta(redo, &guard, hash, version, mutation, &view, present);
        break;
    case MUTATION_CLEAR:
        break;
    }
    brd_guard_end(&guard);
    /* What is large is not freed by the guard, and there is no reaper yet. */
    if (was_large)
        (void)brd_store_free_large(redo->engine->store, 1);
    return status;
}

/* Keys of one slice of a shard whose entries are older than a version. */
struct older {
    struct brd_buf keys; /* varint size, bytes */
    uint64_t version;
};

static void
note_older(void *arg, const struct brd_walk_item *item)
{
    struct older *older = arg;

    if (item->view.version >= older->version)
        return;
    brd_buf_append_varint(&older->keys, item->key.size);
    brd_buf_append(&older->keys, item->key.data, item->key.size);
}

static void
remove_noted(struct redo *redo, struct brd_keyspace *keyspace, const struct older *older)
{
    struct brd_bytes in = brd_buf_bytes(&older->keys);
    struct brd_bytes key;
    uint64_t size;

    while (brd_varint_get(&in, &size) && brd_bytes_take(&in, size, &key)) {
        uint64_t hash = brd_store_hash(redo->engine->store, key);
        struct brd_guard guard;

        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        brd_guard_remove(&guard, hash, key, older->version, 0);
        brd_guard_end(&guard);
    }
}

/* Nobody else changes anything meanwhile; a table that shrinks shows entries twice. */
static enum brd_status
clear_older(struct redo *redo, struct brd_keyspace *keyspace, uint64_t version)
{
    uint32_t shards = brd_keyspace_shards(keyspace);
    struct older older = { .version = version };
    enum brd_status status = BRD_OK;
    uint32_t shard;

    brd_buf_init(&older.keys);
    for (shard = 0; status == BRD_OK && shard < shards; shard++) {
        uint64_t cursor = 0;

        do {
            brd_buf_clear(&older.keys);
            brd_shard_walk(keyspace, shard, &cursor, 256, note_older, &older);
            if (older.keys.failed)
                status = no_memory(redo);
            else
                remove_noted(redo, keyspace, &older);
        } while (status == BRD_OK && cursor != 0);
    }
    brd_buf_fini(&older.keys);
    while (brd_store_free_some(redo->engine->store, 1024) > 0)
        ;
    return status;
}

enum brd_status
redo_apply(struct redo *redo, uint64_t version, uint64_t hash, const struct mutation *mutation)
{
    struct brd_keyspace *keyspace = redo->engine->default_ns.keyspace;
    struct brd_guard guard;

    redo->changes++;
    if (mutation->kind != MUTATION_CLEAR)
        return apply_to_key(redo, keyspace, version, hash, mutation);
    if (version <= redo->fuzzy_end)
        return clear_older(redo, keyspace, version);
    if (brd_guard_begin_many(&guard, keyspace, BRD_GUARD_WRITE, NULL, 0) != BRD_OK)
        return no_memory(redo);
    brd_guard_clear(&guard, version);
    brd_guard_end(&guard);
    while (brd_store_free_some(redo->engine->store, 1024) > 0)
        ;
    return BRD_OK;
}

enum brd_status
redo_next(struct redo *redo, uint64_t version, struct brd_bytes *payload,
          struct mutation *out_mutation)
{
    enum brd_status status = mutation_decode(payload, out_mutation);

    if (status == BRD_NOT_FOUND)
        return status;
    if (status != BRD_OK)
        return redo_give_up(redo, status,
                            "the record of version %" PRIu64
                            " is no change that this Brindle knows",
                            version);
    if (out_mutation->ns != redo->engine->default_ns.id)
        return redo_give_up(redo, BRD_UNSUPPORTED,
                            "the log holds data of namespace %" PRIu64
                            ": it was written by a newer Brindle; run that one",
                            out_mutation->ns);
    if (out_mutation->key.size > BRD_STORE_KEY_MAX)
        return redo_give_up(redo, BRD_CORRUPT,
                            "the record of version %" PRIu64 " has a key of %zu bytes", version,
                            out_mutation->key.size);
    return BRD_OK;
}

enum brd_status
redo_payload(struct redo *redo, uint64_t version, struct brd_bytes payload)
{
    for (;;) {
        struct mutation mutation;
        enum brd_status status = redo_next(redo, version, &payload, &mutation);

        if (status == BRD_NOT_FOUND)
            return BRD_OK;
        if (status == BRD_OK)
            status = redo_apply(redo, version, brd_store_hash(redo->engine->store, mutation.key),
                                &mutation);
        if (status != BRD_OK)
            return status;
    }
}

/* Requests that read: the stripe stays held, shared, until the reply has been
 * encoded straight from the entry. Purge and the exact count remove what has
 * expired, which changes nothing that anybody can see. */
#include "engine/commands.h"
#include "engine/steps.h"

/* Removed by one part of a purge, which takes about a tenth of a millisecond. */
#define PART_KEYS 512u

enum brd_status
command_get(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    struct brd_view view;
    uint64_t seen;

    step_begin_one(caller, ns, BRD_GUARD_READ, request->hash);
    reply->status =
        brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, &view, &seen);
    brd_counter_add(&caller->counters.gets, 1);
    step_depend_on_read(caller, ns, reply, seen);
    if (reply->status != BRD_OK) {
        brd_counter_add(&caller->counters.misses, 1);
        return BRD_OK;
    }
    brd_counter_add(&caller->counters.hits, 1);
    reply->version = view.version;
    step_show_value(caller, reply, &view);
    return BRD_OK;
}

enum brd_status
command_ttl(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    struct brd_view view;
    uint64_t seen;

    step_begin_one(caller, ns, BRD_GUARD_READ, request->hash);
    reply->status =
        brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, &view, &seen);
    step_depend_on_read(caller, ns, reply, seen);
    if (reply->status == BRD_OK) {
        reply->version = view.version;
        reply->has_ttl = view.deadline_ms != 0;
        reply->ttl_ms = reply->has_ttl ? view.deadline_ms - caller->now_ms : 0;
    }
    return BRD_OK;
}

enum brd_status
command_get_many(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    const uint64_t *hashes = step_hash_keys(caller, request->keys, request->count);
    struct brd_reply_item *items;
    size_t hits = 0;
    uint64_t bytes = 0;
    size_t i;

    brd_buf_clear(&caller->items);
    items = (struct brd_reply_item *)(void *)brd_buf_reserve(&caller->items,
                                                             request->count * sizeof(*items));
    if (hashes == NULL || items == NULL)
        return step_refuse_no_memory(caller, reply);
    step_prefetch(ns, hashes, request->count);
    if (!step_begin_many(caller, ns, BRD_GUARD_READ, hashes, request->count))
        return step_refuse_no_memory(caller, reply);
    for (i = 0; i < request->count; i++) {
        struct brd_view view;
        uint64_t seen;

        items[i] = (struct brd_reply_item){ .found = false };
        if (brd_guard_find(&caller->guard, hashes[i], request->keys[i], caller->now_ms, &view,
                           &seen) == BRD_OK) {
            items[i] = (struct brd_reply_item){
                .value = view.value, .blob = view.blob, .version = view.version, .found = true
            };
            hits++;
            bytes += view.value.size;
        }
        step_depend_on_read(caller, ns, reply, seen);
    }
    brd_counter_add(&caller->counters.gets, request->count);
    brd_counter_add(&caller->counters.hits, hits);
    brd_counter_add(&caller->counters.misses, request->count - hits);
    brd_counter_add(&caller->counters.bytes_read, bytes);
    reply->items = items;
    reply->item_count = request->count;
    return BRD_OK;
}

enum brd_status
command_exists(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    const uint64_t *hashes = step_hash_keys(caller, request->keys, request->count);
    size_t i;

    if (hashes == NULL || !step_begin_many(caller, ns, BRD_GUARD_READ, hashes, request->count))
        return step_refuse_no_memory(caller, reply);
    for (i = 0; i < request->count; i++) {
        struct brd_view view;
        uint64_t seen;

        if (brd_guard_find(&caller->guard, hashes[i], request->keys[i], caller->now_ms, &view,
                           &seen) == BRD_OK)
            reply->number++;
        step_depend_on_read(caller, ns, reply, seen);
    }
    reply->has_number = true;
    step_end_guard(caller);
    return BRD_OK;
}

/* Remove what had expired when the job began, up to PART_KEYS of it. True: all is
 * gone, and *out_purged says how much that was.
 *
 * It comes to an end whatever others do meanwhile: nobody can give a key a deadline
 * that is past, so a shard that is done stays so. */
static bool
purge_part(struct brd_caller *caller, struct name_space *ns, struct brd_job *job,
           uint64_t *out_purged)
{
    uint32_t shards = brd_keyspace_shards(ns->keyspace);
    uint32_t left = PART_KEYS;

    if (!job->under_way)
        *job = (struct brd_job){ .under_way = true, .now_ms = caller->now_ms };
    while (job->shard < shards && left > 0) {
        bool due = brd_shard_next_deadline_ms(ns->keyspace, job->shard) <= job->now_ms;
        uint32_t n = due ? brd_shard_reap(ns->keyspace, job->shard, job->now_ms, left) : 0;

        if (n < left)
            job->shard++; /* nothing is left of it */
        left -= n;
        job->count += n;
    }
    brd_counter_add(&caller->counters.ttl_purged, PART_KEYS - left);
    if (job->shard < shards)
        return false;
    *out_purged = job->count;
    *job = (struct brd_job){ .under_way = false };
    return true;
}

/* The same for the request's job, or to the end where it has none. */
static bool
purge(struct brd_caller *caller, struct name_space *ns, const struct brd_request *request,
      uint64_t *out_purged)
{
    struct brd_job all = { .under_way = false };

    if (request->job != NULL)
        return purge_part(caller, ns, request->job, out_purged);
    while (!purge_part(caller, ns, &all, out_purged))
        ;
    return true;
}

enum brd_status
command_count(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t purged;

    if (request->exact && !purge(caller, ns, request, &purged))
        return BRD_BUSY;
    reply->number = (int64_t)brd_keyspace_count(ns->keyspace);
    reply->has_number = true;
    step_depend_on_all(caller, ns, reply);
    return BRD_OK;
}

enum brd_status
command_purge(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t purged;

    if (!purge(caller, ns, request, &purged))
        return BRD_BUSY;
    reply->number = (int64_t)purged;
    reply->has_number = true;
    step_depend_on_all(caller, ns, reply);
    return BRD_OK;
}

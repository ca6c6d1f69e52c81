/* One thread reads the log and checks its groups; others apply what is in it, each the keys of
 * some stripes.
 *
 *   reader ---- changes of stripe s ----> applier s mod n: batches, in order
 *
 * All changes of a key go the same way, so they are applied in the order of the log, and two
 * keys have nothing to do with each other: while nobody is served nobody sees that a record
 * with several keys is applied in pieces, and the end is what one thread would have come to.
 * Two appliers never want the same stripe.
 *
 * What concerns all keys, or is large, the reader does by itself: a clear once every applier
 * has done all that came before it; a change larger than a batch once its own one has. So
 * nothing large is copied, and what is under way is at most RING batches for each applier.
 *
 * An applier knows some changes ahead which memory it will need, and asks for it: that is most
 * of what it would wait for otherwise.
 *
 * Failure: an applier that fails skips what is left for it, the others go on to the end of
 * what they were given, and the reader gives out nothing more. So everything before the first
 * change that fails was tried, and that one is told, whichever thread was faster. */
#include "engine/replay.h"

#include "engine/mutation.h"

#include "base/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_BYTES ((size_t)64 << 10)
#define RING        4u
#define AHEAD_FAR   8 /* changes ahead for which the bucket is asked for */
#define AHEAD_NEAR  4 /* ... and the entry */

/* A change on its way; key and value follow. */
struct item {
    uint64_t hash;
    uint64_t version;
    uint64_t order; /* which change of all it is */
    uint64_t base;
    uint64_t deadline_ms;
    uint32_t key_size;
    uint32_t value_size;
    enum mutation_kind kind;
};

struct batch {
    size_t used;
    uint8_t bytes[BATCH_BYTES] __attribute__((aligned(8)));
};

struct applier {
    struct brd_mutex lock; /* BRD_RANK_REPLAY: what follows up to `ending` */
    struct brd_cond wake;  /* the applier: there is a batch, or the end */
    struct brd_cond room;  /* the reader: one is done */
    uint64_t given;        /* batches, ever */
    uint64_t done;         /* of them */
    bool ending;

    /* Batch n lies in ring[n % RING]: the reader's up to when it is given, then the applier's
     * until it is done. */
    struct batch *ring; /* owned */
    uint64_t filling;   /* the reader's: the one that it fills; equal to given */

    /* The applier's until it has ended. */
    struct redo redo;
    struct brd_engine_error error;
    enum brd_status status;
    uint64_t failed_order;

    struct replay_crew *crew;
    pthread_t thread;
} __attribute__((aligned(BRD_CACHE_LINE)));

struct replay_crew {
    struct redo *redo; /* borrowed: the reader's */
    struct brd_keyspace *keyspace;
    uint64_t order;      /* changes so far */
    _Atomic bool failed; /* an applier has; relaxed */
    unsigned count;      /* of those that run; 0: the reader does all */
    struct applier appliers[REPLAY_THREADS_MAX];
};

/* ---- An applier ---- */

static size_t
item_bytes(uint64_t key_size, uint64_t value_size)
{
    return (sizeof(struct item) + key_size + value_size + 7) & ~(size_t)7;
}

static const struct item *
item_at(const struct batch *batch, size_t at)
{
    return (const struct item *)(const void *)(batch->bytes + at);
}

/* Where the next one is. */
static size_t
item_behind(const struct batch *batch, size_t at)
{
    const struct item *item = item_at(batch, at);

    return at + item_bytes(item->key_size, item->value_size);
}

static size_t
want_bucket(const struct applier *applier, const struct batch *batch, size_t at)
{
    if (at >= batch->used)
        return at;
    brd_keyspace_prefetch(applier->crew->keyspace, item_at(batch, at)->hash);
    return item_behind(batch, at);
}

static size_t
want_entry(const struct applier *applier, const struct batch *batch, size_t at)
{
    if (at >= batch->used)
        return at;
    brd_keyspace_prefetch_entry(applier->crew->keyspace, item_at(batch, at)->hash);
    return item_behind(batch, at);
}

static void
apply_item(struct applier *applier, const struct item *item)
{
    const uint8_t *key = (const uint8_t *)(item + 1);
    const struct mutation mutation = {
        .kind = item->kind,
        .key = brd_bytes(key, item->key_size),
        .value = brd_bytes(key + item->key_size, item->value_size),
        .base = item->base,
        .deadline_ms = item->deadline_ms,
    };

    applier->status = redo_apply(&applier->redo, item->version, item->hash, &mutation);
    if (applier->status == BRD_OK)
        return;
    applier->failed_order = item->order;
    atomic_store_explicit(&applier->crew->failed, true, memory_order_relaxed);
}

static void
apply_batch(struct applier *applier, const struct batch *batch)
{
    size_t far = 0;
    size_t near = 0;
    size_t at = 0;
    int i;

    for (i = 0; i < AHEAD_FAR; i++)
        far = want_bucket(applier, batch, far);
    for (i = 0; i < AHEAD_NEAR; i++)
        near = want_entry(applier, batch, near);
    while (at < batch->used && applier->status == BRD_OK) {
        far = want_bucket(applier, batch, far);
        near = want_entry(applier, batch, near);
        apply_item(applier, item_at(batch, at));
        at = item_behind(batch, at);
    }
}

static void *
applier_main(void *arg)
{
    struct applier *applier = arg;
    uint64_t n;

    brd_mutex_lock(&applier->lock);
    for (;;) {
        while (applier->done == applier->given && !applier->ending)
            brd_cond_wait(&applier->wake, &applier->lock);
        if (applier->done == applier->given)
            break;
        n = applier->done;
        brd_mutex_unlock(&applier->lock);
        apply_batch(applier, &applier->ring[n % RING]);
        brd_mutex_lock(&applier->lock);
        applier->done++;
        brd_cond_signal(&applier->room);
    }
    brd_mutex_unlock(&applier->lock);
    return NULL;
}

/* ---- The reader ---- */

/* Give away what there is, and wait until at most so many batches are under way; fewer than RING,
 * so that there is one to fill. */
static void
give(struct applier *applier, uint64_t under_way_max)
{
    bool any = applier->ring[applier->filling % RING].used > 0;

    brd_mutex_lock(&applier->lock);
    if (any) {
        applier->given++;
        brd_cond_signal(&applier->wake);
    }
    while (applier->given - applier->done > under_way_max)
        brd_cond_wait(&applier->room, &applier->lock);
    applier->filling = applier->given;
    brd_mutex_unlock(&applier->lock);
    if (any)
        applier->ring[applier->filling % RING].used = 0;
}

static void
put_item(struct applier *applier, uint64_t version, uint64_t order, uint64_t hash,
         const struct mutation *mutation)
{
    const size_t size = item_bytes(mutation->key.size, mutation->value.size);
    struct batch *batch = &applier->ring[applier->filling % RING];
    struct item *item;
    uint8_t *at;

    if (batch->used + size > BATCH_BYTES) {
        give(applier, RING - 1);
        batch = &applier->ring[applier->filling % RING];
    }
    BRD_CHECK(batch->used + size <= BATCH_BYTES);
    item = (struct item *)(void *)(batch->bytes + batch->used);
    *item = (struct item){
        .hash = hash,
        .version = version,
        .order = order,
        .base = mutation->base,
        .deadline_ms = mutation->deadline_ms,
        .key_size = (uint32_t)mutation->key.size,
        .value_size = (uint32_t)mutation->value.size,
        .kind = mutation->kind,
    };
    at = (uint8_t *)(item + 1);
    if (mutation->key.size > 0)
        memcpy(at, mutation->key.data, mutation->key.size);
    if (mutation->value.size > 0)
        memcpy(at + mutation->key.size, mutation->value.data, mutation->value.size);
    batch->used += size;
}

static bool
has_failed(const struct replay_crew *crew)
{
    return atomic_load_explicit(&crew->failed, memory_order_relaxed);
}

/* Apply a change here, now that the one applier (NULL: all) has nothing left to do. */
static enum brd_status
apply_here(struct replay_crew *crew, struct applier *only, uint64_t version, uint64_t hash,
           const struct mutation *mutation)
{
    unsigned i;

    for (i = 0; i < crew->count; i++)
        if (only == NULL || only == &crew->appliers[i])
            give(&crew->appliers[i], 0);
    if (has_failed(crew))
        return BRD_CLOSED;
    return redo_apply(crew->redo, version, hash, mutation);
}

static enum brd_status
hand_out(struct replay_crew *crew, uint64_t version, const struct mutation *mutation)
{
    const uint64_t order = crew->order++;
    struct applier *applier;
    uint64_t hash;

    if (mutation->kind == MUTATION_CLEAR)
        return apply_here(crew, NULL, version, 0, mutation);
    hash = brd_store_hash(crew->redo->engine->store, mutation->key);
    if (crew->count == 0)
        return redo_apply(crew->redo, version, hash, mutation);
    applier = &crew->appliers[brd_keyspace_stripe(crew->keyspace, hash) % crew->count];
    if (mutation->value.size > BATCH_BYTES ||
        item_bytes(mutation->key.size, mutation->value.size) > BATCH_BYTES)
        return apply_here(crew, applier, version, hash, mutation);
    put_item(applier, version, order, hash, mutation);
    return BRD_OK;
}

enum brd_status
replay_record(struct replay_crew *crew, uint64_t version, struct brd_bytes payload)
{
    enum brd_status status;

    if (has_failed(crew))
        return BRD_CLOSED;
    do {
        struct mutation mutation;

        status = redo_next(crew->redo, version, &payload, &mutation);
        if (status == BRD_NOT_FOUND)
            return BRD_OK;
        if (status == BRD_OK)
            status = hand_out(crew, version, &mutation);
    } while (status == BRD_OK);
    return status;
}

/* ---- Beginning and end ---- */

static unsigned
cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    if (n > REPLAY_THREADS_MAX)
        return REPLAY_THREADS_MAX;
    return n < 1 ? 1 : (unsigned)n;
}

static void
applier_fini(struct applier *applier)
{
    brd_cond_fini(&applier->room);
    brd_cond_fini(&applier->wake);
    brd_mutex_fini(&applier->lock);
    free(applier->ring);
}

/* False: there is none. */
static bool
applier_start(struct replay_crew *crew, struct applier *applier)
{
    unsigned i;

    *applier = (struct applier){ .crew = crew,
                                 .redo = { .engine = crew->redo->engine,
                                           .error = &applier->error,
                                           .fuzzy_end = crew->redo->fuzzy_end },
                                 .status = BRD_OK };
    applier->ring = malloc(RING * sizeof(*applier->ring));
    brd_mutex_init(&applier->lock, BRD_RANK_REPLAY);
    brd_cond_init(&applier->wake);
    brd_cond_init(&applier->room);
    for (i = 0; applier->ring != NULL && i < RING; i++)
        applier->ring[i].used = 0;
    if (applier->ring != NULL &&
        brd_thread_start(&applier->thread, "brd-apply", applier_main, applier) == BRD_OK)
        return true;
    applier_fini(applier);
    return false;
}

enum brd_status
replay_begin(struct redo *redo, unsigned threads, struct replay_crew **out_crew)
{
    struct replay_crew *crew = aligned_alloc(BRD_CACHE_LINE, (sizeof(*crew) + BRD_CACHE_LINE - 1) &
                                                                 ~(size_t)(BRD_CACHE_LINE - 1));

    if (crew == NULL)
        return redo_give_up(redo, BRD_OUT_OF_MEMORY, "out of memory");
    memset(crew, 0, sizeof(*crew));
    crew->redo = redo;
    crew->keyspace = redo->engine->default_ns.keyspace;
    if (threads == 0)
        threads = cores();
    if (threads > REPLAY_THREADS_MAX)
        threads = REPLAY_THREADS_MAX;
    while (threads > 1 && crew->count < threads &&
           applier_start(crew, &crew->appliers[crew->count]))
        crew->count++;
    *out_crew = crew;
    return BRD_OK;
}

static void
applier_end(struct applier *applier)
{
    give(applier, RING - 1);
    brd_mutex_lock(&applier->lock);
    applier->ending = true;
    brd_cond_signal(&applier->wake);
    brd_mutex_unlock(&applier->lock);
    brd_thread_join(applier->thread);
    BRD_CHECK(applier->done == applier->given);
}

enum brd_status
replay_end(struct replay_crew **crew_at)
{
    struct replay_crew *crew = *crew_at;
    const struct applier *first = NULL;
    enum brd_status status = BRD_OK;
    unsigned i;

    if (crew == NULL)
        return BRD_OK;
    for (i = 0; i < crew->count; i++) {
        struct applier *applier = &crew->appliers[i];

        applier_end(applier);
        crew->redo->changes += applier->redo.changes;
        if (applier->status != BRD_OK &&
            (first == NULL || applier->failed_order < first->failed_order))
            first = applier;
    }
    if (first != NULL) {
        status = first->status;
        *crew->redo->error = first->error;
    }
    for (i = 0; i < crew->count; i++)
        applier_fini(&crew->appliers[i]);
    free(crew);
    *crew_at = NULL;
    return status;
}

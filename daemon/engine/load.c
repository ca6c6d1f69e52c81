#include "engine/load.h"

#include "base/thread.h"
#include "engine/mutation.h"
#include "engine/redo.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define LOADERS_MAX 16

struct loader {
    struct load *load;
    pthread_t thread;
    bool teller;     /* the one that calls progress */
    uint64_t now_ms; /* as deadlines are judged, where the load is selective */
    uint64_t entries, bytes, expired, left_out; /* as in struct load */
    enum brd_status status;
    struct brd_engine_error error;
};

/* Would max-memory have room for it? The store's sum is late by a little. */
static bool
has_room(const struct brd_engine *engine, const struct mutation *mutation)
{
    uint64_t max = atomic_load_explicit(&engine->max_memory_bytes, memory_order_relaxed);

    return max == 0 || brd_store_used_bytes(engine->store) + memory_overhead(&engine->memory) +
                               mutation->key.size + mutation->value.size <=
                           max;
}

/* Does a selective load want the entry? Counts it. */
static bool
select_entry(struct loader *loader, struct brd_bytes payload)
{
    struct mutation mutation;

    if (mutation_decode(&payload, &mutation) != BRD_OK || mutation.kind != MUTATION_PUT)
        return true; /* damage, which redo_payload calls by its name */
    if (mutation.deadline_ms != 0 && mutation.deadline_ms <= loader->now_ms) {
        loader->expired++;
        return false;
    }
    if (!has_room(loader->load->engine, &mutation)) {
        loader->left_out++;
        return false;
    }
    loader->entries++;
    loader->bytes += mutation.key.size + mutation.value.size;
    return true;
}

/* Where in the file it is that a record makes no sense. */
static void
add_place(struct loader *loader, uint64_t offset)
{
    struct brd_engine_error what = loader->error;

    snprintf(loader->error.text, sizeof(loader->error.text), "%s, offset %" PRIu64 ": %.500s",
             loader->load->reader.path, offset, what.text);
}

static enum brd_status
load_block(struct loader *loader, struct redo *redo, struct brd_bytes records, uint64_t offset)
{
    enum brd_status status = BRD_OK;
    struct brd_bytes payload;
    uint64_t version;

    while (status == BRD_OK && snapshot_next_record(&records, &version, &payload))
        if (!loader->load->selective || select_entry(loader, payload))
            status = redo_payload(redo, version, payload);
    if (status == BRD_CORRUPT || status == BRD_UNSUPPORTED)
        add_place(loader, offset);
    return status;
}

static enum brd_status
tell(struct loader *loader)
{
    struct load *load = loader->load;

    if (!loader->teller)
        return BRD_OK;
    if (load->selective)
        memory_measure(load->engine); /* there is no background thread yet */
    return load->progress(load->arg, atomic_load_explicit(&load->done, memory_order_relaxed),
                          load->reader.info.bytes, &loader->error);
}

static void *
loader_main(void *arg)
{
    struct loader *loader = arg;
    struct load *load = loader->load;
    struct redo redo = { .engine = load->engine, .error = &loader->error };
    struct brd_snapshot_error error;
    struct brd_bytes records = brd_bytes(NULL, 0);
    struct snapshot_lane lane;
    uint64_t offset;

    loader->status = snapshot_lane_open(&lane, &load->reader, &error);
    if (loader->status != BRD_OK)
        snprintf(loader->error.text, sizeof(loader->error.text), "%s", error.text);
    while (loader->status == BRD_OK && !atomic_load_explicit(&load->failed, memory_order_relaxed)) {
        loader->status = tell(loader);
        if (loader->status != BRD_OK)
            break;
        loader->status = snapshot_next_block(&load->reader, &lane, &records, &offset, &error);
        if (loader->status == BRD_NOT_FOUND)
            break;
        if (loader->status == BRD_OK)
            loader->status = load_block(loader, &redo, records, offset);
        else
            snprintf(loader->error.text, sizeof(loader->error.text), "%s", error.text);
        atomic_fetch_add_explicit(&load->done, records.size, memory_order_relaxed);
    }
    snapshot_lane_close(&lane);
    if (loader->status == BRD_NOT_FOUND)
        loader->status = BRD_OK;
    if (loader->status != BRD_OK)
        atomic_store_explicit(&load->failed, true, memory_order_relaxed);
    return NULL;
}

enum brd_status
load_run(struct load *load, struct brd_engine_error *out_error)
{
    const uint64_t now_ms = engine_now_ns(load->engine) / BRD_NS_PER_MS;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct loader loaders[LOADERS_MAX];
    enum brd_status status = BRD_OK;
    long running = 1;
    long n;

    if (cores > LOADERS_MAX)
        cores = LOADERS_MAX;
    for (n = 0; n < LOADERS_MAX; n++)
        loaders[n] =
            (struct loader){ .load = load, .teller = n == 0, .now_ms = now_ms, .status = BRD_OK };
    /* This one, and others where the system gives them. */
    while (running < cores && brd_thread_start(&loaders[running].thread, "brd-load", loader_main,
                                               &loaders[running]) == BRD_OK)
        running++;
    (void)loader_main(&loaders[0]);
    for (n = 0; n < running; n++) {
        struct loader *loader = &loaders[n];

        if (n > 0)
            brd_thread_join(loader->thread);
        load->entries += loader->entries;
        load->bytes += loader->bytes;
        load->expired += loader->expired;
        load->left_out += loader->left_out;
        if (status == BRD_OK && loader->status != BRD_OK) {
            status = loader->status;
            *out_error = loader->error;
        }
    }
    return status;
}

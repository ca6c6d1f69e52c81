/* The log's syncer: one of the threads of commit.c, which says what it does and when. */
#include "wal/commit.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/diag.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The ceiling lies this far above the clock, and is moved when less is left of
 * it than the sequencer's guard and two ticks. After a crash versions begin above
 * it, so it is short. */
#define CEILING_AHEAD_NS (UINT64_C(3) * BRD_NS_PER_S)
#define CEILING_LEFT_NS  (BRD_SEQUENCER_GUARD + UINT64_C(2) * COMMIT_TICK_NS)
/* ... further while nothing is written, so that an idle daemon leaves the disk
 * alone for most of a minute. */
#define CEILING_IDLE_NS (UINT64_C(60) * BRD_NS_PER_S)
/* What was synced is in meta after so long, wherever the ceiling lies. */
#define META_AGE_NS (UINT64_C(3) * BRD_NS_PER_S / 2)
/* ... and this far above the newest version where those are ahead of the clock.
 * Then only their number counts: 100 million, moved when half are gone. */
#define CEILING_AHEAD_VERSIONS UINT64_C(100000000)
#define CEILING_LEFT_VERSIONS  (CEILING_AHEAD_VERSIONS / 2)

/* ---- meta ---- */

uint64_t
commit_ceiling(const struct commit *commit)
{
    uint64_t ahead_ns = commit->idle ? CEILING_IDLE_NS : CEILING_AHEAD_NS;
    uint64_t by_clock = brd_clock_now_ns(commit->clock) + ahead_ns;
    uint64_t by_version = brd_sequencer_last(commit->sequencer) + CEILING_AHEAD_VERSIONS;
    uint64_t ceiling = by_clock > by_version ? by_clock : by_version;

    /* It never falls, and the sequencer wants its guard below it. */
    if (ceiling < commit->meta.slot.ceiling)
        ceiling = commit->meta.slot.ceiling;
    return ceiling;
}

void
commit_note_time(struct commit *commit)
{
    uint64_t now_ns = brd_clock_now_ns(commit->clock);
    uint64_t used_ns = atomic_load_explicit(&commit->used_ns, memory_order_relaxed);

    if (now_ns < used_ns)
        now_ns = used_ns;
    if (now_ns > commit->meta.slot.time_ns)
        commit->meta.slot.time_ns = now_ns;
}

static bool
ceiling_is_near(const struct commit *commit)
{
    uint64_t ceiling = commit->meta.slot.ceiling;

    return brd_clock_now_ns(commit->clock) + CEILING_LEFT_NS > ceiling ||
           brd_sequencer_last(commit->sequencer) + CEILING_LEFT_VERSIONS > ceiling;
}

/* Has something been synced that meta does not vouch for, though there was time? */
static bool
meta_is_behind(const struct commit *commit)
{
    return atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed) >
               commit->meta.slot.synced_lsn &&
           brd_clock_mono_ns(commit->clock) - commit->stored_ns >= META_AGE_NS;
}

/* Returns false after poisoning. */
static bool
store_meta(struct commit *commit, uint64_t synced_version, uint64_t synced_lsn)
{
    uint64_t last = brd_sequencer_last(commit->sequencer);
    int result;

    commit->idle = last == commit->stored_last;
    commit->stored_last = last;
    commit->stored_ns = brd_clock_mono_ns(commit->clock);
    commit->meta.slot.ceiling = commit_ceiling(commit);
    commit->meta.slot.synced_lsn = synced_lsn;
    commit->meta.slot.last_version = synced_version;
    commit_note_time(commit);
    result = meta_store(commit->io, commit->meta_fd, &commit->meta, commit->meta_seal);
#if BREAK_IGNORED_FSYNC
    result = 0;
#endif
    if (result != 0) {
        /* Like any failed sync: nothing counts as synced after it. */
        atomic_store_explicit(&commit->sync_failed, true, memory_order_release);
        atomic_fetch_add_explicit(&commit->sync_errors, 1, memory_order_relaxed);
        commit_poison(commit, "update meta in", commit->dir, result);
        return false;
    }
    brd_sequencer_set_ceiling(commit->sequencer, commit->meta.slot.ceiling);
    commit_publish_meta(commit);
    return true;
}

void
commit_publish_meta(struct commit *commit)
{
    brd_mutex_lock(&commit->lock);
    memcpy(commit->meta_keys, commit->meta.slot_keys, sizeof(commit->meta_keys));
    memcpy(commit->meta_all_sealed, commit->meta.slot_all_sealed, sizeof(commit->meta_all_sealed));
    if (commit->waiting > 0)
        brd_cond_broadcast(&commit->turn_done);
    brd_mutex_unlock(&commit->lock);
}

/* Is there another ring than the one that meta is stored with? Where its current key is another
 * one, store meta twice, so that neither slot is under the old one. */
static void
follow_keys(struct commit *commit)
{
    uint64_t version = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed);
    const struct brd_keyring *keys;
    struct brd_seal *seal = NULL;

    brd_mutex_lock(&commit->lock);
    keys = commit->keys;
    brd_mutex_unlock(&commit->lock);
    if (BRD_LIKELY(keys == commit->meta_ring))
        return;
    if (memcmp(commit->meta.slot.key_id, brd_keyring_current(keys), 16) == 0) {
        commit->meta_ring = keys;
        return;
    }
    if (meta_use_key(&commit->meta, keys, &seal) != BRD_OK)
        return; /* no memory now: the next tick tries again */
    brd_seal_close(&commit->meta_seal);
    commit->meta_seal = seal;
    commit->meta_ring = keys;
    if (store_meta(commit, version, lsn))
        (void)store_meta(commit, version, lsn);
}

/* Is meta to say something else of whether all is sealed? In both slots: the one that is the older
 * one then may be all that is left of it. */
static void
follow_sealing(struct commit *commit)
{
    uint64_t version = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed);
    struct meta *meta = &commit->meta;
    bool wanted;

    brd_mutex_lock(&commit->lock);
    wanted = commit->all_sealed;
    brd_mutex_unlock(&commit->lock);
    if (BRD_LIKELY(meta->slot_all_sealed[0] == wanted && meta->slot_all_sealed[1] == wanted))
        return;
    if (wanted && (meta->slot.flags & META_SEALED) == 0)
        return; /* there was no memory for that yet (follow_keys) */
    meta->slot.flags &= ~META_ALL_SEALED;
    if (wanted)
        meta->slot.flags |= META_ALL_SEALED;
    if (!store_meta(commit, version, lsn))
        return;
    CRASH_POINT("sealing_noted_once");
    (void)store_meta(commit, version, lsn);
    CRASH_POINT("sealing_noted");
}

static void
publish_synced(struct commit *commit, uint64_t version, uint64_t lsn, uint64_t began_ns)
{
    brd_mutex_lock(&commit->lock);
    atomic_store_explicit(&commit->synced_lsn, lsn, memory_order_release);
    atomic_store_explicit(&commit->synced_version, version, memory_order_release);
    atomic_store_explicit(&commit->fresh_ns, began_ns, memory_order_relaxed);
    if (commit->waiting > 0)
        brd_cond_broadcast(&commit->turn_done);
    brd_mutex_unlock(&commit->lock);
}

static void
count_sync(struct commit *commit, uint64_t took_ns)
{
    struct commit_counters *counters = &commit->counters;
    uint64_t took_us = took_ns / BRD_NS_PER_US;

    brd_counter_add(&counters->syncs, 1);
    latency_add(&counters->sync_times, took_us);
    atomic_store_explicit(&counters->sync_last_us, took_us, memory_order_relaxed);
    if (took_us > brd_counter_get(&counters->sync_max_us))
        atomic_store_explicit(&counters->sync_max_us, took_us, memory_order_relaxed);
}

/* Sync one file; counts. */
static int
sync_file(struct commit *commit, const struct segment *segment)
{
    uint64_t began_ns = brd_clock_mono_ns(commit->clock);
    int result = commit->io->fdatasync(commit->io->ctx, segment->fd);

#if BREAK_IGNORED_FSYNC
    result = 0;
#endif
    count_sync(commit, brd_clock_mono_ns(commit->clock) - began_ns);
    if (result != 0) {
        atomic_store_explicit(&commit->sync_failed, true, memory_order_release);
        atomic_fetch_add_explicit(&commit->sync_errors, 1, memory_order_relaxed);
        commit_poison(commit, "sync", segment->path, result);
    }
    return result;
}

/* Sync all that is written by now and publish it. */
static void
sync_written(struct commit *commit)
{
    uint64_t began_ns = brd_clock_mono_ns(commit->clock);
    uint64_t waited_for = brd_counter_get(&commit->counters.sync_records);
    struct segment *current;
    struct segment *sealed;
    uint64_t version;
    uint64_t lsn;
    int result = 0;

    brd_mutex_lock(&commit->lock);
    version = atomic_load_explicit(&commit->written_version, memory_order_relaxed);
    lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed);
    current = commit->current;
    sealed = commit->sealed;
    commit->sealed = NULL;
    commit->sealed_tail = &commit->sealed;
    brd_mutex_unlock(&commit->lock);

#if BREAK_EARLY_ACK
    publish_synced(commit, version, lsn, began_ns);
    commit_notify(commit);
#endif
    while (sealed != NULL) {
        struct segment *next = sealed->next;

        if (result == 0)
            result = sync_file(commit, sealed);
        segment_close(commit->io, &sealed);
        sealed = next;
    }
    if (result == 0)
        result = sync_file(commit, current);
    CRASH_POINT("synced");
    if (result != 0)
        return;
    if (current->header.number > commit->meta.slot.newest_segment) {
        meta_set_newest(&commit->meta.slot, current->header.number, current->header.salt);
        if (!store_meta(commit, version, lsn))
            return;
    }
    /* Before anybody is answered, and writes again. */
    gather_note_sync(&commit->gather, waited_for, brd_counter_get(&commit->counters.sync_records),
                     began_ns, brd_clock_mono_ns(commit->clock));
    publish_synced(commit, version, lsn, began_ns);
    commit_notify(commit);
}

/* Does somebody wait for a sync, who is not to be given up, and is somebody expected still? */
static bool
gathers(const struct commit *commit) BRD_REQUIRES(&commit->lock)
{
    return !commit->stop_syncer && !commit_is_poisoned(commit) &&
           commit->sync_wanted >
               atomic_load_explicit(&commit->synced_version, memory_order_relaxed) &&
           brd_counter_get(&commit->counters.sync_records) < commit->gather_target;
}

/* A sync is due: wait for those who are expected. */
static void
wait_for_company(struct commit *commit)
{
    uint64_t before = brd_counter_get(&commit->counters.sync_records);
    uint64_t now_ns = brd_clock_mono_ns(commit->clock);
    uint64_t until_ns = gather_until(&commit->gather, before, now_ns);
    bool waited = false;

    if (until_ns == 0)
        return;
    brd_mutex_lock(&commit->lock);
    commit->gather_target = commit->gather.target;
    while (gathers(commit) && now_ns < until_ns) {
        waited = true;
        if (!brd_cond_wait_for(&commit->sync_wake, &commit->lock, until_ns - now_ns))
            break;
        now_ns = brd_clock_mono_ns(commit->clock);
    }
    commit->gather_target = 0;
    brd_mutex_unlock(&commit->lock);
    if (!waited)
        return;
    brd_counter_add(&commit->counters.sync_gathers, 1);
    gather_note_wait(&commit->gather, before, brd_counter_get(&commit->counters.sync_records));
}

/* Is there something to sync now? */
static bool
sync_is_due(struct commit *commit)
{
    uint64_t written = atomic_load_explicit(&commit->written_version, memory_order_acquire);
    uint64_t synced = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t age_ns = brd_clock_mono_ns(commit->clock) -
                      atomic_load_explicit(&commit->fresh_ns, memory_order_relaxed);
    bool wanted;

    if (written == synced || atomic_load_explicit(&commit->sync_failed, memory_order_relaxed))
        return false;
    brd_mutex_lock(&commit->lock);
    wanted = commit->sync_wanted > synced || commit->stop_syncer;
    brd_mutex_unlock(&commit->lock);
    return wanted || age_ns >= commit->sync_interval_ns;
}

/* ---- Segments that nobody needs ---- */

/* Is it a spare from now on? */
static bool
keep_as_spare(struct commit *commit, const struct kept_segment *segment)
{
    bool kept;

    brd_mutex_lock(&commit->lock);
    kept = commit->keep_spares && !commit_is_short(commit) && commit->spares.count < SPARES_MAX &&
           segment->bytes == commit->segment_bytes;
    brd_mutex_unlock(&commit->lock);
    if (!kept || !spare_make(commit->io, commit->dir, segment->number, commit->segment_bytes))
        return false;
    brd_mutex_lock(&commit->lock);
    kept = commit->keep_spares; /* asked again: it may have been told to drop them meanwhile */
    if (kept)
        spares_add(&commit->spares, segment->number);
    commit_note_spares(commit);
    brd_mutex_unlock(&commit->lock);
    if (!kept)
        (void)spare_remove(commit->io, commit->dir, segment->number);
    return true;
}

static void
remove_segment(struct commit *commit, uint64_t number)
{
    char *path = segment_path(commit->dir, number);
    int result = path == NULL ? -ENOMEM : commit->io->unlink(commit->io->ctx, path);

    if (result != 0 && result != -ENOENT) {
        brd_diag_warning("cannot remove %s, which is not needed any more: %s; the next "
                         "checkpoint tries again",
                         path != NULL ? path : "a segment", brd_file_error(result));
        commit->left_behind = true;
    }
    free(path);
}

/* Of the first n in the table: away with them. What cannot be removed costs space
 * until the next release tries again, and nothing else. */
static void
remove_oldest(struct commit *commit, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        /* Only this thread shortens the table, and who appends may move it. */
        struct kept_segment segment;

        brd_mutex_lock(&commit->lock);
        segment = commit->retention.kept[i];
        brd_mutex_unlock(&commit->lock);
        if (!keep_as_spare(commit, &segment))
            remove_segment(commit, segment.number);
        CRASH_POINT("segment_released");
        atomic_fetch_sub_explicit(&commit->segments, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&commit->segment_bytes_total, segment.bytes,
                                  memory_order_relaxed);
    }
}

/* Returns false after poisoning. */
static bool
forget_oldest(struct commit *commit, size_t n)
{
    uint64_t version = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed);

    brd_mutex_lock(&commit->lock);
    commit->meta.slot.first_segment = commit->retention.kept[n].number;
    brd_mutex_unlock(&commit->lock);
    /* Twice: the slot that is the older one then must not name a removed file. */
    if (!store_meta(commit, version, lsn))
        return false;
    CRASH_POINT("release_noted_once");
    if (!store_meta(commit, version, lsn))
        return false;
    CRASH_POINT("release_noted");
    return true;
}

struct drop {
    struct commit *commit;
    uint64_t first;
};

static int
drop_one(void *arg, const char *name)
{
    struct drop *drop = arg;
    uint64_t number = segment_number_of(name);

    if (number != 0 && number < drop->first)
        remove_segment(drop->commit, number);
    return 0;
}

void
commit_drop_below(struct commit *commit, uint64_t first)
{
    struct drop drop = { .commit = commit, .first = first };
    char path[4096];

    commit->left_behind = false;
    snprintf(path, sizeof(path), "%s/wal", commit->dir);
    if (commit->io->list(commit->io->ctx, path, drop_one, &drop) != 0)
        commit->left_behind = true;
}

static void
release_segments(struct commit *commit, uint64_t wanted, uint64_t asked)
{
    size_t n;

    if (commit->left_behind)
        commit_drop_below(commit, commit->meta.slot.first_segment);

    /* The first that stays must be known to be durable before the others go. */
    sync_written(commit);
    if (commit_is_poisoned(commit))
        return;
    brd_mutex_lock(&commit->lock);
    n = retention_covered(&commit->retention, wanted);
    brd_mutex_unlock(&commit->lock);
    if (n > 0) {
        if (!forget_oldest(commit, n))
            return;
        remove_oldest(commit, n);
    }
    brd_mutex_lock(&commit->lock);
    if (n > 0)
        retention_drop(&commit->retention, n);
    commit->releases_done = asked;
    brd_cond_broadcast(&commit->turn_done);
    brd_cond_broadcast(&commit->files_wake); /* the disk has more room */
    brd_mutex_unlock(&commit->lock);
}

/* Has somebody asked? Then for the release of what. */
static bool
release_wanted(struct commit *commit, uint64_t *out_version, uint64_t *out_asked)
{
    brd_mutex_lock(&commit->lock);
    *out_version = commit->release_version;
    *out_asked = commit->releases_asked;
    brd_mutex_unlock(&commit->lock);
    return *out_asked > commit->releases_done;
}

/* Wait until there may be something to do. False: stopping. */
static bool
syncer_wait(struct commit *commit)
{
    uint64_t tick_ns =
        commit->sync_interval_ns < COMMIT_TICK_NS ? commit->sync_interval_ns : COMMIT_TICK_NS;
    bool stop;

    brd_mutex_lock(&commit->lock);
    stop = commit->stop_syncer;
    if (!stop && commit->releases_asked == commit->releases_done &&
        (commit->sync_wanted <=
             atomic_load_explicit(&commit->synced_version, memory_order_relaxed) ||
         atomic_load_explicit(&commit->synced_version, memory_order_relaxed) ==
             atomic_load_explicit(&commit->written_version, memory_order_relaxed) ||
         commit_is_poisoned(commit)))
        (void)brd_cond_wait_for(&commit->sync_wake, &commit->lock, tick_ns);
    brd_mutex_unlock(&commit->lock);
    return !stop;
}

static void
beat(struct commit *commit)
{
    uint64_t writer_beat = atomic_load_explicit(&commit->writer_beat, memory_order_relaxed);

    if (writer_beat != commit->seen_beat)
        atomic_fetch_add_explicit(&commit->heartbeat, 1, memory_order_relaxed);
    commit->seen_beat = writer_beat;
}

void *
commit_syncer(void *arg)
{
    struct commit *commit = arg;

    for (;;) {
        uint64_t wanted;
        uint64_t asked;

        beat(commit);
        if (!commit_is_poisoned(commit))
            follow_keys(commit);
        if (!commit_is_poisoned(commit))
            follow_sealing(commit);
        if (!commit_is_poisoned(commit) && (ceiling_is_near(commit) || meta_is_behind(commit)))
            (void)store_meta(commit,
                             atomic_load_explicit(&commit->synced_version, memory_order_relaxed),
                             atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed));
        /* First, since it syncs too: where writers keep the disk busy a sync is always due. */
        if (!commit_is_poisoned(commit) && release_wanted(commit, &wanted, &asked)) {
            release_segments(commit, wanted, asked);
            continue;
        }
        if (sync_is_due(commit)) {
            wait_for_company(commit);
            sync_written(commit);
            continue;
        }
        if (!syncer_wait(commit) && !sync_is_due(commit))
            break;
        /* Who stood back for an oversize record that never came. */
        if (queue_take_refused(commit->queue))
            commit_notify(commit);
    }
    return NULL;
}

void
commit_want_sync(struct commit *commit, uint64_t version)
{
    brd_mutex_lock(&commit->lock);
    if (version > commit->sync_wanted)
        commit->sync_wanted = version;
    brd_cond_signal(&commit->sync_wake);
    brd_mutex_unlock(&commit->lock);
}

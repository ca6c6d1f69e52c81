/* Keys of the data directory's files.
 *
 * What counts is what the files say of themselves: after each checkpoint, and before a key
 * is changed, the headers of all segments, snapshots and slots of meta are read. So a file
 * that could not be removed is not forgotten, nor one that an earlier process left behind.
 * And where all is well the folders are synced before that is said: a removal that only
 * the page cache knows of is none.
 *
 * A change of the key begins with a ring that holds the new key and all that are in use. From
 * then on files are begun under the new one, and a checkpoint is due, which rewrites what
 * the others hold and lets their files go (checkpoint.c). A crash at any point leaves
 * files under both, and the ring opens both.
 *
 * Where the look finds that none is left, and there is a key, meta says from then on that no file
 * is plain; the log takes that back, durably, before it takes a ring without a current key.
 *
 * Who looks and who changes exclude each other, or the count of an older ring could
 * overwrite that of the new one. */
#include "engine/keys.h"

#include "base/diag.h"
#include "base/plural.h"
#include "engine/core.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct brd_io *
io_of(const struct brd_engine *engine)
{
    return engine->options.io != NULL ? engine->options.io : brd_io_real();
}

void
keys_init(struct brd_engine *engine, const struct brd_keyring *ring)
{
    atomic_init(&engine->keys.ring, ring);
    atomic_init(&engine->keys.pending, 0);
    brd_mutex_init(&engine->keys.lock, BRD_RANK_ENGINE);
}

void
keys_fini(struct brd_engine *engine)
{
    brd_mutex_fini(&engine->keys.lock);
}

const struct brd_keyring *
keys_ring(const struct brd_engine *engine)
{
    return atomic_load_explicit(&engine->keys.ring, memory_order_acquire);
}

uint64_t
keys_pending(const struct brd_engine *engine)
{
    return atomic_load_explicit(&engine->keys.pending, memory_order_relaxed);
}

uint64_t
keys_changes(struct brd_engine *engine)
{
    uint64_t changes;

    brd_mutex_lock(&engine->keys.lock);
    changes = engine->keys.changes;
    brd_mutex_unlock(&engine->keys.lock);
    return changes;
}

void
keys_show(const uint8_t *key_id, char out[KEYS_SHOWN_BYTES])
{
    static const uint8_t none[BRD_SEAL_ID_BYTES];
    size_t i;

    snprintf(out, KEYS_SHOWN_BYTES, "none");
    if (memcmp(key_id, none, sizeof(none)) == 0)
        return;
    for (i = 0; i < (KEYS_SHOWN_BYTES - 1) / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", key_id[i]);
}

/* ---- Looking ---- */

struct survey {
    const struct brd_keyring *ring;
    uint64_t pending; /* under another key than the current one */
    bool missing; /* one is under a key that the ring does not hold, or none where it must be: */
    char missing_path[512];
    uint8_t missing_id[BRD_SEAL_ID_BYTES];
};

/* Is what is under this key, or under none, taken by who has the ring? */
static bool
is_trusted(const struct brd_keyring *ring, const uint8_t *key_id)
{
    return brd_keyring_has(ring, key_id) &&
           !(brd_keyring_only(ring) &&
             memcmp(key_id, brd_keyring_current(NULL), BRD_SEAL_ID_BYTES) == 0);
}

static int
note_file(void *arg, const char *path, const uint8_t *key_id)
{
    struct survey *survey = arg;

    if (key_id != NULL && memcmp(key_id, brd_keyring_current(survey->ring), BRD_SEAL_ID_BYTES) == 0)
        return 0;
    survey->pending++;
    if (key_id == NULL || survey->missing || is_trusted(survey->ring, key_id))
        return 0;
    survey->missing = true;
    snprintf(survey->missing_path, sizeof(survey->missing_path), "%s", path);
    memcpy(survey->missing_id, key_id, sizeof(survey->missing_id));
    return 0;
}

/* 0 or -errno. */
static int
look_at_files(const struct brd_engine *engine, struct survey *survey)
{
    const char *dir = engine->options.data_dir;
    int result = brd_wal_list_keys(io_of(engine), dir, note_file, survey);

    return result != 0 ? result : snapshot_list_keys(io_of(engine), dir, note_file, survey);
}

/* Who sees that a file is gone must not see it again after a power cut. 0 or -errno. */
static int
sync_names(const struct brd_engine *engine)
{
    static const char *const folders[] = { "wal", "snapshots" };
    char path[4096];
    int result = 0;
    size_t i;

    for (i = 0; i < 2 && (result == 0 || result == -ENOENT); i++) {
        snprintf(path, sizeof(path), "%s/%s", engine->options.data_dir, folders[i]);
        result = brd_file_sync_dir(io_of(engine), path);
    }
    return result == -ENOENT ? 0 : result;
}

/* What is not under the current key is gone for good, and that is one: from now on nothing plain
 * is taken for ours. A log that has failed cannot keep that, and says so itself. */
static void
note_sealed(const struct brd_engine *engine)
{
    enum brd_status ignored = BRD_OK;

    if (keys_ring(engine) != NULL)
        ignored = brd_wal_note_sealed(engine->wal);
    (void)ignored;
}

static void
tell_done(const struct brd_keyring *ring)
{
    char shown[KEYS_SHOWN_BYTES];

    keys_show(brd_keyring_current(ring), shown);
    if (strcmp(shown, "none") == 0)
        brd_diag_notice("encryption: no file is encrypted any more");
    else
        brd_diag_notice("encryption: all files are under the key %s now; other keys are not "
                        "needed any more",
                        shown);
}

void
keys_look(struct brd_engine *engine)
{
    struct keys *keys = &engine->keys;
    struct survey survey = { .ring = NULL };
    uint64_t before;
    int result;

    brd_mutex_lock(&keys->lock);
    survey.ring = keys_ring(engine);
    before = keys_pending(engine);
    result = look_at_files(engine, &survey);
    if (result != 0) {
        brd_diag_warning("encryption: cannot look at the files of %s: %s", engine->options.data_dir,
                         brd_file_error(result));
        survey.pending += before == 0 ? 0 : 1; /* what is not known is not done */
    } else if (survey.pending == 0 && survey.ring != NULL) {
        result = sync_names(engine);
        if (result != 0) {
            brd_diag_warning("encryption: cannot sync the folders of %s: %s",
                             engine->options.data_dir, brd_file_error(result));
            survey.pending++; /* what went may come back */
        }
    }
    if (result == 0 && survey.pending == 0)
        note_sealed(engine);
    atomic_store_explicit(&keys->pending, survey.pending, memory_order_relaxed);
    brd_mutex_unlock(&keys->lock);
    if (before > 0 && survey.pending == 0)
        tell_done(survey.ring);
}

/* ---- Changing ---- */

static enum brd_status
refuse(struct brd_engine_error *error, const char *path, const uint8_t *key_id)
{
    char shown[KEYS_SHOWN_BYTES];

    keys_show(key_id, shown);
    if (strcmp(shown, "none") == 0)
        snprintf(error->text, sizeof(error->text),
                 "%s is not encrypted; leave `only` out until encryption_pending is 0", path);
    else
        snprintf(error->text, sizeof(error->text),
                 "%s is under the key %s, which would be gone; leave it below the new key until "
                 "encryption_pending is 0",
                 path, shown);
    return BRD_INVALID_ARGUMENT;
}

/* Caller holds the lock. */
static enum brd_status
change_ring(struct brd_engine *engine, const struct brd_keyring *ring,
            struct brd_engine_error *error) BRD_REQUIRES(&engine->keys.lock)
{
    struct survey survey = { .ring = ring };
    const uint8_t *current = brd_keyring_current(keys_ring(engine));
    int result = look_at_files(engine, &survey);
    enum brd_status status;

    if (result != 0) {
        snprintf(error->text, sizeof(error->text), "cannot look at the files of %s: %s",
                 engine->options.data_dir, brd_file_error(result));
        return brd_file_status(result);
    }
    if (survey.missing)
        return refuse(error, survey.missing_path, survey.missing_id);
    /* No file need be there yet that was begun under it a moment ago. */
    if (!is_trusted(ring, current))
        return refuse(error, "what is being written", current);
    status = brd_wal_set_keys(engine->wal, ring);
    if (status != BRD_OK) {
        snprintf(error->text, sizeof(error->text),
                 "%s/meta must say first that not all is encrypted any more, and cannot be written",
                 engine->options.data_dir);
        return status;
    }
    atomic_store_explicit(&engine->keys.ring, ring, memory_order_release);
    atomic_store_explicit(&engine->keys.pending, survey.pending, memory_order_relaxed);
    engine->keys.changes++;
    return BRD_OK;
}

enum brd_status
brd_engine_set_keys(struct brd_engine *engine, const struct brd_keyring *ring,
                    struct brd_engine_error *out_error)
{
    char shown[KEYS_SHOWN_BYTES];
    enum brd_status status;
    uint64_t pending;

    if (engine->wal == NULL)
        return BRD_OK;
    brd_mutex_lock(&engine->keys.lock);
    status = change_ring(engine, ring, out_error);
    brd_mutex_unlock(&engine->keys.lock);
    if (status != BRD_OK)
        return status;
    keys_show(brd_keyring_current(ring), shown);
    pending = keys_pending(engine);
    if (pending > 0)
        brd_diag_notice("encryption: new files are under the key %s; %" PRIu64 " %s not, and %s "
                        "with a checkpoint that begins now",
                        shown, pending, brd_plural(pending, "is", "are"),
                        brd_plural(pending, "goes", "go"));
    checkpoint_rekey(engine);
    return BRD_OK;
}

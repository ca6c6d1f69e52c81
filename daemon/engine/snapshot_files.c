/* The snapshots of a directory: their names, which of them counts, whether it fits the log,
 * and how they go; and what offline tools see of them.
 *
 * Not here: what is in a file (snapshot.c). */
#include "engine/snapshot.h"

#include "base/crashpoint.h"
#include "base/diag.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_DIGITS 16

/* ---- Errors ---- */

enum brd_status
snapshot_error(struct brd_snapshot_error *error, enum brd_status status, const char *path,
               uint64_t offset, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    snprintf(error->path, sizeof(error->path), "%s", path);
    error->offset = offset;
    return status;
}

enum brd_status
snapshot_damage(struct brd_snapshot_error *error, const char *path, uint64_t offset,
                const char *why)
{
    return snapshot_error(error, BRD_CORRUPT, path, offset,
                          "%s is damaged at offset %" PRIu64 ": %s", path, offset, why);
}

enum brd_status
snapshot_io_error(struct brd_snapshot_error *error, int result, const char *action,
                  const char *path)
{
    return snapshot_error(error, brd_file_status(result), path, 0, "cannot %s %s: %s", action, path,
                          brd_file_error(result));
}

/* ---- Names ---- */

bool
snapshot_version_of(const char *name, uint64_t *out_version)
{
    uint64_t version = 0;
    size_t i;

    for (i = 0; i < NAME_DIGITS; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            version = version << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            version = version << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out_version = version;
    return strcmp(name + NAME_DIGITS, ".snap") == 0;
}

static char *
path_of(const char *data_dir, uint64_t start_version, const char *suffix)
{
    char *path = NULL;

    return asprintf(&path, "%s/snapshots/%016" PRIx64 "%s", data_dir, start_version, suffix) < 0
               ? NULL
               : path;
}

char *
snapshot_path(const char *data_dir, uint64_t start_version)
{
    return path_of(data_dir, start_version, ".snap");
}

char *
snapshot_tmp_path(const char *data_dir, uint64_t start_version)
{
    return path_of(data_dir, start_version, ".tmp");
}

char *
brd_snapshot_path(const char *data_dir, uint64_t start_version)
{
    return snapshot_path(data_dir, start_version);
}

/* ---- With the log ---- */

enum brd_status
snapshot_check_fit(const struct brd_snapshot_info *info, const char *path, uint64_t name_version,
                   const struct brd_snapshot_log *log, struct brd_snapshot_error *error)
{
    static const uint8_t plain[sizeof(info->key_id)];

    if (log->all_sealed && memcmp(info->key_id, plain, sizeof(plain)) == 0)
        return snapshot_damage(error, path, 0,
                               "it is not encrypted, and meta or the key file says that all "
                               "is; brindle-wal repair takes it out");
    if (!brd_bytes_equal(brd_bytes(info->uuid, sizeof(info->uuid)), log->uuid))
        return snapshot_damage(error, path, 0, "it belongs to another data directory");
    if (info->start_version != name_version)
        return snapshot_error(error, BRD_CORRUPT, path, 0,
                              "%s is damaged at offset 0: it is the snapshot of version %" PRIu64
                              " under another name",
                              path, info->start_version);
    if (info->start_version < log->base_version)
        return snapshot_error(error, BRD_CORRUPT, path, 0,
                              "%s begins at version %" PRIu64
                              ", but the log goes back only to %" PRIu64
                              ": a newer snapshot, or a part of the log, is missing",
                              path, info->start_version, log->base_version);
    if (info->end_version > log->end_version)
        return snapshot_error(error, BRD_CORRUPT, path, 0,
                              "the log ends at version %" PRIu64
                              ", but the snapshot of version %" PRIu64
                              " in %s has seen version %" PRIu64 ": a part of the log is gone",
                              log->end_version, info->start_version, path, info->end_version);
    return BRD_OK;
}

enum brd_status
snapshot_check_none(const char *data_dir, uint64_t base_version, struct brd_snapshot_error *error)
{
    if (base_version == 0)
        return BRD_OK;
    return snapshot_error(error, BRD_CORRUPT, data_dir, 0,
                          "%s/snapshots holds no snapshot, but the log goes back only to version "
                          "%" PRIu64 ": what was before is missing",
                          data_dir, base_version);
}

/* ---- Files ---- */

struct newest {
    uint64_t start_version;
    bool found;
};

static int
note_newest(void *arg, const char *name)
{
    struct newest *newest = arg;
    uint64_t version;

    if (snapshot_version_of(name, &version) && (!newest->found || version > newest->start_version))
        *newest = (struct newest){ .start_version = version, .found = true };
    return 0;
}

enum brd_status
snapshot_newest(const struct brd_io *io, const char *data_dir, uint64_t *out_start_version,
                struct brd_snapshot_error *error)
{
    struct newest newest = { .found = false };
    char path[4096];
    int result;

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    result = io->list(io->ctx, path, note_newest, &newest);
    if (result < 0 && result != -ENOENT)
        return snapshot_io_error(error, result, "list", path);
    *out_start_version = newest.start_version;
    return newest.found ? BRD_OK : BRD_NOT_FOUND;
}

enum brd_status
brd_snapshot_check(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
                   const struct brd_snapshot_log *log, bool whole,
                   struct brd_snapshot_info *out_info, struct brd_snapshot_error *out_error)
{
    struct snapshot_reader reader;
    enum brd_status status;
    uint64_t version = 0;
    char *path;

    *out_info = (struct brd_snapshot_info){ 0 };
    status = snapshot_newest(io, data_dir, &version, out_error);
    if (status == BRD_NOT_FOUND)
        return snapshot_check_none(data_dir, log->base_version, out_error);
    if (status != BRD_OK)
        return status;
    path = snapshot_path(data_dir, version);
    if (path == NULL)
        return snapshot_error(out_error, BRD_OUT_OF_MEMORY, data_dir, 0, "out of memory");
    if (whole) {
        status = snapshot_verify(io, keys, path, out_info, out_error);
    } else {
        status = snapshot_open(&reader, io, keys, path, out_error);
        if (status == BRD_OK) {
            *out_info = reader.info;
            snapshot_close(&reader);
        }
    }
    if (status == BRD_OK)
        status = snapshot_check_fit(out_info, path, version, log, out_error);
    free(path);
    return status;
}

static enum brd_status
visit_blocks(struct snapshot_reader *reader, const struct brd_snapshot_visitor *visitor,
             struct brd_snapshot_error *error)
{
    struct brd_bytes records;
    struct brd_bytes payload;
    struct snapshot_lane lane;
    enum brd_status status = snapshot_lane_open(&lane, reader, error);
    uint64_t offset;
    uint64_t version;

    while (status == BRD_OK) {
        status = snapshot_next_block(reader, &lane, &records, &offset, error);
        while (status == BRD_OK && snapshot_next_record(&records, &version, &payload))
            status = visitor->record(visitor->arg, version, payload);
    }
    snapshot_lane_close(&lane);
    return status == BRD_NOT_FOUND ? BRD_OK : status;
}

enum brd_status
brd_snapshot_visit(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
                   const struct brd_snapshot_visitor *visitor, struct brd_snapshot_error *out_error)
{
    struct snapshot_reader reader;
    enum brd_status status;
    uint64_t version = 0;
    char *path;

    status = snapshot_newest(io, data_dir, &version, out_error);
    if (status == BRD_NOT_FOUND)
        return snapshot_error(out_error, status, data_dir, 0, "%s holds no snapshot", data_dir);
    if (status != BRD_OK)
        return status;
    path = snapshot_path(data_dir, version);
    if (path == NULL)
        return snapshot_error(out_error, BRD_OUT_OF_MEMORY, data_dir, 0, "out of memory");
    status = snapshot_open(&reader, io, keys, path, out_error);
    if (status == BRD_OK) {
        status = visitor->begin(visitor->arg, path, &reader.info);
        if (status == BRD_OK)
            status = visit_blocks(&reader, visitor, out_error);
        snapshot_close(&reader);
    }
    free(path);
    return status;
}

struct listing {
    struct brd_snapshot_file *files; /* owned */
    size_t count;
};

static int
add_file(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct brd_snapshot_file *more;
    uint64_t version;

    if (!snapshot_version_of(name, &version))
        return 0;
    more = realloc(listing->files, (listing->count + 1) * sizeof(*more));
    if (more == NULL)
        return -ENOMEM;
    listing->files = more;
    listing->files[listing->count++] = (struct brd_snapshot_file){ .start_version = version };
    return 0;
}

static int
newer_first(const void *a, const void *b)
{
    uint64_t left = ((const struct brd_snapshot_file *)a)->start_version;
    uint64_t right = ((const struct brd_snapshot_file *)b)->start_version;

    return left > right ? -1 : left < right;
}

/* Read one to its end. Returns BRD_OK also where it is damaged. */
static enum brd_status
judge_file(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
           const struct brd_snapshot_log *log, struct brd_snapshot_file *file,
           struct brd_snapshot_error *error)
{
    const struct brd_snapshot_log itself = { .uuid = log->uuid,
                                             .end_version = UINT64_MAX,
                                             .all_sealed = log->all_sealed };
    char *path = snapshot_path(data_dir, file->start_version);
    int result;
    int fd;

    if (path == NULL)
        return snapshot_error(error, BRD_OUT_OF_MEMORY, data_dir, 0, "out of memory");
    snprintf(file->path, sizeof(file->path), "%s", path);
    free(path);
    fd = io->open(io->ctx, file->path, O_RDONLY);
    result = fd < 0 ? fd : io->size(io->ctx, fd, &file->bytes);
    brd_file_close(io, &fd);
    if (result < 0)
        return snapshot_io_error(error, result, "read", file->path);
    file->status = snapshot_verify(io, keys, file->path, &file->info, &file->error);
    if (file->status == BRD_OK)
        file->status =
            snapshot_check_fit(&file->info, file->path, file->start_version, &itself, &file->error);
    if (file->status == BRD_OK || file->status == BRD_CORRUPT || file->status == BRD_WRONG_KEY)
        return BRD_OK;
    *error = file->error;
    return file->status;
}

enum brd_status
brd_snapshot_list(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
                  const struct brd_snapshot_log *log, struct brd_snapshot_file **out_files,
                  size_t *out_count, struct brd_snapshot_error *out_error)
{
    struct listing listing = { .files = NULL };
    enum brd_status status = BRD_OK;
    char path[4096];
    int result;
    size_t i;

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    result = io->list(io->ctx, path, add_file, &listing);
    if (result < 0 && result != -ENOENT)
        status = snapshot_io_error(out_error, result, "list", path);
    if (listing.count > 0)
        qsort(listing.files, listing.count, sizeof(*listing.files), newer_first);
    for (i = 0; status == BRD_OK && i < listing.count; i++)
        status = judge_file(io, keys, data_dir, log, &listing.files[i], out_error);
    if (status != BRD_OK) {
        free(listing.files);
        return status;
    }
    *out_files = listing.files;
    *out_count = listing.count;
    return BRD_OK;
}

/* ---- Keys ---- */

struct key_use {
    const struct brd_io *io;
    const char *data_dir;
    brd_wal_key_fn fn;
    void *arg;
};

static bool
is_unfinished(const char *name)
{
    return strlen(name) == NAME_DIGITS + 4 && strcmp(name + NAME_DIGITS, ".tmp") == 0;
}

static int
tell_key(void *arg, const char *name)
{
    const struct key_use *use = arg;
    struct snapshot_header header = { .magic = 0 };
    uint64_t version;
    char path[4096];
    size_t size = 0;
    int result;
    int fd;

    if (!snapshot_version_of(name, &version) && !is_unfinished(name))
        return 0;
    snprintf(path, sizeof(path), "%s/snapshots/%s", use->data_dir, name);
    fd = use->io->open(use->io->ctx, path, O_RDONLY);
    if (fd == -ENOENT)
        return 0; /* gone since it was listed */
    result = fd < 0 ? fd : brd_file_read(use->io, fd, &header, sizeof(header), 0, &size);
    brd_file_close(use->io, &fd);
    if (result != 0)
        return result;
    return use->fn(use->arg, path,
                   size == sizeof(header) && header.magic == SNAPSHOT_MAGIC ? header.key_id : NULL);
}

int
snapshot_list_keys(const struct brd_io *io, const char *data_dir, brd_wal_key_fn fn, void *arg)
{
    struct key_use use = { .io = io, .data_dir = data_dir, .fn = fn, .arg = arg };
    char path[4096];
    int result;

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    result = io->list(io->ctx, path, tell_key, &use);
    return result == -ENOENT ? 0 : result;
}

/* ---- Removal ---- */

struct removal {
    const struct brd_io *io;
    const char *data_dir;
    uint64_t before;
};

static int
remove_one(void *arg, const char *name)
{
    const struct removal *removal = arg;
    char path[4096];
    uint64_t version = 0;
    bool finished = snapshot_version_of(name, &version);
    int result;

    if (finished ? version >= removal->before : !is_unfinished(name))
        return 0;
    snprintf(path, sizeof(path), "%s/snapshots/%s", removal->data_dir, name);
    result = removal->io->unlink(removal->io->ctx, path);
    CRASH_POINT("snapshot_removed");
    if (result != 0 && result != -ENOENT)
        brd_diag_warning("cannot remove %s, which is not needed any more: %s", path,
                         brd_file_error(result));
    return 0;
}

void
snapshot_remove_older(const struct brd_io *io, const char *data_dir, uint64_t start_version)
{
    struct removal removal = { io, data_dir, start_version };
    char path[4096];

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    (void)io->list(io->ctx, path, remove_one, &removal);
}

/* Whose directory is it, and may we have it?
 *
 * Everything is read before anything is changed. A daemon with the wrong key must leave no
 * trace, and whose key is wrong shows only in the headers: so the lock is taken if its file is
 * there, which changes nothing, and made only when all that was read is ours. Somebody
 * may be quicker in between; then, and only then, it is all read again. */
#include "base/diag.h"
#include "base/random.h"
#include "wal/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who has it: for the sentence only. */
static void
read_holder(struct brd_wal *wal, char *out, size_t size)
{
    size_t n = 0;

    if (brd_file_read(wal->io, wal->lock_fd, out, size - 1, 0, &n) != 0)
        n = 0;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (out[0] == '\0')
        snprintf(out, size, "unknown");
}

/* Take the lock. make false: if its file is there, and without changing that; lock_fd stays -1
 * where it is not. */
static enum brd_status
lock_directory(struct brd_wal *wal, bool make, struct brd_wal_error *error)
{
    const struct brd_io *io = wal->io;
    enum brd_status status = BRD_OK;
    char *path = NULL;
    char text[32];
    int result;

    if (asprintf(&path, "%s/lock", wal->dir) < 0)
        return error_set(error, BRD_OUT_OF_MEMORY, wal->dir, 0, "out of memory");
    result = io->open(io->ctx, path, make ? O_RDWR | O_CREAT : O_RDWR);
    if (result == -ENOENT && !make)
        goto out;
    if (result < 0) {
        status = error_io(error, result, "open", path);
        goto out;
    }
    wal->lock_fd = result;
    result = io->lock(io->ctx, wal->lock_fd);
    if (result == -EWOULDBLOCK) {
        read_holder(wal, text, sizeof(text));
        status = error_set(error, BRD_BUSY, path, 0,
                           "the data directory %s is in use by another process (pid %s)", wal->dir,
                           text);
        goto out;
    }
    if (result < 0) {
        status = error_io(error, result, "lock", path);
        goto out;
    }
out:
    free(path);
    return status;
}

/* Nobody depends on the content, so failing to write it is no failure. */
static void
name_holder(struct brd_wal *wal)
{
    const struct brd_io *io = wal->io;
    char text[32];

    snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (io->ftruncate(io->ctx, wal->lock_fd, 0) == 0 &&
        brd_file_write(io, wal->lock_fd, text, strlen(text), 0) != 0)
        (void)io->ftruncate(io->ctx, wal->lock_fd, 0);
}

static int
note_segment(void *arg, const char *name)
{
    (void)arg;
    return segment_number_of(name) != 0 ? 1 : 0;
}

/* A directory without meta: a new one, unless there is a log in it. */
static enum brd_status
make_identity(struct brd_wal *wal, struct brd_wal_error *error)
{
    const struct brd_io *io = wal->io;
    struct brd_seal *seal = NULL;
    enum brd_status status;
    char path[4096];
    int result;

    snprintf(path, sizeof(path), "%s/wal", wal->dir);
    result = io->list(io->ctx, path, note_segment, NULL);
    snprintf(path, sizeof(path), "%s/meta", wal->dir);
    if (result > 0)
        return error_set(error, BRD_CORRUPT, path, 0, "%s is missing, but there are segments",
                         path);
    if (result < 0 && result != -ENOENT)
        return error_io(error, result, "list the segments beside", path);
    if (wal->read_only)
        return error_set(error, BRD_NOT_FOUND, wal->dir, 0, "there is no log in %s", wal->dir);
    wal->found = (struct meta){ 0 };
    brd_random_fill(wal->found.slot.uuid, sizeof(wal->found.slot.uuid));
    wal->found.slot.uuid[6] = (uint8_t)((wal->found.slot.uuid[6] & 0x0f) | 0x40); /* version 4 */
    wal->found.slot.uuid[8] = (uint8_t)((wal->found.slot.uuid[8] & 0x3f) | 0x80);
    status = meta_use_key(&wal->found, wal->keys, &seal);
    if (status != BRD_OK)
        return error_set(error, status, path, 0, "out of memory");
    if (seal != NULL)
        wal->found.slot.flags |= META_ALL_SEALED; /* there is no file yet */
    result = meta_create(io, wal->dir, &wal->found, seal);
    brd_seal_close(&seal);
    return result == 0 ? BRD_OK : error_io(error, result, "create", path);
}

static enum brd_status
make_directories(struct brd_wal *wal, struct brd_wal_error *error)
{
    char *path = NULL;
    int result = brd_file_make_dir(wal->io, wal->dir);

    if (result != 0)
        return error_io(error, result, "make the directory", wal->dir);
    if (asprintf(&path, "%s/wal", wal->dir) < 0)
        return error_set(error, BRD_OUT_OF_MEMORY, wal->dir, 0, "out of memory");
    result = brd_file_make_dir(wal->io, path);
    free(path);
    return result == 0 ? BRD_OK : error_io(error, result, "make directories in", wal->dir);
}

/* What is there. BRD_NOT_FOUND: no meta. */
static enum brd_status
read_files(struct brd_wal *wal, struct brd_wal_error *error)
{
    enum brd_status status = meta_load(wal->io, wal->dir, wal->keys, &wal->found, error);

    map_fini(&wal->map);
    if (status != BRD_OK)
        return status;
    return map_load(wal->io, wal->dir, wal->keys, &wal->found.slot, &wal->map, error);
}

static enum brd_status
take_files(struct brd_wal *wal, struct brd_wal_error *error)
{
    enum brd_status found = lock_directory(wal, false, error);
    bool locked = wal->lock_fd >= 0;
    enum brd_status status;

    if (found == BRD_OK)
        found = read_files(wal, error);
    if (found != BRD_OK && found != BRD_NOT_FOUND)
        return found;
    status = make_directories(wal, error);
    if (status == BRD_OK && !locked)
        status = lock_directory(wal, true, error);
    if (status != BRD_OK)
        return status;
    if (!locked)
        found = read_files(wal, error);
    if (found == BRD_OK || found == BRD_NOT_FOUND)
        name_holder(wal);
    return found;
}

enum brd_status
claim_files(struct brd_wal *wal, struct brd_wal_error *error)
{
    enum brd_status status = wal->read_only ? read_files(wal, error) : take_files(wal, error);

    if (status == BRD_NOT_FOUND) {
        status = make_identity(wal, error);
        if (status == BRD_OK)
            status = read_files(wal, error);
    }
    if (status == BRD_OK && wal->found.doubtful && !wal->read_only)
        brd_diag_warning("one of the two slots of %s/meta is damaged; using the other", wal->dir);
    return status;
}

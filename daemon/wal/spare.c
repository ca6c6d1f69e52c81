/* The order of the steps, each of which may be the last one before the power fails:
 *
 *   meta says, durably and in both slots, that segment N is not needed (commit.c)
 *   N.wal -> N.spare    undone: a file below the first segment, which the next start removes
 *   zeros over its header page, synced: whatever its name is on the disk by then, N.wal,
 *                       N.spare or M.wal, it holds nothing that could be a segment
 *   N.spare -> M.wal, sync of the directory: a prepared segment like any other
 *
 * So a file with an old header never has a new name, and one that meta names never lost its own. */
#include "wal/spare.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/diag.h"
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 16
#define SUFFIX ".spare"

void
spares_add(struct spares *spares, uint64_t number)
{
    BRD_CHECK(number != 0);
    BRD_CHECK(spares->count < SPARES_MAX);
    spares->numbers[spares->count++] = number;
}

uint64_t
spares_take(struct spares *spares)
{
    return spares->count == 0 ? 0 : spares->numbers[--spares->count];
}

char *
spare_path(const char *dir, uint64_t number)
{
    char *path = NULL;

    if (asprintf(&path, "%s/wal/%016llx" SUFFIX, dir, (unsigned long long)number) < 0)
        return NULL;
    return path;
}

uint64_t
spare_number_of(const char *name)
{
    char segment[DIGITS + sizeof(".wal")];

    if (strlen(name) != DIGITS + sizeof(SUFFIX) - 1 || strcmp(name + DIGITS, SUFFIX) != 0)
        return 0;
    snprintf(segment, sizeof(segment), "%.*s.wal", DIGITS, name);
    return segment_number_of(segment);
}

static bool
has_size(const struct brd_io *io, const char *path, uint64_t bytes)
{
    int fd = io->open(io->ctx, path, O_RDWR);
    uint64_t size = 0;
    int result = fd < 0 ? fd : io->size(io->ctx, fd, &size);

    brd_file_close(io, &fd);
    return result == 0 && size == bytes;
}

bool
spare_make(const struct brd_io *io, const char *dir, uint64_t number, uint64_t bytes)
{
    char *from = segment_path(dir, number);
    char *to = spare_path(dir, number);
    bool made = from != NULL && to != NULL && has_size(io, from, bytes) &&
                io->rename(io->ctx, from, to) == 0;

    CRASH_POINT("spare_made");
    free(from);
    free(to);
    return made;
}

/* Zeros over the header of a file that nobody reads. *out_fd is open, also on failure. */
static int
clear(const struct brd_io *io, const char *path, uint64_t bytes, int *out_fd)
{
    static const uint8_t zeros[SEGMENT_HEADER_BYTES];
    /* The lock must be gone before the file is a segment again, and the other descriptor stays. */
    int guard = io->open(io->ctx, path, O_RDWR);
    int result = guard < 0 ? guard : io->lock(io->ctx, guard);
    uint64_t size = 0;

    if (result == 0) {
        *out_fd = io->open(io->ctx, path, O_RDWR);
        result = *out_fd < 0 ? *out_fd : io->size(io->ctx, *out_fd, &size);
    }
    if (result == 0 && size != bytes)
        result = -EINVAL;
    if (result == 0)
        result = brd_file_write(io, *out_fd, zeros, sizeof(zeros), 0);
    if (result == 0)
        result = io->fdatasync(io->ctx, *out_fd);
    CRASH_POINT("spare_cleared");
    brd_file_close(io, &guard);
    return result;
}

int
spare_use(const struct brd_io *io, const char *dir, uint64_t spare, uint64_t number, uint64_t bytes,
          struct segment **out_segment)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    char *from = spare_path(dir, spare);
    const char *there = from;
    int result = -ENOMEM;

    if (segment == NULL || from == NULL)
        goto out;
    segment->fd = -1;
    segment->path = segment_path(dir, number);
    if (segment->path == NULL)
        goto out;
    result = clear(io, from, bytes, &segment->fd);
    if (result == 0)
        result = io->rename(io->ctx, from, segment->path);
    if (result == 0)
        there = segment->path;
    CRASH_POINT("spare_named");
    if (result == 0)
        result = segment_sync_names(io, dir);
    CRASH_POINT("spare_prepared");
    segment->room = bytes;
    segment->recycled = true;
    segment->header.flags = SEGMENT_RECYCLED;
    segment->header.number = number;
    brd_random_fill(segment->header.salt, sizeof(segment->header.salt));
out:
    if (result != 0) {
        if (there != NULL)
            (void)io->unlink(io->ctx, there);
        segment_close(io, &segment);
    } else {
        *out_segment = segment;
    }
    free(from);
    return result;
}

int
spare_remove(const struct brd_io *io, const char *dir, uint64_t number)
{
    char *path = spare_path(dir, number);
    int result = path == NULL ? -ENOMEM : io->unlink(io->ctx, path);

    if (result == -ENOENT)
        result = 0;
    if (result != 0)
        brd_diag_warning("cannot remove %s, which is not needed any more: %s; the next start tries "
                         "again",
                         path != NULL ? path : "a file of the log", brd_file_error(result));
    free(path);
    return result;
}

struct finding {
    struct spares *spares;
    const struct brd_io *io;
    const char *dir;
    uint64_t bytes;
};

static int
find_one(void *arg, const char *name)
{
    const struct finding *finding = arg;
    uint64_t number = spare_number_of(name);
    char *path;

    if (number == 0)
        return 0;
    path = spare_path(finding->dir, number);
    if (path != NULL && finding->bytes != 0 && finding->spares->count < SPARES_MAX &&
        has_size(finding->io, path, finding->bytes))
        spares_add(finding->spares, number);
    else
        (void)spare_remove(finding->io, finding->dir, number);
    free(path);
    return 0;
}

void
spares_find(struct spares *spares, const struct brd_io *io, const char *dir, uint64_t bytes)
{
    struct finding finding = { .spares = spares, .io = io, .dir = dir, .bytes = bytes };
    char *path = NULL;

    if (asprintf(&path, "%s/wal", dir) < 0)
        return;
    (void)io->list(io->ctx, path, find_one, &finding);
    free(path);
}

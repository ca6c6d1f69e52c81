/* Under which keys the files of a log are, by what they say of themselves.
 *
 * Not asked of what this process has in memory: a file that could not be removed, or that
 * an earlier process has left behind, counts as well. The bytes are not judged; whoever
 * reads a file for what is in it does that. */
#include "wal/meta.h"
#include "wal/segment.h"
#include "wal/spare.h"
#include "wal/wal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct use {
    const struct brd_io *io;
    const char *dir;
    brd_wal_key_fn fn;
    void *arg;
};

/* The first bytes of a file, the rest zeros. 0, -errno; -ENOENT: gone since it was listed. */
static int
read_beginning(const struct use *use, const char *path, void *out, size_t size)
{
    int fd = use->io->open(use->io->ctx, path, O_RDONLY);
    size_t n = 0;
    int result = fd < 0 ? fd : 0;

    memset(out, 0, size);
    if (result == 0)
        result = brd_file_read(use->io, fd, out, size, 0, &n);
    brd_file_close(use->io, &fd);
    return result;
}

static bool
is_zeros(const void *data, size_t size)
{
    const uint8_t *bytes = data;

    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static int
tell_segment(void *arg, const char *name)
{
    const struct use *use = arg;
    struct segment_header header;
    char path[4096];
    int result;

    if (segment_number_of(name) == 0 && spare_number_of(name) == 0)
        return 0;
    snprintf(path, sizeof(path), "%s/wal/%s", use->dir, name);
    result = read_beginning(use, path, &header, sizeof(header));
    if (result == -ENOENT || (result == 0 && is_zeros(&header, sizeof(header))))
        return 0; /* prepared, and nothing in it */
    if (result != 0)
        return result;
    return use->fn(use->arg, path, header.magic == SEGMENT_MAGIC ? header.key_id : NULL);
}

static int
tell_meta(const struct use *use)
{
    uint8_t pages[META_PAGE_BYTES + META_SLOT_BYTES];
    struct meta_slot slot;
    char path[4096];
    size_t at;
    int result;

    snprintf(path, sizeof(path), "%s/meta", use->dir);
    result = read_beginning(use, path, pages, sizeof(pages));
    if (result == -ENOENT)
        return 0;
    for (at = 0; result == 0 && at < sizeof(pages); at += META_PAGE_BYTES) {
        memcpy(&slot, pages + at, sizeof(slot));
        if (!is_zeros(&slot, sizeof(slot)))
            result = use->fn(use->arg, path, slot.magic == META_MAGIC ? slot.key_id : NULL);
    }
    return result;
}

int
brd_wal_list_keys(const struct brd_io *io, const char *dir, brd_wal_key_fn fn, void *arg)
{
    struct use use = { .io = io, .dir = dir, .fn = fn, .arg = arg };
    char path[4096];
    int result = tell_meta(&use);

    if (result != 0)
        return result;
    snprintf(path, sizeof(path), "%s/wal", dir);
    result = io->list(io->ctx, path, tell_segment, &use);
    return result == -ENOENT ? 0 : result;
}

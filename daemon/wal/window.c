#include "wal/window.h"

#include <stdlib.h>
#include <string.h>

enum brd_status
window_open(struct window *window, const struct log_segment *segment, struct brd_wal_error *error)
{
    const struct brd_io *io = window->io;

    brd_file_close(io, &window->fd);
    window->segment = segment;
    window->size = 0;
    window->offset = 0;
    window->fd = io->open(io->ctx, segment->path, O_RDONLY);
    return window->fd < 0 ? error_io(error, window->fd, "open", segment->path) : BRD_OK;
}

void
window_fini(struct window *window)
{
    brd_file_close(window->io, &window->fd);
    free(window->bytes);
}

/* Room for wanted bytes; never less than a window, unless the file is smaller. */
static enum brd_status
grow(struct window *window, uint64_t wanted, struct brd_wal_error *error)
{
    uint64_t file_bytes = window->segment->file_bytes;
    uint64_t room = file_bytes < WINDOW_BYTES ? file_bytes : WINDOW_BYTES;
    uint8_t *bytes;

    if (room < wanted)
        room = wanted;
    if (room <= window->room)
        return BRD_OK;
    bytes = realloc(window->bytes, (size_t)room);
    if (bytes == NULL)
        return error_set(error, BRD_OUT_OF_MEMORY, window->segment->path, window->offset,
                         "out of memory for a group of %llu bytes in %s",
                         (unsigned long long)wanted, window->segment->path);
    window->bytes = bytes;
    window->room = (size_t)room;
    return BRD_OK;
}

enum brd_status
window_at(struct window *window, uint64_t offset, size_t wanted, struct brd_bytes *out_bytes,
          struct brd_wal_error *error)
{
    size_t have = 0;
    size_t more = 0;
    enum brd_status status;
    int result;

    *out_bytes = brd_bytes(NULL, 0);
    if (offset >= window->offset && offset - window->offset <= window->size)
        have = window->size - (size_t)(offset - window->offset);
    if (have < wanted && offset + have < window->segment->file_bytes) {
        status = grow(window, wanted, error);
        if (status != BRD_OK)
            return status;
        if (have > 0)
            memmove(window->bytes, window->bytes + (offset - window->offset), have);
        window->offset = offset;
        window->size = have;
        result = brd_file_read(window->io, window->fd, window->bytes + have, window->room - have,
                               offset + have, &more);
        if (result < 0)
            return error_io(error, result, "read", window->segment->path);
        window->size += more;
        have += more;
    }
    *out_bytes =
        have == 0 ? brd_bytes(NULL, 0) : brd_bytes(window->bytes + (offset - window->offset), have);
    return BRD_OK;
}

enum brd_status
window_group(struct window *window, uint64_t offset, uint32_t seed, uint64_t lsn,
             enum group_verdict *out_verdict, struct group_header *out_header,
             struct brd_bytes *out_bytes, struct brd_wal_error *error)
{
    enum brd_status status;
    uint64_t size;

    *out_verdict = GROUP_BAD;
    status = window_at(window, offset, sizeof(struct group_header), out_bytes, error);
    if (status != BRD_OK || out_bytes->size < sizeof(struct group_header) ||
        !group_header_plausible(out_bytes->data, lsn))
        return status;
    memcpy(out_header, out_bytes->data, sizeof(*out_header));
    size = group_size(out_header);
    if (size > window->segment->file_bytes - offset)
        return BRD_OK;
    status = window_at(window, offset, (size_t)size, out_bytes, error);
    if (status == BRD_OK)
        *out_verdict = group_parse(*out_bytes, seed, lsn, out_header);
    return status;
}

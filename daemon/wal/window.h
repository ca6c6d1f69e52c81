/* A window on the file of one segment, and the group that begins at some place in it.
 * Memory: WINDOW_BYTES, more only for a larger group. */
#ifndef BRD_WAL_WINDOW_H
#define BRD_WAL_WINDOW_H

#include "wal/group.h"
#include "wal/reader.h"

#define WINDOW_BYTES ((size_t)1 << 20)

/* Begins as { .io = io, .fd = -1 }. */
struct window {
    const struct brd_io *io;
    const struct log_segment *segment; /* borrowed while it is open */
    uint8_t *bytes;                    /* owned */
    size_t room;
    size_t size;     /* bytes of the file from offset on */
    uint64_t offset; /* in the file */
    int fd;
};

/* Look at this segment from now on. */
BRD_MUST_CHECK enum brd_status
window_open(struct window *window, const struct log_segment *segment, struct brd_wal_error *error);
void window_fini(struct window *window);

/* The file's bytes from offset on, at least `wanted` unless it ends before.
 * Valid until the next call. */
BRD_MUST_CHECK enum brd_status window_at(struct window *window, uint64_t offset, size_t wanted,
                                         struct brd_bytes *out_bytes, struct brd_wal_error *error);

/* The whole group at offset, if there is one of this position: *out_bytes begins with it.
 * BRD_OK whatever the verdict is; out_header is filled unless that is GROUP_BAD. */
BRD_MUST_CHECK enum brd_status
window_group(struct window *window, uint64_t offset, uint32_t seed, uint64_t lsn,
             enum group_verdict *out_verdict, struct group_header *out_header,
             struct brd_bytes *out_bytes, struct brd_wal_error *error);

#endif

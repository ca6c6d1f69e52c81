/* What lies behind the end of a log: groups that are whole, and how much that is none. */
#ifndef BRD_WAL_SEARCH_H
#define BRD_WAL_SEARCH_H

#include "wal/window.h"

struct log_remains {
    uint64_t synced_lsn; /* the latest position that somebody says was synced */
    uint64_t bytes;      /* up to the last that is not zero, nor of an earlier life of the file */
    uint64_t groups;     /* valid ones */
    uint64_t group_bytes;
    uint64_t records;      /* of them, and likewise below */
    uint64_t last_version; /* the highest */
    uint64_t summed_bytes; /* that checksums were made of: at most three times what was searched */
};

/* Whom a search that may be long tells how far it is, every few MiB of work. */
struct search_progress {
    enum brd_status (*fn)(void *arg, bool searching, uint64_t done, uint64_t total);
    void *arg;
    uint64_t done;  /* bytes in files that have been searched */
    uint64_t total; /* bytes to be searched */
};

/* Look for valid groups, and for anything but zeros (in a file that is recycled: for what begins
 * like a group in its place), from offset (a multiple of 8) to the end
 * of the file that the window is open on; adds to *remains. Groups up to above_version do not
 * count. progress may be NULL.
 * Returns BRD_OK, BRD_IO_ERROR, BRD_OUT_OF_MEMORY, or what progress->fn returned. */
BRD_MUST_CHECK enum brd_status
search_window(struct window *window, uint64_t offset, uint64_t above_version,
              struct log_remains *remains, struct search_progress *progress,
              struct brd_wal_error *error);

/* The same for one file. */
BRD_MUST_CHECK enum brd_status
search_file(const struct brd_io *io, const struct log_segment *segment, uint64_t offset,
            uint64_t above_version, struct log_remains *remains, struct brd_wal_error *error);

#endif

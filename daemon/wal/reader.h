/* Reading a log: which segments belong to it, and the walk over their groups
 * that decides where the log ends. Replay, tools and fuzzers use this one. */
#ifndef BRD_WAL_READER_H
#define BRD_WAL_READER_H

#include "wal/error.h"
#include "wal/meta.h"
#include "wal/segment.h"

/* A file of the log as found. */
struct log_segment {
    char *path; /* owned */
    uint64_t number;
    uint64_t file_bytes;
    bool begun; /* false: prepared only, header is nothing */
    struct segment_header header;
};

/* The files, in the order of their numbers, without a gap. */
struct log_map {
    struct log_segment *segments; /* owned */
    size_t count;
};

/* List DIR/wal and judge every header, against meta and each other.
 * Returns BRD_OK (out_map is for map_fini), BRD_CORRUPT, BRD_UNSUPPORTED,
 * BRD_IO_ERROR, BRD_OUT_OF_MEMORY. Changes nothing. */
BRD_MUST_CHECK enum brd_status
map_load(const struct brd_io *io, const char *dir, const struct meta_slot *meta,
         struct log_map *out_map, struct brd_wal_error *error);

void map_fini(struct log_map *map);

/* Where the log ends. */
struct log_end {
    uint64_t lsn;
    uint64_t synced_lsn; /* the latest position that anything says was synced */
    uint64_t last_version;
    uint32_t epoch;      /* the highest in any header; 0: none */
    size_t kept;         /* segments of the map up to the one it ends in */
    uint64_t end_offset; /* in that one */
};

/* Walk the whole log.
 *
 * visitor     may hold NULLs.
 * on_progress bytes of log done, and about how many there are; may be NULL. It
 *             is called before the records of each group.
 * Returns     BRD_OK, BRD_CORRUPT, BRD_UNSUPPORTED, BRD_IO_ERROR,
 *             BRD_OUT_OF_MEMORY, or what the visitor returned. */
BRD_MUST_CHECK enum brd_status
log_walk(const struct brd_io *io, const struct meta_slot *meta, const struct log_map *map,
         const struct brd_wal_visitor *visitor,
         void (*on_progress)(void *arg, uint64_t done, uint64_t total), void *arg,
         struct log_end *out_end, struct brd_wal_report *report, struct brd_wal_error *error);

#endif

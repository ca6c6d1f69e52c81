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
    const struct brd_keyring *keys; /* borrowed; NULL: none */
};

/* List DIR/wal and judge every header, against meta and each other. keys must stay until
 * map_fini.
 * Returns BRD_OK (out_map is for map_fini), BRD_CORRUPT, BRD_WRONG_KEY, BRD_UNSUPPORTED,
 * BRD_IO_ERROR, BRD_OUT_OF_MEMORY. Changes nothing. */
BRD_MUST_CHECK enum brd_status
map_load(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
         const struct meta_slot *meta, struct log_map *out_map, struct brd_wal_error *error);

/* The same, but on BRD_CORRUPT out_map holds the segments before the first whose file or
 * header is damaged or missing (for map_fini, too). */
BRD_MUST_CHECK enum brd_status
map_load_part(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
              const struct meta_slot *meta, struct log_map *out_map, struct brd_wal_error *error);

void map_fini(struct log_map *map);

/* The numbers of all files in DIR/wal that have a segment's name, in rising order.
 * out_numbers is for free(). BRD_OK, BRD_IO_ERROR, BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
log_list(const struct brd_io *io, const char *dir, uint64_t **out_numbers, size_t *out_count,
         struct brd_wal_error *error);

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
 * out_end     written on BRD_OK; on BRD_CORRUPT too, then it is where the damage
 *             begins.
 * Returns     BRD_OK, BRD_CORRUPT, BRD_UNSUPPORTED, BRD_IO_ERROR,
 *             BRD_OUT_OF_MEMORY, or what the visitor returned. */
BRD_MUST_CHECK enum brd_status
log_walk(const struct brd_io *io, const struct meta_slot *meta, const struct log_map *map,
         const struct brd_wal_visitor *visitor, struct log_end *out_end,
         struct brd_wal_report *report, struct brd_wal_error *error);

#endif

/* What brindle-wal says, as text for people or as JSON, one object a line. */
#ifndef BRD_TOOLS_WAL_PRINT_H
#define BRD_TOOLS_WAL_PRINT_H

#include "base/bytes.h"
#include "engine/engine.h"
#include "filter.h"
#include "health.h"
#include "wal/wal.h"

#include <stdbool.h>
#include <stdio.h>

struct print {
    FILE *out;   /* borrowed */
    bool json;   /* else text */
    bool values; /* whole values, not only their sizes */
};

void print_segment(const struct print *print, const struct brd_wal_segment_view *segment);
void print_group(const struct print *print, const struct brd_wal_group_view *group);

/* A record, and each change in it that passes; nothing where none does. A payload
 * that is none of the engine's is shown as bytes. type is for JSON. */
void print_record(const struct print *print, const struct filter *filter, const char *type,
                  uint64_t version, struct brd_bytes payload);

void
print_identity(const struct print *print, const char *dir, const struct brd_wal_identity *identity);
void
print_error(const struct print *print, enum brd_status status, const struct brd_wal_error *error);

/* Where one of meta's two slots is damaged: that it is, and why that is no failure. */
void print_damaged_slot(const struct print *print, const char *dir,
                        const struct brd_wal_identity *identity);

/* The first line of a snapshot's dump. */
void print_snapshot_head(const struct print *print, const char *path,
                         const struct brd_snapshot_info *info);

/* Segments in a row under one key. */
struct print_run {
    uint64_t first, last;
    uint8_t key_id[16];
};

/* Under which key each file is; nothing where none is encrypted. */
void print_keys(const struct print *print, const struct health *health,
                const struct print_run *runs, size_t count);

/* The totals of a directory that is whole. */
void print_health(const struct print *print, const struct health *health);

/* For lines of other commands, in JSON: ,"NAME":"..." where the bytes are UTF-8, else
 * ,"NAME_base64":"...". */
void print_json_bytes(FILE *out, const char *name, struct brd_bytes bytes);

#endif

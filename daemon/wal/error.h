/* Sentences about what went wrong, filled once by whoever saw it. */
#ifndef BRD_WAL_ERROR_H
#define BRD_WAL_ERROR_H

#include "wal/wal.h"

/* Fill *error (NULL is fine) and return status. path may be NULL. */
enum brd_status
error_set(struct brd_wal_error *error, enum brd_status status, const char *path, uint64_t offset,
          const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same for a failed disk call: "cannot ACTION PATH: REASON". */
enum brd_status
error_io(struct brd_wal_error *error, int result, const char *action, const char *path);

#endif

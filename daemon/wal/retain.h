/* Which segments the log still has, and which of them nobody needs any more.
 *
 * A segment may go when every record in it is at or below a version that
 * something else keeps: the next one's base_version says so. The newest one
 * never goes. Under the lock of whoever has the table. */
#ifndef BRD_WAL_RETAIN_H
#define BRD_WAL_RETAIN_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kept_segment {
    uint64_t number;
    uint64_t base_version; /* every record in it is above */
    uint64_t start_lsn;
    uint64_t bytes; /* of the file */
    uint8_t key_id[16];
};

/* Oldest first, numbers without a gap; zeros: empty. */
struct retention {
    struct kept_segment *kept; /* owned */
    size_t count;
    size_t room;
};

void retention_fini(struct retention *retention);

/* Make room for n more than there are. BRD_OK or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status retention_reserve(struct retention *retention, size_t n);

/* Append; room was reserved. */
void retention_add(struct retention *retention, const struct kept_segment *segment);

/* How many of the oldest hold nothing above version. */
size_t retention_covered(const struct retention *retention, uint64_t version);

/* Are all of them under this key? */
bool retention_is_under(const struct retention *retention, const uint8_t *key_id);

/* Is each of them under some key? */
bool retention_is_sealed(const struct retention *retention);

/* Forget the oldest n. */
void retention_drop(struct retention *retention, size_t n);

#endif

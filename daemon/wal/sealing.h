/* Encrypting a group on its way to the disk. */
#ifndef BRD_WAL_SEALING_H
#define BRD_WAL_SEALING_H

#include "seal/seal.h"
#include "wal/group.h"

#include <sys/uio.h>

/* The writer's alone. Zeros: ready. */
struct sealing {
    uint8_t *buffer; /* owned mapping: records of a group that has blobs */
    size_t room;
    uint8_t tail[GROUP_TAG_BYTES + GROUP_ALIGN]; /* the tag, and padding */
};

/* Encrypt a group.
 *
 * parts    its pieces: the first begins with the header, which is complete but for its
 *          checksum and has GROUP_SEALED set; the last ends with the padding. Where there is
 *          one piece only it is encrypted in place; what belongs to others is not touched.
 * count    on return, with parts, what is to be written (at most 3); valid until the next call.
 * Returns  BRD_OK, or BRD_OUT_OF_MEMORY: the group is worthless. */
BRD_MUST_CHECK enum brd_status
sealing_group(struct sealing *sealing, struct brd_seal *seal, struct iovec *parts, int *count);

/* Give a large buffer back: nothing of the last group is needed any more. */
void sealing_trim(struct sealing *sealing);

void sealing_fini(struct sealing *sealing);

#endif

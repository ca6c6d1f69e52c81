/* A data directory as it was at one moment, while a daemon may go on with it.
 *
 * All files are opened at once: a file that a daemon removes afterwards can still be read,
 * and one that it makes is not seen. What it appends is seen, which is no harm: the reader
 * takes the log up to some group. So nothing that takes long races with checkpoints. */
#ifndef BRD_TOOLS_WAL_PIN_H
#define BRD_TOOLS_WAL_PIN_H

#include "wal/wal.h"

struct pin;

/* keys (NULL: none) are for looking whether the files belong together. Tries again where files come and go between the opening of two; what is damaged stays so,
 * and is found by whoever reads. Returns BRD_OK, BRD_BUSY (it never held still),
 * BRD_IO_ERROR, BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status pin_open(const char *dir, const struct brd_keyring *keys,
                                        struct pin **out_pin, struct brd_wal_error *out_error);

/* Disk calls that see the directory so; for reading. Borrowed until pin_close. */
const struct brd_io *pin_io(const struct pin *pin);

/* NULL inside is fine. */
void pin_close(struct pin **pin);

#endif

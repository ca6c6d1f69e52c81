/* Spares: files of released segments, kept to become segments again.
 *
 * A sync in a file that was written once is cheaper than in one that grows, and a file
 * that is there need not be filled with zeros first. A spare is DIR/wal/NUMBER.spare, under
 * the number that it had: a name that no reader looks at, of whatever version.
 *
 * What it holds is of an earlier life. That never parses as a part of the log: the header
 * page is zeros before the file has a segment's name again, and the next life has a salt of
 * its own; its header says SEGMENT_RECYCLED, so that a reader expects such bytes behind the end.
 *
 * Somebody may still read the file under its old name: who wants to do that undisturbed has
 * a lock on it (flock, shared). Then it is not used again. */
#ifndef BRD_WAL_SPARE_H
#define BRD_WAL_SPARE_H

#include "wal/segment.h"

/* Twice what the log has between two checkpoints, by default: while one is made under a full load
 * as much again is written. */
#define SPARES_MAX 8

/* Which there are. Zeros: none. Under the lock of whoever has the list. */
struct spares {
    uint64_t numbers[SPARES_MAX];
    size_t count;
};

/* One more; there is room. */
void spares_add(struct spares *spares, uint64_t number);

/* Take one from the list; 0: there is none. */
uint64_t spares_take(struct spares *spares);

/* "DIR/wal/0123456789abcdef.spare" in a new allocation, or NULL. */
char *spare_path(const char *dir, uint64_t number);

/* The number in a spare's name, or 0 if it is none's. */
uint64_t spare_number_of(const char *name);

/* Make a spare of the file of segment `number`, which meta does not name any more, not
 * even in its older slot. Only a file of exactly so many bytes will do. False: it has its old
 * name still. */
bool spare_make(const struct brd_io *io, const char *dir, uint64_t number, uint64_t bytes);

/* What segment_prepare does, out of a spare of so many bytes. Nothing is written but the
 * header page. Returns 0, or -errno: then there is neither the spare nor the segment, as far
 * as possible (-EWOULDBLOCK: somebody reads it; that one goes on). */
int spare_use(const struct brd_io *io, const char *dir, uint64_t spare, uint64_t number,
              uint64_t bytes, struct segment **out_segment);

/* Remove a spare. Returns 0 (also where there is none) or -errno. */
int spare_remove(const struct brd_io *io, const char *dir, uint64_t number);

/* Put the spares that an earlier process has left into the list, and remove those that it has
 * no room for or that are of another size; bytes 0: all. What cannot be removed costs space. */
void spares_find(struct spares *spares, const struct brd_io *io, const char *dir, uint64_t bytes);

#endif

/* A disk in memory that fails on request and loses power.
 *
 * The fault model: a write reaches the page cache at once and every reader sees
 * it. Only fdatasync and fsync make a file's content and size durable, only fsync
 * of a directory its names. When power is cut every sector (512 bytes) written
 * since the last sync is kept or lost by itself; sectors are never torn. Sizes
 * not synced are kept if a sector behind the old end was. Names not synced are
 * kept up to some point in the order in which they were changed. From the cut
 * until faulty_reboot every call fails with EIO. What a failed sync did not write
 * is never written: as on Linux, the next sync reports success without it.
 *
 * Paths are plain strings; a directory exists once made. Any thread. */
#ifndef BRD_SUPPORT_FAULTY_IO_H
#define BRD_SUPPORT_FAULTY_IO_H

#include "base/file.h"

struct faulty;

enum faulty_kind {
    FAULTY_OPEN,
    FAULTY_CLOSE,
    FAULTY_READ,
    FAULTY_WRITE,
    FAULTY_FDATASYNC,
    FAULTY_FSYNC,
    FAULTY_FTRUNCATE,
    FAULTY_FALLOCATE,
    FAULTY_SIZE,
    FAULTY_LOCK,
    FAULTY_RENAME,
    FAULTY_UNLINK,
    FAULTY_MKDIR,
    FAULTY_LIST,
    FAULTY_SPACE,
    FAULTY_KINDS
};

/* What a cut leaves of what was not synced. */
enum faulty_keep {
    FAULTY_KEEP_NONE,
    FAULTY_KEEP_ALL,
    FAULTY_KEEP_SOME, /* as the seed says */
};

/* Aborts where memory is out, like everything here. */
struct faulty *faulty_create(void);
struct faulty *faulty_clone(struct faulty *disk); /* content only: no faults, no descriptors */
void faulty_destroy(struct faulty **disk);
const struct brd_io *faulty_io(struct faulty *disk);

const char *faulty_kind_name(enum faulty_kind kind);

/* Let the nth call of a kind from now on (1: the next) fail with error (an errno),
 * and `times` calls from there on; times 0: all. */
void faulty_fail(struct faulty *disk, enum faulty_kind kind, long nth, long times, int error);
/* Only calls on paths that contain this text count for faulty_fail; NULL: all. */
void faulty_fail_path(struct faulty *disk, const char *text);
/* Let the nth write from now on write only so many bytes. */
void faulty_short(struct faulty *disk, long nth, size_t bytes);
void faulty_clear(struct faulty *disk);
bool faulty_hit(struct faulty *disk); /* has a fault happened since it was asked for? */
uint64_t faulty_calls(struct faulty *disk, enum faulty_kind kind);

/* The disk has so many bytes (0: no end), of which somebody else's files take `others`: what
 * would take more than the rest fails with ENOSPC. Sizes of files count, whatever is in
 * them; a file without a name takes nothing. */
void faulty_set_space(struct faulty *disk, uint64_t capacity, uint64_t others);
uint64_t faulty_free(struct faulty *disk);

/* Power fails during the nth change (write, sync, new name, ...) from now on. */
void faulty_cut_at(struct faulty *disk, long nth);
void faulty_cut(struct faulty *disk);
bool faulty_is_cut(struct faulty *disk);
uint64_t faulty_changes(struct faulty *disk); /* so far, for faulty_cut_at */
/* Power is back: what was not synced is kept or lost; descriptors and locks are gone. */
void faulty_reboot(struct faulty *disk, enum faulty_keep keep, uint64_t seed);
/* The process alone was killed: descriptors and locks are gone, nothing is lost. */
void faulty_kill(struct faulty *disk);

/* Called before each call, with nothing locked; may block. */
void
faulty_set_hook(struct faulty *disk, void (*hook)(void *arg, enum faulty_kind kind), void *arg);

/* ---- Behind the back of the program under test ---- */

/* The content; NULL data: no such file. Valid until the file changes. */
struct brd_bytes faulty_content(struct faulty *disk, const char *path);
/* Replace the content of a file, made if absent; durable at once. */
void faulty_set_content(struct faulty *disk, const char *path, struct brd_bytes content);
void faulty_flip(struct faulty *disk, const char *path, uint64_t bit);
void faulty_cut_file(struct faulty *disk, const char *path, uint64_t size);
void faulty_remove(struct faulty *disk, const char *path);
void faulty_swap(struct faulty *disk, const char *a, const char *b);
/* A number that changes with each change of any file or name. */
uint64_t faulty_fingerprint(struct faulty *disk);

#endif

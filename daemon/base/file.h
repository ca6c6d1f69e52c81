/* Disk calls as a table, and what is built on them.
 *
 * Everything that must survive a stop goes through a `struct brd_io`, so that a
 * test can put a disk of its own under the log and the snapshots: one that
 * fails the n-th call, writes short or loses power (tests/support/faulty_io.h).
 *
 * Results are those of the system calls, but errors come back as -errno and
 * errno itself is not used. Descriptors are closed on exec. EINTR never
 * comes back. Threads: any, as for the system calls. */
#ifndef BRD_BASE_FILE_H
#define BRD_BASE_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Called for each name in a directory but "." and "..". The name is borrowed
 * for the call. A non-zero result ends the listing and becomes its result. */
typedef int (*brd_io_list_fn)(void *arg, const char *name);

struct brd_io {
    void *ctx; /* first argument of every call */

    /* flags as of open(2), O_CLOEXEC is added; a new file gets mode 0600.
     * Opens directories too (O_RDONLY | O_DIRECTORY), for fsync. */
    int (*open)(void *ctx, const char *path, int flags);
    int (*close)(void *ctx, int fd);

    /* May be short; 0 is the end of the file. */
    ssize_t (*pread)(void *ctx, int fd, void *data, size_t size, uint64_t offset);
    /* May be short. count is at most BRD_IO_PARTS_MAX. */
    ssize_t (*pwritev)(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset);

    int (*fdatasync)(void *ctx, int fd); /* content and size */
    int (*fsync)(void *ctx, int fd);     /* of a directory: its names */
    int (*ftruncate)(void *ctx, int fd, uint64_t size);
    int (*fallocate)(void *ctx, int fd, uint64_t size); /* bytes 0 .. size, size grows */
    int (*size)(void *ctx, int fd, uint64_t *out_size);
    int (*lock)(void *ctx, int fd); /* exclusive, until close; -EWOULDBLOCK: taken */

    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*mkdir)(void *ctx, const char *path); /* mode 0700 */
    int (*list)(void *ctx, const char *path, brd_io_list_fn fn, void *arg);

    /* Of the file system on which path is: bytes that the unprivileged may still take,
     * and how many there are (0: it does not say). */
    int (*space)(void *ctx, const char *path, uint64_t *out_free, uint64_t *out_total);
};

#define BRD_IO_PARTS_MAX 1024 /* IOV_MAX of Linux */

/* The operating system's calls. Static storage. */
const struct brd_io *brd_io_real(void);

/* The helpers return 0 or -errno. */

/* Write everything at offset, continuing after short writes. parts is used up.
 * On an error any part of it may have been written. */
BRD_MUST_CHECK int
brd_file_writev(const struct brd_io *io, int fd, struct iovec *parts, int count, uint64_t offset);
BRD_MUST_CHECK int
brd_file_write(const struct brd_io *io, int fd, const void *data, size_t size, uint64_t offset);

/* Read up to size bytes at offset; out_read is less only at the end of the file. */
BRD_MUST_CHECK int brd_file_read(const struct brd_io *io, int fd, void *data, size_t size,
                                 uint64_t offset, size_t *out_read);

/* Make the names in a directory durable. */
BRD_MUST_CHECK int brd_file_sync_dir(const struct brd_io *io, const char *path);

/* Make a directory durable under its parent; fine if it exists. */
BRD_MUST_CHECK int brd_file_make_dir(const struct brd_io *io, const char *path);

/* Put content into a file as one step: temporary name, sync, rename over path,
 * sync of the directory. */
BRD_MUST_CHECK int
brd_file_replace(const struct brd_io *io, const char *path, const void *data, size_t size);

/* Close, if fd is one (>= 0); what was written has been synced or is lost anyway. */
void brd_file_close(const struct brd_io *io, int *fd);

/* The status for a -errno: BRD_DISK_FULL, BRD_OUT_OF_MEMORY, or BRD_IO_ERROR;
 * BRD_OK for 0 and above. */
enum brd_status brd_file_status(int result);

/* The text of a -errno. Static or thread-local storage. */
const char *brd_file_error(int result);

#endif

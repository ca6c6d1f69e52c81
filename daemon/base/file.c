#include "base/file.h"

#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- The operating system's calls ---- */

#define RETRY(result, call) \
    do {                    \
        (result) = (call);  \
    } while ((result) < 0 && errno == EINTR)

static int
real_open(void *ctx, const char *path, int flags)
{
    int fd;

    (void)ctx;
    RETRY(fd, open(path, flags | O_CLOEXEC, 0600));
    return fd < 0 ? -errno : fd;
}

static int
real_close(void *ctx, int fd)
{
    (void)ctx;
    /* Never again after EINTR: on Linux the descriptor is gone. */
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t
real_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset)
{
    ssize_t n;

    (void)ctx;
    RETRY(n, pread(fd, data, size, (off_t)offset));
    return n < 0 ? -errno : n;
}

static ssize_t
real_pwritev(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset)
{
    ssize_t n;

    (void)ctx;
    if (count == 1)
        RETRY(n, pwrite(fd, parts->iov_base, parts->iov_len, (off_t)offset));
    else
        RETRY(n, pwritev(fd, parts, count, (off_t)offset));
    return n < 0 ? -errno : n;
}

static int
real_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    /* Not repeated after EINTR either: what the first call saw is lost. */
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int
real_fsync(void *ctx, int fd)
{
    (void)ctx;
    return fsync(fd) < 0 ? -errno : 0;
}

static int
real_ftruncate(void *ctx, int fd, uint64_t size)
{
    int failed;

    (void)ctx;
    RETRY(failed, ftruncate(fd, (off_t)size));
    return failed < 0 ? -errno : 0;
}

static int
real_fallocate(void *ctx, int fd, uint64_t size)
{
    int failed;

    (void)ctx;
    RETRY(failed, fallocate(fd, 0, 0, (off_t)size));
    return failed < 0 ? -errno : 0;
}

static int
real_size(void *ctx, int fd, uint64_t *out_size)
{
    struct stat st;

    (void)ctx;
    if (fstat(fd, &st) < 0)
        return -errno;
    *out_size = (uint64_t)st.st_size;
    return 0;
}

static int
real_lock(void *ctx, int fd)
{
    int failed;

    (void)ctx;
    RETRY(failed, flock(fd, LOCK_EX | LOCK_NB));
    return failed < 0 ? -errno : 0;
}

static int
real_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to) < 0 ? -errno : 0;
}

static int
real_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path) < 0 ? -errno : 0;
}

static int
real_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    return mkdir(path, 0700) < 0 ? -errno : 0;
}

static int
real_list(void *ctx, const char *path, brd_io_list_fn fn, void *arg)
{
    DIR *dir = opendir(path);
    int result = 0;

    (void)ctx;
    if (dir == NULL)
        return -errno;
    while (result == 0) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            result = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = fn(arg, entry->d_name);
    }
    closedir(dir);
    return result;
}

static int
real_space(void *ctx, const char *path, uint64_t *out_free, uint64_t *out_total)
{
    struct statvfs st;
    int failed;

    (void)ctx;
    RETRY(failed, statvfs(path, &st));
    if (failed < 0)
        return -errno;
    if (__builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, out_free) ||
        __builtin_mul_overflow((uint64_t)st.f_blocks, (uint64_t)st.f_frsize, out_total))
        return -EOVERFLOW;
    return 0;
}

static const struct brd_io real_io = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pwritev = real_pwritev,
    .fdatasync = real_fdatasync,
    .fsync = real_fsync,
    .ftruncate = real_ftruncate,
    .fallocate = real_fallocate,
    .size = real_size,
    .lock = real_lock,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .list = real_list,
    .space = real_space,
};

const struct brd_io *
brd_io_real(void)
{
    return &real_io;
}

/* ---- Built on the table ---- */

int
brd_file_writev(const struct brd_io *io, int fd, struct iovec *parts, int count, uint64_t offset)
{
    while (count > 0) {
        ssize_t n;

        if (parts->iov_len == 0) {
            parts++;
            count--;
            continue;
        }
        n = io->pwritev(io->ctx, fd, parts, count < BRD_IO_PARTS_MAX ? count : BRD_IO_PARTS_MAX,
                        offset);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -EIO; /* would go on for ever */
        offset += (uint64_t)n;
        while (n > 0) {
            size_t step = (size_t)n < parts->iov_len ? (size_t)n : parts->iov_len;

            parts->iov_base = (uint8_t *)parts->iov_base + step;
            parts->iov_len -= step;
            n -= (ssize_t)step;
            if (parts->iov_len == 0) {
                parts++;
                count--;
            }
        }
    }
    return 0;
}

int
brd_file_write(const struct brd_io *io, int fd, const void *data, size_t size, uint64_t offset)
{
    struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };

    return brd_file_writev(io, fd, &part, 1, offset);
}

int
brd_file_read(const struct brd_io *io, int fd, void *data, size_t size, uint64_t offset,
              size_t *out_read)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = io->pread(io->ctx, fd, (uint8_t *)data + done, size - done, offset + done);

        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *out_read = done;
    return 0;
}

int
brd_file_sync_dir(const struct brd_io *io, const char *path)
{
    int fd = io->open(io->ctx, path, O_RDONLY | O_DIRECTORY);
    int result;

    if (fd < 0)
        return fd;
    result = io->fsync(io->ctx, fd);
    brd_file_close(io, &fd);
    return result;
}

/* The directory that holds path, in a new allocation, or NULL. */
static char *
parent_of(const char *path)
{
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    if (size == 0)
        return strdup(".");
    while (size > 1 && path[size - 1] == '/')
        size--;
    return strndup(path, size);
}

static int
sync_parent(const struct brd_io *io, const char *path)
{
    char *parent = parent_of(path);
    int result;

    if (parent == NULL)
        return -ENOMEM;
    result = brd_file_sync_dir(io, parent);
    free(parent);
    return result;
}

int
brd_file_make_dir(const struct brd_io *io, const char *path)
{
    int made = io->mkdir(io->ctx, path);
    int result;

    if (made < 0 && made != -EEXIST)
        return made;
    /* Also where it exists: whoever made it may have stopped before this. But
     * then the parent may well be none of our business. */
    result = sync_parent(io, path);
    if (made == -EEXIST && (result == -EACCES || result == -EPERM || result == -EROFS))
        return 0;
    return result;
}

int
brd_file_replace(const struct brd_io *io, const char *path, const void *data, size_t size)
{
    char *temporary = NULL;
    int fd = -1;
    int result;

    if (asprintf(&temporary, "%s.tmp", path) < 0)
        return -ENOMEM;
    fd = io->open(io->ctx, temporary, O_WRONLY | O_CREAT | O_TRUNC);
    result = fd < 0 ? fd : brd_file_write(io, fd, data, size, 0);
    if (result == 0)
        result = io->fsync(io->ctx, fd);
    brd_file_close(io, &fd);
    if (result == 0)
        result = io->rename(io->ctx, temporary, path);
    if (result == 0)
        result = sync_parent(io, path);
    free(temporary);
    return result;
}

void
brd_file_close(const struct brd_io *io, int *fd)
{
    if (*fd >= 0)
        io->close(io->ctx, *fd);
    *fd = -1;
}

enum brd_status
brd_file_status(int result)
{
    if (result >= 0)
        return BRD_OK;
    switch (-result) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return BRD_DISK_FULL;
    case ENOMEM:
        return BRD_OUT_OF_MEMORY;
    default:
        return BRD_IO_ERROR;
    }
}

const char *
brd_file_error(int result)
{
    const char *text = strerrordesc_np(result < 0 ? -result : 0);

    return text != NULL ? text : "unknown error";
}

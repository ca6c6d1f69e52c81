/* Lets chosen disk calls of a program fail, write short, or kill it.
 *
 *   FIO_OP=write FIO_PATH=/wal/ FIO_AT=3 FIO_ERRNO=ENOSPC LD_PRELOAD=.../faultio.so brindled ...
 *
 *   FIO_OP     write, fsync (fdatasync too), ftruncate, fallocate, rename, unlink, open
 *   FIO_PATH   only on files whose path contains this (default: all)
 *   FIO_AT     from this call on (1: the first; default 1)
 *   FIO_FOR    so many calls (0: all; default 1)
 *   FIO_ERRNO  the error, a number or one of the names below (default EIO)
 *   FIO_SHORT  writes: write only so many bytes instead of failing
 *   FIO_KILL=1 SIGKILL oneself at that call: before it, or after a short write
 *
 * With the address sanitizer its run-time comes first:
 *   LD_PRELOAD="$(gcc -print-file-name=libasan.so) .../faultio.so"
 *   ASAN_OPTIONS=verify_asan_link_order=0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Callers may have been compiled without seeing these. */
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset);
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset);
int ftruncate64(int fd, off64_t size);
int fallocate64(int fd, int mode, off64_t offset, off64_t size);
int open64(const char *path, int flags, ...);
int openat64(int dir, const char *path, int flags, ...);

static const struct {
    const char *name;
    int number;
} names[] = {
    { "EIO", EIO },     { "ENOSPC", ENOSPC }, { "EFBIG", EFBIG },   { "EDQUOT", EDQUOT },
    { "EROFS", EROFS }, { "EMFILE", EMFILE }, { "EACCES", EACCES }, { "EINTR", EINTR },
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *wanted_op;
static const char *wanted_path;
static long at = 1;
static long times = 1;
static long short_bytes = -1;
static int error_number = EIO;
static bool kills;
static atomic_long calls;

static long
number(const char *name, long fallback)
{
    const char *text = getenv(name);

    return text != NULL ? strtol(text, NULL, 10) : fallback;
}

static void
read_environment(void)
{
    const char *text = getenv("FIO_ERRNO");
    size_t i;

    wanted_op = getenv("FIO_OP");
    wanted_path = getenv("FIO_PATH");
    at = number("FIO_AT", 1);
    times = number("FIO_FOR", 1);
    short_bytes = number("FIO_SHORT", -1);
    kills = number("FIO_KILL", 0) != 0;
    if (text == NULL)
        return;
    error_number = (int)strtol(text, NULL, 10);
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i].name) == 0)
            error_number = names[i].number;
}

/* Is this call one of those? */
static bool
hit_path(const char *op, const char *path)
{
    long n;

    pthread_once(&once, read_environment);
    if (wanted_op == NULL || strcmp(wanted_op, op) != 0)
        return false;
    if (wanted_path != NULL && (path == NULL || strstr(path, wanted_path) == NULL))
        return false;
    n = atomic_fetch_add(&calls, 1) + 1;
    if (n < at || (times != 0 && n >= at + times))
        return false;
    if (kills && short_bytes < 0)
        kill(getpid(), SIGKILL);
    return true;
}

static bool
hit(const char *op, int fd)
{
    char link[64];
    char path[4096];
    int saved = errno;
    ssize_t size;

    pthread_once(&once, read_environment);
    if (wanted_op == NULL || strcmp(wanted_op, op) != 0)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path) - 1);
    errno = saved;
    if (size < 0)
        return false;
    path[size] = '\0';
    return hit_path(op, path);
}

/* The real function; the cast through a union is what dlsym asks for. */
#define REAL(type, name)           \
    static union {                 \
        void *object;              \
        __typeof__(type) function; \
    } real;                        \
    if (real.object == NULL)       \
    real.object = dlsym(RTLD_NEXT, name)

/* What a hit does to a write of so many bytes: how many are to be written, or
 * -1 with errno set. */
static ssize_t
bytes_at_hit(size_t size)
{
    if (short_bytes < 0) {
        errno = error_number;
        return -1;
    }
    return short_bytes < (long)size ? (ssize_t)short_bytes : (ssize_t)size;
}

static ssize_t
after_hit(ssize_t result)
{
    if (kills)
        kill(getpid(), SIGKILL);
    return result;
}

/* ---- Writes ---- */

ssize_t
write(int fd, const void *data, size_t size)
{
    ssize_t allowed;

    REAL(ssize_t(*)(int, const void *, size_t), "write");
    if (!hit("write", fd))
        return real.function(fd, data, size);
    allowed = bytes_at_hit(size);
    return allowed < 0 ? -1 : after_hit(real.function(fd, data, (size_t)allowed));
}

ssize_t
pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    ssize_t allowed;

    REAL(ssize_t(*)(int, const void *, size_t, off64_t), "pwrite64");
    if (!hit("write", fd))
        return real.function(fd, data, size, offset);
    allowed = bytes_at_hit(size);
    return allowed < 0 ? -1 : after_hit(real.function(fd, data, (size_t)allowed, offset));
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite64(fd, data, size, offset);
}

/* The first parts, cut to so many bytes. Returns how many parts. */
static int
cut_parts(const struct iovec *parts, int count, size_t bytes, struct iovec *out)
{
    int i;

    for (i = 0; i < count && i < 1024 && bytes > 0; i++) {
        out[i] = parts[i];
        if (out[i].iov_len > bytes)
            out[i].iov_len = bytes;
        bytes -= out[i].iov_len;
    }
    return i;
}

static size_t
parts_size(const struct iovec *parts, int count)
{
    size_t size = 0;
    int i;

    for (i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

ssize_t
pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    struct iovec some[1024];
    ssize_t allowed;

    REAL(ssize_t(*)(int, const struct iovec *, int, off64_t), "pwritev64");
    if (!hit("write", fd))
        return real.function(fd, parts, count, offset);
    allowed = bytes_at_hit(parts_size(parts, count));
    if (allowed < 0)
        return -1;
    return after_hit(
        real.function(fd, some, cut_parts(parts, count, (size_t)allowed, some), offset));
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(fd, parts, count, offset);
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
    struct iovec some[1024];
    ssize_t allowed;

    REAL(ssize_t(*)(int, const struct iovec *, int), "writev");
    if (!hit("write", fd))
        return real.function(fd, parts, count);
    allowed = bytes_at_hit(parts_size(parts, count));
    if (allowed < 0)
        return -1;
    return after_hit(real.function(fd, some, cut_parts(parts, count, (size_t)allowed, some)));
}

/* ---- The others ---- */

static int
fail(void)
{
    errno = error_number;
    return -1;
}

int
fsync(int fd)
{
    REAL(int (*)(int), "fsync");
    return hit("fsync", fd) ? fail() : real.function(fd);
}

int
fdatasync(int fd)
{
    REAL(int (*)(int), "fdatasync");
    return hit("fsync", fd) ? fail() : real.function(fd);
}

int
ftruncate64(int fd, off64_t size)
{
    REAL(int (*)(int, off64_t), "ftruncate64");
    return hit("ftruncate", fd) ? fail() : real.function(fd, size);
}

int
ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

int
fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    REAL(int (*)(int, int, off64_t, off64_t), "fallocate64");
    return hit("fallocate", fd) ? fail() : real.function(fd, mode, offset, size);
}

int
fallocate(int fd, int mode, off_t offset, off_t size)
{
    return fallocate64(fd, mode, offset, size);
}

int
rename(const char *from, const char *to)
{
    REAL(int (*)(const char *, const char *), "rename");
    return hit_path("rename", from) ? fail() : real.function(from, to);
}

int
unlink(const char *path)
{
    REAL(int (*)(const char *), "unlink");
    return hit_path("unlink", path) ? fail() : real.function(path);
}

/* The mode of an open that may create. */
#define TAKE_MODE(flags)                           \
    va_list args;                                  \
    mode_t mode = 0;                               \
    va_start(args, flags);                         \
    if (((flags) & (O_CREAT | __O_TMPFILE)) != 0)  \
        mode = (mode_t)va_arg(args, unsigned int); \
    va_end(args)

int
open64(const char *path, int flags, ...)
{
    REAL(int (*)(const char *, int, ...), "open64");
    TAKE_MODE(flags);
    return hit_path("open", path) ? fail() : real.function(path, flags, mode);
}

int
open(const char *path, int flags, ...)
{
    REAL(int (*)(const char *, int, ...), "open");
    TAKE_MODE(flags);
    return hit_path("open", path) ? fail() : real.function(path, flags, mode);
}

int
openat64(int dir, const char *path, int flags, ...)
{
    REAL(int (*)(int, const char *, int, ...), "openat64");
    TAKE_MODE(flags);
    return hit_path("open", path) ? fail() : real.function(dir, path, flags, mode);
}

int
openat(int dir, const char *path, int flags, ...)
{
    REAL(int (*)(int, const char *, int, ...), "openat");
    TAKE_MODE(flags);
    return hit_path("open", path) ? fail() : real.function(dir, path, flags, mode);
}

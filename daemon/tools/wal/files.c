#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define COPY_STEP ((size_t)1 << 20)

bool
files_join(char out[FILES_PATH_MAX], const char *dir, const char *name)
{
    return snprintf(out, FILES_PATH_MAX, "%s/%s", dir, name) < FILES_PATH_MAX;
}

void
files_parent(char out[FILES_PATH_MAX], const char *path)
{
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (size == 0)
        snprintf(out, FILES_PATH_MAX, ".");
    else
        snprintf(out, FILES_PATH_MAX, "%.*s", (int)size, path);
}

bool
files_stamp(char out[FILES_PATH_MAX], const char *path, const char *word)
{
    size_t size = strlen(path);
    time_t now = time(NULL);
    char when[32];
    struct stat st;
    struct tm tm;
    int n;
    int i;

    while (size > 1 && path[size - 1] == '/')
        size--;
    if (gmtime_r(&now, &tm) == NULL || strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm) == 0)
        return false;
    n = snprintf(out, FILES_PATH_MAX, "%.*s.%s-%s", (int)size, path, word, when);
    for (i = 2; n < FILES_PATH_MAX && lstat(out, &st) == 0; i++)
        n = snprintf(out, FILES_PATH_MAX, "%.*s.%s-%s-%d", (int)size, path, word, when, i);
    return n < FILES_PATH_MAX;
}

static int
note_data(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "lock") == 0 || strcmp(name, "lost+found") == 0 ? 0 : 1;
}

int
files_is_free(const char *dir, bool *out_free)
{
    const struct brd_io *io = brd_io_real();
    int result = io->list(io->ctx, dir, note_data, NULL);

    *out_free = result == 0 || result == -ENOENT;
    return result == -ENOENT || result == 1 ? 0 : result;
}

int
files_size(const char *path, uint64_t *out_bytes)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return -errno;
    *out_bytes = (uint64_t)st.st_size;
    return 0;
}

int
files_room(const char *dir, uint64_t *out_bytes)
{
    struct statvfs fs;

    if (statvfs(dir, &fs) != 0)
        return -errno;
    *out_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

bool
files_same_disk(const char *a, const char *b)
{
    struct stat left;
    struct stat right;

    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev;
}

static int
copy_content(const struct brd_io *in, int from, const struct brd_io *io, int to)
{
    uint8_t *buffer = malloc(COPY_STEP);
    uint64_t offset = 0;
    size_t size = 1;
    int result = buffer == NULL ? -ENOMEM : 0;

    while (result == 0 && size > 0) {
        result = brd_file_read(in, from, buffer, COPY_STEP, offset, &size);
        if (result == 0)
            result = brd_file_write(io, to, buffer, size, offset);
        offset += size;
    }
    free(buffer);
    return result != 0 ? result : io->fdatasync(io->ctx, to);
}

int
files_copy(const struct brd_io *in, const char *path, const char *out)
{
    const struct brd_io *io = brd_io_real();
    int from = in->open(in->ctx, path, O_RDONLY);
    int to = from < 0 ? from : io->open(io->ctx, out, O_RDWR | O_CREAT | O_EXCL);
    int result = to < 0 ? to : copy_content(in, from, io, to);

    if (to >= 0 && result != 0)
        (void)io->unlink(io->ctx, out);
    brd_file_close(in, &from);
    brd_file_close(io, &to);
    return result;
}

int
files_move(const char *path, const char *out)
{
    const struct brd_io *io = brd_io_real();
    int result = io->rename(io->ctx, path, out);

    if (result != -EXDEV)
        return result;
    result = files_copy(io, path, out);
    return result != 0 ? result : io->unlink(io->ctx, path);
}

int
files_exchange(const char *a, const char *b)
{
    const struct brd_io *io = brd_io_real();
    char between[FILES_PATH_MAX];
    int result;

    if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (!files_stamp(between, b, "moving"))
        return -ENAMETOOLONG;
    result = io->rename(io->ctx, b, between);
    if (result != 0)
        return result;
    result = io->rename(io->ctx, a, b);
    if (result != 0) {
        (void)io->rename(io->ctx, between, b);
        return result;
    }
    return io->rename(io->ctx, between, a);
}

/* ---- What a data directory holds ---- */

struct each {
    const char *dir;
    void (*fn)(void *arg, const char *path);
    void *arg;
};

static int
call_with_path(void *arg, const char *name)
{
    const struct each *each = arg;
    char path[FILES_PATH_MAX];

    if (files_join(path, each->dir, name))
        each->fn(each->arg, path);
    return 0;
}

/* Call fn for the files in wal and snapshots, then for these two, then for meta and lock. */
static void
for_each(const char *dir, void (*fn)(void *arg, const char *path), void *arg)
{
    static const char *const names[] = { "wal", "snapshots", "meta", "meta.tmp", "lock" };
    const struct brd_io *io = brd_io_real();
    char path[FILES_PATH_MAX];
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct each each = { .dir = path, .fn = fn, .arg = arg };

        if (!files_join(path, dir, names[i]))
            continue;
        if (i < 2)
            (void)io->list(io->ctx, path, call_with_path, &each);
        fn(arg, path);
    }
}

static void
remove_path(void *arg, const char *path)
{
    const struct brd_io *io = brd_io_real();

    (void)arg;
    if (io->unlink(io->ctx, path) != 0)
        (void)rmdir(path);
}

void
files_remove_data(const char *dir, bool itself)
{
    for_each(dir, remove_path, NULL);
    if (itself)
        (void)rmdir(dir);
}

void
files_remove_free(const char *dir)
{
    const struct brd_io *io = brd_io_real();
    char path[FILES_PATH_MAX];

    if (files_join(path, dir, "lock"))
        (void)io->unlink(io->ctx, path);
    (void)rmdir(dir);
}

static void
give_path(void *arg, const char *path)
{
    const struct stat *owner = arg;

    if (lchown(path, owner->st_uid, owner->st_gid) != 0)
        return; /* who may not give away keeps */
}

void
files_give(const char *dir, const struct stat *owner)
{
    struct stat to = *owner;

    if (geteuid() != 0)
        return;
    for_each(dir, give_path, &to);
    give_path(&to, dir);
}

/* ---- The lock ---- */

static void
read_holder(int fd, char out_holder[32])
{
    size_t size = 0;

    if (brd_file_read(brd_io_real(), fd, out_holder, 31, 0, &size) != 0)
        size = 0;
    out_holder[size] = '\0';
    out_holder[strcspn(out_holder, "\n")] = '\0';
    if (out_holder[0] == '\0')
        snprintf(out_holder, 32, "unknown");
}

int
files_lock(const char *dir, bool make, int *out_fd, char out_holder[32])
{
    const struct brd_io *io = brd_io_real();
    char path[FILES_PATH_MAX];
    int result;

    *out_fd = -1;
    if (!files_join(path, dir, "lock"))
        return -ENAMETOOLONG;
    *out_fd = io->open(io->ctx, path, make ? O_RDWR | O_CREAT : O_RDWR);
    if (*out_fd < 0) {
        result = *out_fd;
        *out_fd = -1;
        return result == -ENOENT && !make ? 0 : result;
    }
    result = io->lock(io->ctx, *out_fd);
    if (result == -EWOULDBLOCK)
        read_holder(*out_fd, out_holder);
    if (result != 0)
        brd_file_close(io, out_fd);
    return result;
}

/* ---- A place for data ---- */

int
files_place_take(struct files_place *place, const char *dir)
{
    const struct brd_io *io = brd_io_real();
    bool is_free = false;
    struct stat st;
    int result;

    *place = (struct files_place){ .dir = dir, .lock_fd = -1 };
    place->made = stat(dir, &st) != 0 && errno == ENOENT;
    result = place->made ? io->mkdir(io->ctx, dir) : files_is_free(dir, &is_free);
    if (result == 0 && !place->made && !is_free)
        return -EEXIST;
    if (result == 0)
        result = files_lock(dir, true, &place->lock_fd, place->holder);
    /* Somebody may have been quicker. */
    if (result == 0)
        result = files_is_free(dir, &is_free);
    if (result == 0 && !is_free)
        result = -EEXIST;
    if (result != 0 && place->made)
        (void)rmdir(dir);
    if (result != 0)
        brd_file_close(io, &place->lock_fd);
    return result;
}

void
files_place_leave(struct files_place *place, bool keep)
{
    if (!keep)
        files_remove_data(place->dir, place->made);
    brd_file_close(brd_io_real(), &place->lock_fd);
}

/* Order of opening: meta, segments, snapshots, segments again.
 *
 * Segments before snapshots: a snapshot that replaces some of the log is there before
 * those segments go, so the snapshot that is found needs no segment that is older than
 * those that were opened. Segments again: a snapshot has its name only after the log up to
 * its end was synced, so all of that is in segments that exist by then. meta is a
 * copy, taken first: the newest segment that it names exists. What is left to go wrong, and to
 * be tried again: the oldest one that it names has been removed by then, or the daemon, by starting
 * or by turning encryption off, has made a file that this meta says cannot be.
 *
 * A daemon may use the file of a segment that it has removed again (wal/spare.h), but not
 * while somebody has a lock on it, and it takes the name away before it asks for the lock. So a file
 * that has its name still when it is locked keeps its content. */
#include "pin.h"

#include "engine/engine.h"
#include "health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATTEMPTS   50
#define META_BYTES 8192

struct pinned {
    char *path; /* owned */
    int fd;
};

struct pin {
    struct brd_io io;
    char *dir;                      /* owned */
    const struct brd_keyring *keys; /* borrowed until it is open */
    struct pinned *files;           /* owned */
    size_t count;
    uint8_t meta[META_BYTES];
};

/* ---- The calls ---- */

static const struct pinned *
find(const struct pin *pin, const char *path)
{
    size_t i;

    for (i = 0; i < pin->count; i++)
        if (strcmp(pin->files[i].path, path) == 0)
            return &pin->files[i];
    return NULL;
}

static int
pin_open_file(void *ctx, const char *path, int flags)
{
    const struct pin *pin = ctx;
    const struct pinned *pinned = find(pin, path);
    int fd;

    if (pinned == NULL)
        return brd_io_real()->open(NULL, path, flags);
    fd = fcntl(pinned->fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* The name of a file in dir, or NULL. */
static const char *
name_in(const char *dir, const char *path)
{
    size_t size = strlen(dir);

    return strncmp(path, dir, size) == 0 && path[size] == '/' &&
                   strchr(path + size + 1, '/') == NULL
               ? path + size + 1
               : NULL;
}

static bool
is_folder(const struct pin *pin, const char *path, const char *folder)
{
    size_t size = strlen(pin->dir);

    return strncmp(path, pin->dir, size) == 0 && path[size] == '/' &&
           strcmp(path + size + 1, folder) == 0;
}

static int
pin_list(void *ctx, const char *path, brd_io_list_fn fn, void *arg)
{
    const struct pin *pin = ctx;
    int result = 0;
    size_t i;

    if (!is_folder(pin, path, "wal") && !is_folder(pin, path, "snapshots"))
        return brd_io_real()->list(NULL, path, fn, arg);
    for (i = 0; result == 0 && i < pin->count; i++) {
        const char *name = name_in(path, pin->files[i].path);

        if (name != NULL)
            result = fn(arg, name);
    }
    return result;
}

/* ---- Opening ---- */

static int
add(struct pin *pin, char *path, int fd)
{
    struct pinned *files = realloc(pin->files, (pin->count + 1) * sizeof(*files));

    if (files == NULL)
        return -ENOMEM;
    pin->files = files;
    pin->files[pin->count++] = (struct pinned){ .path = path, .fd = fd };
    return 0;
}

/* Lock an open file. 0; -ENOENT: it has lost its name; or another -errno. */
static int
hold(int fd, const char *path)
{
    struct stat named;
    struct stat held;

    while (flock(fd, LOCK_SH | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return -ENOENT; /* only a file that has no segment's name is ever locked otherwise */
        if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS)
            break; /* then the daemon gets no lock either */
        if (errno != EINTR)
            return -errno;
    }
    if (fstat(fd, &held) < 0 || stat(path, &named) < 0)
        return -errno;
    return held.st_dev == named.st_dev && held.st_ino == named.st_ino ? 0 : -ENOENT;
}

struct folder {
    struct pin *pin;
    const char *path;
};

static int
pin_name(void *arg, const char *name)
{
    const struct folder *folder = arg;
    const struct brd_io *io = brd_io_real();
    char *path = NULL;
    int result;
    int fd;

    if (asprintf(&path, "%s/%s", folder->path, name) < 0)
        return -ENOMEM;
    if (find(folder->pin, path) != NULL) {
        free(path);
        return 0;
    }
    fd = io->open(io->ctx, path, O_RDONLY);
    result = fd < 0 ? fd : hold(fd, path);
    if (result == 0)
        result = add(folder->pin, path, fd);
    if (result != 0) {
        free(path);
        brd_file_close(io, &fd);
    }
    return result == -ENOENT ? 0 : result; /* gone since it was listed */
}

static int
pin_folder(struct pin *pin, const char *name)
{
    const struct brd_io *io = brd_io_real();
    struct folder folder = { .pin = pin };
    char *path = NULL;
    int result;

    if (asprintf(&path, "%s/%s", pin->dir, name) < 0)
        return -ENOMEM;
    folder.path = path;
    result = io->list(io->ctx, path, pin_name, &folder);
    free(path);
    return result == -ENOENT ? 0 : result;
}

/* A copy, in memory: the file is changed in place. */
static int
pin_meta(struct pin *pin)
{
    const struct brd_io *io = brd_io_real();
    char *path = NULL;
    size_t size = 0;
    int result;
    int fd;

    if (asprintf(&path, "%s/meta", pin->dir) < 0)
        return -ENOMEM;
    fd = io->open(io->ctx, path, O_RDONLY);
    result = fd < 0 ? fd : brd_file_read(io, fd, pin->meta, sizeof(pin->meta), 0, &size);
    brd_file_close(io, &fd);
    if (result == 0) {
        fd = memfd_create("meta", MFD_CLOEXEC);
        result = fd < 0 ? -errno : brd_file_write(io, fd, pin->meta, size, 0);
        if (result == 0)
            result = add(pin, path, fd);
        if (result == 0)
            return 0;
        brd_file_close(io, &fd);
    }
    free(path);
    return result == -ENOENT ? 0 : result;
}

static void
close_files(struct pin *pin)
{
    size_t i;

    for (i = 0; i < pin->count; i++) {
        brd_file_close(brd_io_real(), &pin->files[i].fd);
        free(pin->files[i].path);
    }
    free(pin->files);
    pin->files = NULL;
    pin->count = 0;
}

static int
open_files(struct pin *pin)
{
    int result = pin_meta(pin);

    if (result == 0)
        result = pin_folder(pin, "wal");
    if (result == 0)
        result = pin_folder(pin, "snapshots");
    return result != 0 ? result : pin_folder(pin, "wal");
}

/* Do the files belong together, as far as their beginnings tell? */
static enum brd_status
look(const struct pin *pin, struct brd_wal_error *error)
{
    const struct brd_wal_options options = {
        .dir = pin->dir, .io = &pin->io, .keys = pin->keys, .read_only = true
    };
    struct brd_snapshot_error snapshot_error = { .text = "" };
    struct brd_snapshot_info info;
    struct brd_snapshot_log log;
    struct brd_wal *wal = NULL;
    enum brd_status status = brd_wal_open(&options, &wal, error);

    if (status != BRD_OK)
        return status;
    log = health_log(wal, UINT64_MAX);
    status = brd_snapshot_check(&pin->io, pin->keys, pin->dir, &log, false, &info, &snapshot_error);
    memcpy(error->text, snapshot_error.text, sizeof(error->text));
    brd_wal_close(&wal);
    return status;
}

static void
allow_many_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* One attempt. *out_again: it may do better the next time. */
static enum brd_status
attempt(struct pin *pin, bool *out_again, struct brd_wal_error *error)
{
    struct brd_wal_error before = *error;
    uint8_t meta[META_BYTES];
    enum brd_status status;
    int result;

    memcpy(meta, pin->meta, sizeof(meta));
    close_files(pin);
    error->text[0] = '\0';
    result = open_files(pin);
    *out_again = false;
    if (result != 0) {
        snprintf(error->text, sizeof(error->text), "cannot open the files of %s: %s", pin->dir,
                 brd_file_error(result));
        snprintf(error->path, sizeof(error->path), "%s", pin->dir);
        return brd_file_status(result);
    }
    status = look(pin, error);
    /* Twice the same in a directory that did not change: it is so. */
    *out_again = status == BRD_CORRUPT && (memcmp(meta, pin->meta, sizeof(meta)) != 0 ||
                                           strcmp(before.text, error->text) != 0);
    return BRD_OK;
}

enum brd_status
pin_open(const char *dir, const struct brd_keyring *keys, struct pin **out_pin,
         struct brd_wal_error *out_error)
{
    struct pin *pin = calloc(1, sizeof(*pin));
    enum brd_status status = BRD_OUT_OF_MEMORY;
    bool again = true;
    int i;

    *out_error = (struct brd_wal_error){ .text = "out of memory" };
    if (pin == NULL)
        return status;
    pin->io = *brd_io_real();
    pin->io.ctx = pin;
    pin->io.open = pin_open_file;
    pin->io.list = pin_list;
    pin->keys = keys;
    pin->dir = strdup(dir);
    if (pin->dir != NULL)
        status = BRD_OK;
    allow_many_files();
    for (i = 0; status == BRD_OK && again && i < ATTEMPTS; i++)
        status = attempt(pin, &again, out_error);
    if (status == BRD_OK && again) {
        status = BRD_BUSY;
        snprintf(out_error->text, sizeof(out_error->text),
                 "the files of %s came and went while they were opened, %d times; try again", dir,
                 ATTEMPTS);
        snprintf(out_error->path, sizeof(out_error->path), "%s", dir);
    }
    if (status != BRD_OK) {
        pin_close(&pin);
        return status;
    }
    *out_pin = pin;
    return BRD_OK;
}

const struct brd_io *
pin_io(const struct pin *pin)
{
    return &pin->io;
}

void
pin_close(struct pin **pin_at)
{
    struct pin *pin = *pin_at;

    if (pin == NULL)
        return;
    close_files(pin);
    free(pin->dir);
    free(pin);
    *pin_at = NULL;
}

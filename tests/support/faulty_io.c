/* Inodes hold two contents, as every reader sees it and as it is on the platter,
 * and a bit for each sector in which they may differ. Names are a list that maps
 * paths to inodes, with a second list for the platter and a journal of the changes
 * between the two. */
#include "support/faulty_io.h"

#include "base/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR      512u
#define FILES_MAX   4096
#define FDS_MAX     1024
#define FD_BASE     1000000 /* so that none is mistaken for a real one */
#define JOURNAL_MAX 4096

struct content {
    uint8_t *data;
    size_t size;
    size_t room;
};

struct inode {
    int refs; /* names in both lists, descriptors, journal entries */
    bool directory;
    bool locked;
    struct content seen;
    struct content platter;
    uint8_t *dirty; /* one byte a sector */
    size_t dirty_room;
    bool size_dirty;
};

struct name {
    char *path;
    struct inode *inode;
};

struct names {
    struct name *entries;
    size_t count;
    size_t room;
};

/* One change of names: from goes away, to appears. */
struct change {
    char *from; /* NULL: none */
    char *to;   /* NULL: none */
    struct inode *inode;
};

struct descriptor {
    struct inode *inode;
    char *path;
    bool locked;
};

struct fault {
    long nth; /* calls until it happens; 0: none */
    long times;
    int error;
};

struct faulty {
    struct brd_io io;
    pthread_mutex_t lock;
    struct names seen;
    struct names platter;
    struct change journal[JOURNAL_MAX];
    size_t journal_count;
    struct descriptor fds[FDS_MAX];
    struct fault faults[FAULTY_KINDS];
    char *fault_path;
    uint64_t capacity; /* 0: no end */
    uint64_t others;   /* taken by files that are not here */
    long short_nth;
    size_t short_bytes;
    long cut_nth;
    bool cut;
    bool hit;
    uint64_t calls[FAULTY_KINDS];
    uint64_t changes;
    uint64_t random;
    void (*hook)(void *arg, enum faulty_kind kind);
    void *hook_arg;
};

static void *
must(void *memory)
{
    BRD_CHECK(memory != NULL);
    return memory;
}

static char *
copy_text(const char *text)
{
    return text == NULL ? NULL : must(strdup(text));
}

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- Content ---- */

static void
content_resize(struct content *content, size_t size)
{
    if (size > content->room) {
        size_t room = content->room == 0 ? 8192 : content->room;

        while (room < size)
            room *= 2;
        content->data = must(realloc(content->data, room));
        content->room = room;
    }
    if (size > content->size)
        memset(content->data + content->size, 0, size - content->size);
    content->size = size;
}

static void
content_copy(struct content *to, const struct content *from)
{
    content_resize(to, 0);
    content_resize(to, from->size);
    if (from->size > 0)
        memcpy(to->data, from->data, from->size);
}

static void
mark_dirty(struct inode *inode, uint64_t from, uint64_t to)
{
    size_t sectors = (size_t)(to + SECTOR - 1) / SECTOR;
    size_t i;

    if (to <= from)
        return;
    if (sectors > inode->dirty_room) {
        size_t room = sectors * 2;

        inode->dirty = must(realloc(inode->dirty, room));
        memset(inode->dirty + inode->dirty_room, 0, room - inode->dirty_room);
        inode->dirty_room = room;
    }
    for (i = (size_t)from / SECTOR; i < sectors; i++)
        inode->dirty[i] = 1;
}

/* Bring one sector onto the platter. */
static void
settle_sector(struct inode *inode, size_t sector)
{
    size_t from = sector * SECTOR;
    size_t to = from + SECTOR < inode->seen.size ? from + SECTOR : inode->seen.size;

    if (from >= to)
        return;
    if (inode->platter.size < to)
        content_resize(&inode->platter, to);
    memcpy(inode->platter.data + from, inode->seen.data + from, to - from);
}

static void
settle(struct inode *inode)
{
    size_t i;

    for (i = 0; i < inode->dirty_room; i++)
        if (inode->dirty[i]) {
            settle_sector(inode, i);
            inode->dirty[i] = 0;
        }
    if (inode->platter.size != inode->seen.size)
        content_resize(&inode->platter, inode->seen.size);
    inode->size_dirty = false;
}

static void
lose_power(struct inode *inode, enum faulty_keep keep, uint64_t *random)
{
    size_t i;

    if (keep == FAULTY_KEEP_ALL) {
        settle(inode);
        return;
    }
    for (i = 0; i < inode->dirty_room; i++) {
        if (inode->dirty[i] && keep == FAULTY_KEEP_SOME && next_random(random) % 2 == 0)
            settle_sector(inode, i);
        inode->dirty[i] = 0;
    }
    /* A size may have been written although the content was not, and may not. */
    if (inode->size_dirty && keep == FAULTY_KEEP_SOME && next_random(random) % 2 == 0)
        content_resize(&inode->platter, inode->seen.size);
    inode->size_dirty = false;
    content_copy(&inode->seen, &inode->platter);
}

/* They will not be written, but are still what readers see. */
static void
forget_sectors(struct inode *inode)
{
    size_t i;

    for (i = 0; i < inode->dirty_room; i++)
        inode->dirty[i] = 0;
}

static void
inode_unref(struct inode *inode)
{
    if (--inode->refs > 0)
        return;
    free(inode->seen.data);
    free(inode->platter.data);
    free(inode->dirty);
    free(inode);
}

static struct inode *
inode_create(bool directory)
{
    struct inode *inode = must(calloc(1, sizeof(*inode)));

    inode->directory = directory;
    return inode;
}

/* ---- Names ---- */

static struct name *
find(struct names *names, const char *path)
{
    size_t i;

    for (i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].path, path) == 0)
            return &names->entries[i];
    return NULL;
}

static void
put_name(struct names *names, const char *path, struct inode *inode)
{
    struct name *old = find(names, path);

    inode->refs++;
    if (old != NULL) {
        inode_unref(old->inode);
        old->inode = inode;
        return;
    }
    if (names->count == names->room) {
        names->room = names->room == 0 ? 16 : names->room * 2;
        names->entries = must(realloc(names->entries, names->room * sizeof(*names->entries)));
    }
    BRD_CHECK(names->count < FILES_MAX);
    names->entries[names->count++] = (struct name){ .path = copy_text(path), .inode = inode };
}

static void
drop_name(struct names *names, const char *path)
{
    struct name *old = find(names, path);

    if (old == NULL)
        return;
    free(old->path);
    inode_unref(old->inode);
    *old = names->entries[--names->count];
}

static void
clear_names(struct names *names)
{
    while (names->count > 0)
        drop_name(names, names->entries[0].path);
}

static void
apply_change(struct names *names, const struct change *change)
{
    if (change->from != NULL)
        drop_name(names, change->from);
    if (change->to != NULL)
        put_name(names, change->to, change->inode);
}

static void
free_change(struct change *change)
{
    free(change->from);
    free(change->to);
    if (change->inode != NULL)
        inode_unref(change->inode);
}

static void
change_names(struct faulty *disk, const char *from, const char *to, struct inode *inode)
{
    struct change change = { .from = copy_text(from), .to = copy_text(to), .inode = inode };

    BRD_CHECK(disk->journal_count < JOURNAL_MAX);
    if (inode != NULL)
        inode->refs++;
    apply_change(&disk->seen, &change);
    disk->journal[disk->journal_count++] = change;
}

/* Is `directory` where path's last part lives? */
static bool
lies_in(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    const char *slash;

    if (path == NULL)
        return false;
    slash = strrchr(path, '/');
    if (slash == NULL)
        return strcmp(directory, ".") == 0;
    if (slash == path)
        return strcmp(directory, "/") == 0;
    return (size_t)(slash - path) == size && strncmp(path, directory, size) == 0;
}

static void
settle_names(struct faulty *disk, const char *directory)
{
    size_t kept = 0;
    size_t i;

    for (i = 0; i < disk->journal_count; i++) {
        struct change *change = &disk->journal[i];

        if (lies_in(change->from, directory) || lies_in(change->to, directory)) {
            apply_change(&disk->platter, change);
            free_change(change);
        } else {
            disk->journal[kept++] = *change;
        }
    }
    disk->journal_count = kept;
}

static bool
is_directory(struct faulty *disk, const char *path)
{
    struct name *name = find(&disk->seen, path);

    return strcmp(path, "/") == 0 || strcmp(path, ".") == 0 ||
           (name != NULL && name->inode->directory);
}

static bool
parent_exists(struct faulty *disk, const char *path)
{
    char parent[1024];
    char *slash;

    snprintf(parent, sizeof(parent), "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return true;
    *slash = '\0';
    return is_directory(disk, parent);
}

/* ---- Faults ---- */

/* Begin a call: locked on return, unless the result is an error. */
static int
enter(struct faulty *disk, enum faulty_kind kind, const char *path, bool changes)
{
    struct fault *fault = &disk->faults[kind];
    void (*hook)(void *arg, enum faulty_kind kind);
    void *hook_arg;
    int error = 0;

    pthread_mutex_lock(&disk->lock);
    hook = disk->hook;
    hook_arg = disk->hook_arg;
    pthread_mutex_unlock(&disk->lock);
    if (hook != NULL)
        hook(hook_arg, kind);
    pthread_mutex_lock(&disk->lock);
    disk->calls[kind]++;
    if (disk->cut) {
        error = EIO;
    } else if (changes) {
        disk->changes++;
        if (disk->cut_nth > 0 && --disk->cut_nth == 0) {
            disk->cut = true;
            disk->hit = true;
            /* What was asked for is under way; a write's data may get there. */
            error = kind == FAULTY_WRITE ? 0 : EIO;
        }
    }
    if (error == 0 && fault->nth != 0 &&
        (disk->fault_path == NULL || (path != NULL && strstr(path, disk->fault_path) != NULL))) {
        if (fault->nth > 1) {
            fault->nth--;
        } else {
            error = fault->error;
            disk->hit = true;
            if (fault->times > 0 && --fault->times == 0)
                fault->nth = 0;
        }
    }
    if (error != 0)
        pthread_mutex_unlock(&disk->lock);
    return -error;
}

static int
leave(struct faulty *disk, int result)
{
    pthread_mutex_unlock(&disk->lock);
    return result;
}

static struct descriptor *
descriptor(struct faulty *disk, int fd)
{
    int i = fd - FD_BASE;

    BRD_CHECK(i >= 0 && i < FDS_MAX);
    return disk->fds[i].inode == NULL ? NULL : &disk->fds[i];
}

static const char *
path_of(struct faulty *disk, int fd, char *out, size_t size)
{
    struct descriptor *open_file;

    pthread_mutex_lock(&disk->lock);
    open_file = descriptor(disk, fd);
    snprintf(out, size, "%s", open_file != NULL ? open_file->path : "");
    pthread_mutex_unlock(&disk->lock);
    return out;
}

/* ---- Space ---- */

#define ENDLESS (UINT64_C(1) << 50)

/* Under the lock. */
static uint64_t
free_bytes(const struct faulty *disk)
{
    uint64_t used = disk->others;
    size_t i;

    if (disk->capacity == 0)
        return ENDLESS;
    for (i = 0; i < disk->seen.count; i++)
        used += disk->seen.entries[i].inode->seen.size;
    return used < disk->capacity ? disk->capacity - used : 0;
}

/* May a file grow to size? Under the lock. */
static bool
fits(const struct faulty *disk, const struct inode *inode, uint64_t size)
{
    return size <= inode->seen.size || disk->capacity == 0 ||
           size - inode->seen.size <= free_bytes(disk);
}

/* ---- The table ---- */

static int
mem_open(void *ctx, const char *path, int flags)
{
    struct faulty *disk = ctx;
    struct name *name;
    struct inode *inode;
    bool creates;
    int result;
    int i;

    pthread_mutex_lock(&disk->lock);
    creates = (flags & O_TRUNC) != 0 || ((flags & O_CREAT) != 0 && find(&disk->seen, path) == NULL);
    pthread_mutex_unlock(&disk->lock);
    result = enter(disk, FAULTY_OPEN, path, creates);
    if (result != 0)
        return result;
    name = find(&disk->seen, path);
    if ((flags & O_DIRECTORY) != 0 && !is_directory(disk, path))
        return leave(disk, name == NULL ? -ENOENT : -ENOTDIR);
    if (name == NULL && (flags & O_DIRECTORY) != 0) { /* "/" and "." */
        inode = inode_create(true);
    } else if (name == NULL) {
        if ((flags & O_CREAT) == 0 || !parent_exists(disk, path))
            return leave(disk, -ENOENT);
        inode = inode_create(false);
        change_names(disk, NULL, path, inode);
    } else {
        inode = name->inode;
        if (inode->directory && (flags & O_DIRECTORY) == 0 && (flags & O_ACCMODE) != O_RDONLY)
            return leave(disk, -EISDIR);
    }
    if ((flags & O_TRUNC) != 0) {
        content_resize(&inode->seen, 0);
        inode->size_dirty = true;
    }
    for (i = 0; i < FDS_MAX && disk->fds[i].inode != NULL; i++)
        ;
    BRD_CHECK(i < FDS_MAX);
    inode->refs++;
    disk->fds[i] = (struct descriptor){ .inode = inode, .path = copy_text(path) };
    return leave(disk, FD_BASE + i);
}

static void
close_descriptor(struct descriptor *open_file)
{
    if (open_file->locked)
        open_file->inode->locked = false;
    inode_unref(open_file->inode);
    free(open_file->path);
    *open_file = (struct descriptor){ 0 };
}

static int
mem_close(void *ctx, int fd)
{
    struct faulty *disk = ctx;
    struct descriptor *open_file;

    pthread_mutex_lock(&disk->lock);
    disk->calls[FAULTY_CLOSE]++;
    open_file = descriptor(disk, fd);
    if (open_file != NULL)
        close_descriptor(open_file);
    return leave(disk, open_file != NULL ? 0 : -EBADF);
}

static ssize_t
mem_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset)
{
    struct faulty *disk = ctx;
    struct descriptor *open_file;
    char path[512];
    size_t n = 0;
    int result = enter(disk, FAULTY_READ, path_of(disk, fd, path, sizeof(path)), false);

    if (result != 0)
        return result;
    open_file = descriptor(disk, fd);
    if (open_file == NULL)
        return leave(disk, -EBADF);
    if (offset < open_file->inode->seen.size) {
        n = open_file->inode->seen.size - (size_t)offset;
        if (n > size)
            n = size;
        memcpy(data, open_file->inode->seen.data + offset, n);
    }
    leave(disk, 0);
    return (ssize_t)n;
}

static ssize_t
mem_pwritev(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset)
{
    struct faulty *disk = ctx;
    struct descriptor *open_file;
    struct inode *inode;
    char path[512];
    size_t total = 0;
    size_t done = 0;
    int result = enter(disk, FAULTY_WRITE, path_of(disk, fd, path, sizeof(path)), true);
    int i;

    if (result != 0)
        return result;
    open_file = descriptor(disk, fd);
    if (open_file == NULL)
        return leave(disk, -EBADF);
    inode = open_file->inode;
    for (i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (disk->short_nth > 0 && --disk->short_nth == 0 && disk->short_bytes < total) {
        total = disk->short_bytes;
        disk->hit = true;
    }
    if (!fits(disk, inode, offset + total))
        return leave(disk, -ENOSPC);
    if (offset + total > inode->seen.size) {
        content_resize(&inode->seen, (size_t)offset + total);
        inode->size_dirty = true;
    }
    for (i = 0; i < count && done < total; i++) {
        size_t step = parts[i].iov_len < total - done ? parts[i].iov_len : total - done;

        if (step > 0)
            memcpy(inode->seen.data + offset + done, parts[i].iov_base, step);
        done += step;
    }
    mark_dirty(inode, offset, offset + done);
    if (disk->cut)
        return leave(disk, -EIO);
    leave(disk, 0);
    return (ssize_t)done;
}

/* A sync has failed: what it did not write is clean now as far as the kernel is
 * concerned, and a second sync would report success without writing it. */
static void
forget_dirty(struct faulty *disk, int fd)
{
    struct descriptor *open_file;

    pthread_mutex_lock(&disk->lock);
    open_file = descriptor(disk, fd);
    if (!disk->cut && open_file != NULL && !open_file->inode->directory)
        forget_sectors(open_file->inode);
    pthread_mutex_unlock(&disk->lock);
}

static int
sync_descriptor(struct faulty *disk, enum faulty_kind kind, int fd)
{
    struct descriptor *open_file;
    char path[512];
    int result = enter(disk, kind, path_of(disk, fd, path, sizeof(path)), true);

    if (result != 0) {
        forget_dirty(disk, fd);
        return result;
    }
    open_file = descriptor(disk, fd);
    if (open_file == NULL)
        return leave(disk, -EBADF);
    if (open_file->inode->directory)
        settle_names(disk, open_file->path);
    else
        settle(open_file->inode);
    return leave(disk, 0);
}

static int
mem_fdatasync(void *ctx, int fd)
{
    return sync_descriptor(ctx, FAULTY_FDATASYNC, fd);
}

static int
mem_fsync(void *ctx, int fd)
{
    return sync_descriptor(ctx, FAULTY_FSYNC, fd);
}

static int
resize(struct faulty *disk, enum faulty_kind kind, int fd, uint64_t size, bool shrink)
{
    struct descriptor *open_file;
    char path[512];
    int result = enter(disk, kind, path_of(disk, fd, path, sizeof(path)), true);

    if (result != 0)
        return result;
    open_file = descriptor(disk, fd);
    if (open_file == NULL)
        return leave(disk, -EBADF);
    if (!fits(disk, open_file->inode, size))
        return leave(disk, -ENOSPC);
    if (shrink || size > open_file->inode->seen.size) {
        content_resize(&open_file->inode->seen, (size_t)size);
        open_file->inode->size_dirty = true;
    }
    return leave(disk, 0);
}

static int
mem_ftruncate(void *ctx, int fd, uint64_t size)
{
    return resize(ctx, FAULTY_FTRUNCATE, fd, size, true);
}

static int
mem_fallocate(void *ctx, int fd, uint64_t size)
{
    return resize(ctx, FAULTY_FALLOCATE, fd, size, false);
}

static int
mem_size(void *ctx, int fd, uint64_t *out_size)
{
    struct faulty *disk = ctx;
    struct descriptor *open_file;
    int result = enter(disk, FAULTY_SIZE, NULL, false);

    if (result != 0)
        return result;
    open_file = descriptor(disk, fd);
    if (open_file != NULL)
        *out_size = open_file->inode->seen.size;
    return leave(disk, open_file != NULL ? 0 : -EBADF);
}

static int
mem_lock(void *ctx, int fd)
{
    struct faulty *disk = ctx;
    struct descriptor *open_file;
    int result = enter(disk, FAULTY_LOCK, NULL, false);

    if (result != 0)
        return result;
    open_file = descriptor(disk, fd);
    if (open_file == NULL)
        return leave(disk, -EBADF);
    if (open_file->inode->locked && !open_file->locked)
        return leave(disk, -EWOULDBLOCK);
    open_file->inode->locked = true;
    open_file->locked = true;
    return leave(disk, 0);
}

static int
mem_rename(void *ctx, const char *from, const char *to)
{
    struct faulty *disk = ctx;
    struct name *name;
    int result = enter(disk, FAULTY_RENAME, from, true);

    if (result != 0)
        return result;
    name = find(&disk->seen, from);
    if (name == NULL || !parent_exists(disk, to))
        return leave(disk, -ENOENT);
    change_names(disk, from, to, name->inode);
    return leave(disk, 0);
}

static int
mem_unlink(void *ctx, const char *path)
{
    struct faulty *disk = ctx;
    int result = enter(disk, FAULTY_UNLINK, path, true);

    if (result != 0)
        return result;
    if (find(&disk->seen, path) == NULL)
        return leave(disk, -ENOENT);
    change_names(disk, path, NULL, NULL);
    return leave(disk, 0);
}

static int
mem_mkdir(void *ctx, const char *path)
{
    struct faulty *disk = ctx;
    int result = enter(disk, FAULTY_MKDIR, path, true);

    if (result != 0)
        return result;
    if (find(&disk->seen, path) != NULL)
        return leave(disk, -EEXIST);
    if (!parent_exists(disk, path))
        return leave(disk, -ENOENT);
    change_names(disk, NULL, path, inode_create(true));
    return leave(disk, 0);
}

static int
mem_list(void *ctx, const char *path, brd_io_list_fn fn, void *arg)
{
    struct faulty *disk = ctx;
    char **found = NULL;
    size_t count = 0;
    size_t i;
    int result = enter(disk, FAULTY_LIST, path, false);

    if (result != 0)
        return result;
    if (!is_directory(disk, path))
        return leave(disk, -ENOENT);
    found = must(calloc(disk->seen.count + 1, sizeof(*found)));
    for (i = 0; i < disk->seen.count; i++)
        if (lies_in(disk->seen.entries[i].path, path))
            found[count++] = copy_text(disk->seen.entries[i].path);
    leave(disk, 0);
    for (i = 0; i < count; i++) {
        const char *slash = strrchr(found[i], '/');

        if (result == 0)
            result = fn(arg, slash != NULL ? slash + 1 : found[i]);
        free(found[i]);
    }
    free(found);
    return result;
}

static int
mem_space(void *ctx, const char *path, uint64_t *out_free, uint64_t *out_total)
{
    struct faulty *disk = ctx;
    int result = enter(disk, FAULTY_SPACE, path, false);

    if (result != 0)
        return result;
    if (!is_directory(disk, path))
        return leave(disk, -ENOENT);
    *out_free = free_bytes(disk);
    *out_total = disk->capacity != 0 ? disk->capacity : ENDLESS;
    return leave(disk, 0);
}

/* ---- Life ---- */

struct faulty *
faulty_create(void)
{
    struct faulty *disk = must(calloc(1, sizeof(*disk)));

    pthread_mutex_init(&disk->lock, NULL);
    disk->io = (struct brd_io){
        .ctx = disk,
        .open = mem_open,
        .close = mem_close,
        .pread = mem_pread,
        .pwritev = mem_pwritev,
        .fdatasync = mem_fdatasync,
        .fsync = mem_fsync,
        .ftruncate = mem_ftruncate,
        .fallocate = mem_fallocate,
        .size = mem_size,
        .lock = mem_lock,
        .rename = mem_rename,
        .unlink = mem_unlink,
        .mkdir = mem_mkdir,
        .list = mem_list,
        .space = mem_space,
    };
    return disk;
}

const struct brd_io *
faulty_io(struct faulty *disk)
{
    return &disk->io;
}

struct faulty *
faulty_clone(struct faulty *disk)
{
    struct faulty *clone = faulty_create();
    size_t i;

    pthread_mutex_lock(&disk->lock);
    for (i = 0; i < disk->seen.count; i++) {
        const struct name *name = &disk->seen.entries[i];
        struct inode *inode = inode_create(name->inode->directory);

        content_copy(&inode->seen, &name->inode->seen);
        content_copy(&inode->platter, &name->inode->seen);
        put_name(&clone->seen, name->path, inode);
        put_name(&clone->platter, name->path, inode);
    }
    pthread_mutex_unlock(&disk->lock);
    return clone;
}

static void
close_all(struct faulty *disk)
{
    size_t i;

    for (i = 0; i < FDS_MAX; i++)
        if (disk->fds[i].inode != NULL)
            close_descriptor(&disk->fds[i]);
}

static void
clear_journal(struct faulty *disk)
{
    while (disk->journal_count > 0)
        free_change(&disk->journal[--disk->journal_count]);
}

void
faulty_destroy(struct faulty **disk_at)
{
    struct faulty *disk = *disk_at;

    if (disk == NULL)
        return;
    close_all(disk);
    clear_journal(disk);
    clear_names(&disk->seen);
    clear_names(&disk->platter);
    free(disk->seen.entries);
    free(disk->platter.entries);
    free(disk->fault_path);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
    *disk_at = NULL;
}

const char *
faulty_kind_name(enum faulty_kind kind)
{
    static const char *const names[FAULTY_KINDS] = {
        "open", "close", "read",   "write",  "fdatasync", "fsync", "ftruncate", "fallocate",
        "size", "lock",  "rename", "unlink", "mkdir",     "list",  "space",
    };

    return names[kind];
}

void
faulty_fail(struct faulty *disk, enum faulty_kind kind, long nth, long times, int error)
{
    pthread_mutex_lock(&disk->lock);
    disk->faults[kind] = (struct fault){ .nth = nth, .times = times, .error = error };
    disk->hit = false;
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_fail_path(struct faulty *disk, const char *text)
{
    pthread_mutex_lock(&disk->lock);
    free(disk->fault_path);
    disk->fault_path = copy_text(text);
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_short(struct faulty *disk, long nth, size_t bytes)
{
    pthread_mutex_lock(&disk->lock);
    disk->short_nth = nth;
    disk->short_bytes = bytes;
    disk->hit = false;
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_clear(struct faulty *disk)
{
    pthread_mutex_lock(&disk->lock);
    memset(disk->faults, 0, sizeof(disk->faults));
    disk->short_nth = 0;
    disk->cut_nth = 0;
    disk->hit = false;
    pthread_mutex_unlock(&disk->lock);
}

bool
faulty_hit(struct faulty *disk)
{
    bool hit;

    pthread_mutex_lock(&disk->lock);
    hit = disk->hit;
    pthread_mutex_unlock(&disk->lock);
    return hit;
}

uint64_t
faulty_calls(struct faulty *disk, enum faulty_kind kind)
{
    uint64_t calls;

    pthread_mutex_lock(&disk->lock);
    calls = disk->calls[kind];
    pthread_mutex_unlock(&disk->lock);
    return calls;
}

void
faulty_set_space(struct faulty *disk, uint64_t capacity, uint64_t others)
{
    pthread_mutex_lock(&disk->lock);
    disk->capacity = capacity;
    disk->others = others;
    pthread_mutex_unlock(&disk->lock);
}

uint64_t
faulty_free(struct faulty *disk)
{
    uint64_t bytes;

    pthread_mutex_lock(&disk->lock);
    bytes = free_bytes(disk);
    pthread_mutex_unlock(&disk->lock);
    return bytes;
}

void
faulty_cut_at(struct faulty *disk, long nth)
{
    pthread_mutex_lock(&disk->lock);
    disk->cut_nth = nth;
    disk->hit = false;
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_cut(struct faulty *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->cut = true;
    pthread_mutex_unlock(&disk->lock);
}

bool
faulty_is_cut(struct faulty *disk)
{
    bool cut;

    pthread_mutex_lock(&disk->lock);
    cut = disk->cut;
    pthread_mutex_unlock(&disk->lock);
    return cut;
}

uint64_t
faulty_changes(struct faulty *disk)
{
    uint64_t changes;

    pthread_mutex_lock(&disk->lock);
    changes = disk->changes;
    pthread_mutex_unlock(&disk->lock);
    return changes;
}

/* Names whose directory did not survive are gone with it. */
static void
drop_orphans(struct faulty *disk)
{
    size_t i = 0;

    while (i < disk->seen.count)
        if (!parent_exists(disk, disk->seen.entries[i].path)) {
            drop_name(&disk->seen, disk->seen.entries[i].path);
            i = 0;
        } else {
            i++;
        }
}

void
faulty_reboot(struct faulty *disk, enum faulty_keep keep, uint64_t seed)
{
    uint64_t random = seed;
    size_t kept;
    size_t i;

    pthread_mutex_lock(&disk->lock);
    close_all(disk);
    kept = keep == FAULTY_KEEP_NONE  ? 0
           : keep == FAULTY_KEEP_ALL ? disk->journal_count
                                     : next_random(&random) % (disk->journal_count + 1);
    for (i = 0; i < kept; i++)
        apply_change(&disk->platter, &disk->journal[i]);
    clear_names(&disk->seen);
    for (i = 0; i < disk->platter.count; i++)
        put_name(&disk->seen, disk->platter.entries[i].path, disk->platter.entries[i].inode);
    clear_journal(disk);
    drop_orphans(disk);
    clear_names(&disk->platter);
    for (i = 0; i < disk->seen.count; i++) {
        put_name(&disk->platter, disk->seen.entries[i].path, disk->seen.entries[i].inode);
        lose_power(disk->seen.entries[i].inode, keep, &random);
    }
    disk->cut = false;
    disk->cut_nth = 0;
    memset(disk->faults, 0, sizeof(disk->faults));
    disk->short_nth = 0;
    disk->hit = false;
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_kill(struct faulty *disk)
{
    pthread_mutex_lock(&disk->lock);
    close_all(disk);
    disk->cut = false;
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_set_hook(struct faulty *disk, void (*hook)(void *arg, enum faulty_kind kind), void *arg)
{
    pthread_mutex_lock(&disk->lock);
    disk->hook = hook;
    disk->hook_arg = arg;
    pthread_mutex_unlock(&disk->lock);
}

/* ---- Behind the back ---- */

struct brd_bytes
faulty_content(struct faulty *disk, const char *path)
{
    struct name *name;
    struct brd_bytes bytes = { 0 };

    pthread_mutex_lock(&disk->lock);
    name = find(&disk->seen, path);
    if (name != NULL && !name->inode->directory) {
        content_resize(&name->inode->seen, name->inode->seen.size + 1); /* never NULL */
        content_resize(&name->inode->seen, name->inode->seen.size - 1);
        bytes = brd_bytes(name->inode->seen.data, name->inode->seen.size);
    }
    pthread_mutex_unlock(&disk->lock);
    return bytes;
}

void
faulty_set_content(struct faulty *disk, const char *path, struct brd_bytes content)
{
    struct name *name;
    struct inode *inode;

    pthread_mutex_lock(&disk->lock);
    name = find(&disk->seen, path);
    inode = name != NULL ? name->inode : inode_create(false);
    inode->refs++;
    put_name(&disk->seen, path, inode);
    put_name(&disk->platter, path, inode);
    inode_unref(inode);
    content_resize(&inode->seen, 0);
    content_resize(&inode->seen, content.size);
    if (content.size > 0)
        memcpy(inode->seen.data, content.data, content.size);
    content_copy(&inode->platter, &inode->seen);
    pthread_mutex_unlock(&disk->lock);
}

static struct inode *
must_find(struct faulty *disk, const char *path)
{
    struct name *name = find(&disk->seen, path);

    BRD_CHECK(name != NULL);
    return name->inode;
}

void
faulty_flip(struct faulty *disk, const char *path, uint64_t bit)
{
    struct inode *inode;

    pthread_mutex_lock(&disk->lock);
    inode = must_find(disk, path);
    BRD_CHECK(bit / 8 < inode->seen.size);
    inode->seen.data[bit / 8] = (uint8_t)(inode->seen.data[bit / 8] ^ (1u << bit % 8));
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_cut_file(struct faulty *disk, const char *path, uint64_t size)
{
    pthread_mutex_lock(&disk->lock);
    content_resize(&must_find(disk, path)->seen, (size_t)size);
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_remove(struct faulty *disk, const char *path)
{
    pthread_mutex_lock(&disk->lock);
    drop_name(&disk->seen, path);
    drop_name(&disk->platter, path);
    pthread_mutex_unlock(&disk->lock);
}

void
faulty_swap(struct faulty *disk, const char *a, const char *b)
{
    struct inode *first;
    struct inode *second;

    pthread_mutex_lock(&disk->lock);
    first = must_find(disk, a);
    second = must_find(disk, b);
    first->refs++;
    second->refs++;
    put_name(&disk->seen, a, second);
    put_name(&disk->seen, b, first);
    put_name(&disk->platter, a, second);
    put_name(&disk->platter, b, first);
    inode_unref(first);
    inode_unref(second);
    pthread_mutex_unlock(&disk->lock);
}

static uint64_t
fnv(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *at = data;
    size_t i;

    for (i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

uint64_t
faulty_fingerprint(struct faulty *disk)
{
    uint64_t sum = 0;
    size_t i;

    pthread_mutex_lock(&disk->lock);
    for (i = 0; i < disk->seen.count; i++) {
        const struct name *name = &disk->seen.entries[i];
        uint64_t hash = fnv(0xcbf29ce484222325u, name->path, strlen(name->path));

        /* Names have no order, so the sum of their hashes. */
        sum += fnv(hash, name->inode->seen.data, name->inode->seen.size);
    }
    pthread_mutex_unlock(&disk->lock);
    return sum;
}

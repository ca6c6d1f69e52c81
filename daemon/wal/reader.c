/* The reader, and the rule for the end of the log.
 *
 * map_load looks at names and headers. Numbers run without a gap from meta's
 * first segment; a name is made durable before its segment is used, so a gap
 * is never the work of a power cut: it is damage, like a header that is not
 * zeros and not valid, one that names another number or directory, or one whose
 * predecessor is not the file before. Zeros in place of a header are a segment
 * that was prepared and never begun, or whose beginning was lost. So is half
 * a header: something with only zeros behind it, or the front of one that would be
 * right here, with an earlier life of the file behind it: groups are written after
 * the whole header. Where meta says that the header was durable, all these are damage too. And
 * where meta tells more of what was there (the newest segment's salt, that nothing came behind it,
 * that nothing was plain) what does not agree was put there by somebody else (check_known), and so
 * was what is plain where the ring says that nothing may be.
 *
 * log_walk follows the groups: each has the position, the epoch and the salted
 * checksum that its place asks for, and continues the versions of the one before.
 * A segment ends where its successor says it began (that is why the torn end of
 * a log that was recovered once is not looked at again). Where there is no whole
 * group at p although there is more file, or the successor begins later than p,
 * the question is whether anything after p was ever promised to be durable. The
 * witnesses are meta, the headers of later segments, and every valid group
 * anywhere behind p (search.c looks at each multiple of 8): each carries the position
 * that was known to be synced when it was written. One that says "beyond p":
 * damage, p's file and offset named. None: the log ends at p, and whatever is
 * behind it was in flight when the lights went out.
 *
 * Keys have no part in this: checksums cover what is on the disk. What is whole must also
 * be what was written: the header of an encrypted segment is signed, and each of its groups
 * has a tag. Where one is not right that is damage, whatever follows. A segment that says
 * that it is not encrypted is read as such, among others that are, unless meta says that all
 * are: logs are so while encryption is being turned on.
 *
 * The end is silent where only zeros follow, or, in a recycled segment, bytes of
 * an earlier life: all but what begins like a group of the very position that it is
 * found at, since no position is used by two lives. Otherwise it is reported as torn. A
 * read error is an error and never the end.
 *
 * Memory: one window (window.h), and what the search behind the end takes (search.c). */
#include "wal/reader.h"

#include "base/check.h"
#include "wal/group.h"
#include "wal/search.h"
#include "wal/window.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The files ---- */

struct number_list {
    uint64_t *numbers; /* owned */
    size_t count;
    size_t room;
};

static int
add_number(void *arg, const char *name)
{
    struct number_list *list = arg;
    uint64_t number = segment_number_of(name);

    if (number == 0)
        return 0; /* not ours */
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : list->room * 2;
        uint64_t *numbers = realloc(list->numbers, room * sizeof(*numbers));

        if (numbers == NULL)
            return -ENOMEM;
        list->numbers = numbers;
        list->room = room;
    }
    list->numbers[list->count++] = number;
    return 0;
}

static int
compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static enum brd_status
list_numbers(const struct brd_io *io, const char *dir, struct number_list *list,
             struct brd_wal_error *error)
{
    char *path = NULL;
    enum brd_status status = BRD_OK;
    int result;

    if (asprintf(&path, "%s/wal", dir) < 0)
        return error_set(error, BRD_OUT_OF_MEMORY, dir, 0, "out of memory");
    result = io->list(io->ctx, path, add_number, list);
    if (result < 0 && result != -ENOENT)
        status = error_io(error, result, "list", path);
    free(path);
    if (list->count > 0)
        qsort(list->numbers, list->count, sizeof(*list->numbers), compare_numbers);
    return status;
}

/* Is there nothing but zeros behind the header? */
static int
nothing_behind(const struct brd_io *io, int fd, bool *out_nothing)
{
    uint8_t bytes[16 * 1024];
    uint64_t offset = SEGMENT_HEADER_BYTES;
    size_t size = 0;
    int result;

    do {
        result = brd_file_read(io, fd, bytes, sizeof(bytes), offset, &size);
        *out_nothing = result == 0 && brd_bytes_are_zero(brd_bytes(bytes, size));
        offset += size;
    } while (*out_nothing && size > 0);
    return result;
}

/* Does a field say what it must, as far as it lies within the first size bytes? */
static bool
agrees(const uint8_t *page, size_t size, size_t offset, const void *wanted, size_t bytes)
{
    if (offset >= size)
        return true;
    if (bytes > size - offset)
        bytes = size - offset;
    return memcmp(page + offset, wanted, bytes) == 0;
}

/* Is it the front of a header that belongs here, and zeros instead of the rest? The last
 * field that a whole one has is a time, of which the last byte is not zero since 1972. */
static bool
is_half_header(const uint8_t *page, uint64_t number, const struct meta_slot *meta)
{
    const struct segment_header wanted = { .magic = SEGMENT_MAGIC,
                                           .format = SEGMENT_FORMAT,
                                           .number = number };
    size_t size = SEGMENT_HEADER_BYTES;

    while (size > 0 && page[size - 1] == 0)
        size--;
    return size < offsetof(struct segment_header, key_id) &&
           agrees(page, size, offsetof(struct segment_header, magic), &wanted.magic, 8) &&
           agrees(page, size, offsetof(struct segment_header, format), &wanted.format, 4) &&
           agrees(page, size, offsetof(struct segment_header, uuid), meta->uuid, 16) &&
           agrees(page, size, offsetof(struct segment_header, number), &wanted.number, 8);
}

/* Can it be what meta tells of? Where meta is signed this is what keeps out files of who has no key,
 * and those of another life of the directory (a backup that was restored and written to): what is
 * below the newest segment is bound to it by salts (check_link). */
static enum brd_status
check_known(const struct log_segment *segment, const struct brd_keyring *keys,
            const struct meta_slot *meta, struct brd_wal_error *error)
{
    const struct segment_header *header = &segment->header;
    bool plain = (header->flags & SEGMENT_SEALED) == 0;
    const char *why = NULL;

    if (plain && (meta->flags & META_ALL_SEALED) != 0)
        why =
            "it is not encrypted, and all files of the directory were; brindle-wal repair takes it "
            "out";
    else if (plain && brd_keyring_only(keys))
        why =
            "it is not encrypted, and the key file says that only what is encrypted counts (only)";
    else if (segment->number == meta->newest_segment && meta_knows_newest(meta) &&
             memcmp(header->salt, meta->newest_salt, sizeof(header->salt)) != 0)
        why = "it is not the segment that was written here under this number; bring that back, or "
              "brindle-wal repair keeps what is before it";
    else if (segment->number > meta->newest_segment && meta_knows_newest(meta) &&
             (meta->flags & META_CLEAN) != 0)
        why = "the last stop was orderly, and there was no such segment; brindle-wal repair takes "
              "it out";
    else if (segment->number > meta->newest_segment && meta_knows_newest(meta) &&
             header->start_lsn < meta->synced_lsn)
        why = "it begins before what had been synced when there was no such segment; brindle-wal "
              "repair takes it out";
    if (why == NULL)
        return BRD_OK;
    return error_set(error, BRD_CORRUPT, segment->path, 0, "%s is damaged at offset 0: %s",
                     segment->path, why);
}

/* Read the header page and judge it by itself. */
static enum brd_status
load_header(const struct brd_io *io, struct log_segment *segment, const struct brd_keyring *keys,
            const struct meta_slot *meta, struct brd_wal_error *error)
{
    uint8_t page[SEGMENT_HEADER_BYTES];
    enum brd_status status = BRD_OK;
    bool verified;
    enum segment_verdict verdict = SEGMENT_EMPTY;
    const char *path = segment->path;
    bool nothing = false;
    size_t size = 0;
    int fd = io->open(io->ctx, path, O_RDONLY);
    int result = fd < 0 ? fd : io->size(io->ctx, fd, &segment->file_bytes);

    if (result == 0)
        result = brd_file_read(io, fd, page, sizeof(page), 0, &size);
    if (result == 0) {
        verdict = segment_parse(page, size, &segment->header);
        if (verdict == SEGMENT_BAD && segment->number > meta->newest_segment) {
            nothing = size == sizeof(page) && is_half_header(page, segment->number, meta);
            if (!nothing)
                result = nothing_behind(io, fd, &nothing);
        }
    }
    brd_file_close(io, &fd);
    if (result < 0)
        return error_io(error, result, "read", path);
    if (nothing)
        verdict = SEGMENT_EMPTY; /* stopped while the header was being written */
    switch (verdict) {
    case SEGMENT_VALID:
        break;
    case SEGMENT_EMPTY:
        if (segment->number <= meta->newest_segment)
            return error_set(error, BRD_CORRUPT, path, 0,
                             "%s is damaged at offset 0: its header is missing", path);
        segment->begun = false;
        return BRD_OK;
    case SEGMENT_BAD:
        return error_set(error, BRD_CORRUPT, path, 0,
                         "%s is damaged at offset 0: its header is not valid", path);
    case SEGMENT_UNKNOWN:
        return error_set(error, BRD_UNSUPPORTED, path, 0,
                         "%s was written by a newer version of Brindle (format %u)", path,
                         segment->header.format);
    }
    /* With its key, who wrote it comes first. Without, what else is wrong with it does: a file
     * that was put here from elsewhere is no reason to look for its key. */
    verified = brd_keyring_has(keys, segment->header.key_id);
    if (verified)
        status = segment_verify(page, &segment->header, keys, path, error);
    if (status != BRD_OK)
        return status;
    if (memcmp(segment->header.uuid, meta->uuid, sizeof(meta->uuid)) != 0)
        return error_set(error, BRD_CORRUPT, path, 0,
                         "%s is damaged at offset 0: it belongs to another data directory", path);
    if (segment->header.number != segment->number)
        return error_set(error, BRD_CORRUPT, path, 0,
                         "%s is damaged at offset 0: it is segment %016llx under another name",
                         path, (unsigned long long)segment->header.number);
    if (segment->header.start_lsn % GROUP_ALIGN != 0)
        return error_set(error, BRD_CORRUPT, path, 0,
                         "%s is damaged at offset 0: its header makes no sense", path);
    status = check_known(segment, keys, meta, error);
    if (status != BRD_OK)
        return status;
    segment->begun = true;
    return verified ? BRD_OK : segment_verify(page, &segment->header, keys, path, error);
}

/* Does a segment continue the one before? */
static enum brd_status
check_link(const struct log_segment *before, const struct log_segment *segment,
           struct brd_wal_error *error)
{
    const struct segment_header *a = &before->header;
    const struct segment_header *b = &segment->header;

    if (b->previous != before->number || memcmp(b->previous_salt, a->salt, sizeof(a->salt)) != 0 ||
        b->start_lsn < a->start_lsn || b->base_version < a->base_version || b->epoch < a->epoch)
        return error_set(error, BRD_CORRUPT, segment->path, 0,
                         "%s is damaged at offset 0: it does not continue %s", segment->path,
                         before->path);
    return BRD_OK;
}

static enum brd_status
missing(const char *dir, uint64_t number, struct brd_wal_error *error)
{
    char *path = segment_path(dir, number);
    enum brd_status status =
        error_set(error, BRD_CORRUPT, path, 0, "%s is missing", path != NULL ? path : "a segment");

    free(path);
    return status;
}

static enum brd_status
load_segments(const struct brd_io *io, const char *dir, const struct meta_slot *meta,
              const struct number_list *list, struct log_map *map, struct brd_wal_error *error)
{
    const struct brd_keyring *keys = map->keys;
    uint64_t wanted = meta->first_segment != 0 ? meta->first_segment : 1;
    const struct log_segment *begun = NULL;
    enum brd_status status;
    size_t i;

    for (i = 0; i < list->count; i++) {
        struct log_segment *segment = &map->segments[map->count];

        if (list->numbers[i] < wanted && map->count == 0)
            continue; /* not needed any more, about to be removed */
        if (list->numbers[i] != wanted)
            return missing(dir, wanted, error);
        segment->number = wanted++;
        segment->path = segment_path(dir, segment->number);
        map->count++;
        if (segment->path == NULL)
            return error_set(error, BRD_OUT_OF_MEMORY, dir, 0, "out of memory");
        status = load_header(io, segment, keys, meta, error);
        if (status == BRD_OK && segment->begun && segment > map->segments && segment[-1].begun)
            status = check_link(segment - 1, segment, error);
        if (status != BRD_OK) {
            free(segment->path);
            map->count--;
            return status;
        }
        if (segment->begun)
            begun = segment;
    }
    if (meta->newest_segment != 0 && (begun == NULL || begun->number < meta->newest_segment))
        return missing(dir, begun == NULL ? wanted : begun->number + 1, error);
    return BRD_OK;
}

enum brd_status
log_list(const struct brd_io *io, const char *dir, uint64_t **out_numbers, size_t *out_count,
         struct brd_wal_error *error)
{
    struct number_list list = { 0 };
    enum brd_status status = list_numbers(io, dir, &list, error);

    if (status != BRD_OK) {
        free(list.numbers);
        return status;
    }
    *out_numbers = list.numbers;
    *out_count = list.count;
    return BRD_OK;
}

enum brd_status
map_load_part(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
              const struct meta_slot *meta, struct log_map *out_map, struct brd_wal_error *error)
{
    struct number_list list = { 0 };
    struct log_map map = { .keys = keys };
    enum brd_status status = list_numbers(io, dir, &list, error);

    if (status == BRD_OK) {
        map.segments = calloc(list.count + 1, sizeof(*map.segments));
        status = map.segments == NULL ? error_set(error, BRD_OUT_OF_MEMORY, dir, 0, "out of memory")
                                      : load_segments(io, dir, meta, &list, &map, error);
    }
    free(list.numbers);
    if (status != BRD_OK && status != BRD_CORRUPT)
        map_fini(&map);
    else
        *out_map = map;
    return status;
}

enum brd_status
map_load(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
         const struct meta_slot *meta, struct log_map *out_map, struct brd_wal_error *error)
{
    struct log_map map = { 0 };
    enum brd_status status = map_load_part(io, dir, keys, meta, &map, error);

    if (status != BRD_OK)
        map_fini(&map);
    else
        *out_map = map;
    return status;
}

void
map_fini(struct log_map *map)
{
    size_t i;

    for (i = 0; i < map->count; i++)
        free(map->segments[i].path);
    free(map->segments);
    *map = (struct log_map){ 0 };
}

/* ---- The walk ---- */

struct walk {
    const struct meta_slot *meta;
    const struct log_map *map;
    const struct brd_wal_visitor *visitor;
    struct brd_wal_report *report;
    struct brd_wal_error *error;
    struct window window;
    struct brd_wal_segment_view view; /* of the segment being walked */
    struct brd_seal *seal;            /* owned: of that segment; NULL: it is not encrypted */
    size_t index;
    uint64_t lsn;        /* end of what is valid so far */
    uint64_t synced_lsn; /* as meta and what was walked say */
    uint64_t last_version;
    uint64_t done;
    uint64_t total;
};

static const struct log_segment *
current(const struct walk *walk)
{
    return &walk->map->segments[walk->index];
}

/* Where a position lies in a segment's file. */
static uint64_t
offset_of(const struct log_segment *segment, uint64_t lsn)
{
    return SEGMENT_HEADER_BYTES + (lsn - segment->header.start_lsn);
}

static enum brd_status
damage(struct walk *walk, uint64_t offset, const char *why)
{
    const char *path = current(walk)->path;

    return error_set(walk->error, BRD_CORRUPT, path, offset, "%s is damaged at offset %llu: %s",
                     path, (unsigned long long)offset, why);
}

static enum brd_status
visit_records(struct walk *walk, const struct brd_wal_group_view *group, struct brd_bytes records)
{
    const struct brd_wal_visitor *visitor = walk->visitor;
    uint64_t version = group->base_version;
    enum brd_status status = BRD_OK;
    uint32_t i;

    for (i = 0; status == BRD_OK && i < group->records; i++) {
        struct brd_bytes payload;

        if (!record_get(&records, &version, &payload))
            return damage(walk, group->offset, "a record in the group there makes no sense");
        if (walk->report->first_version == 0)
            walk->report->first_version = version;
        walk->report->records++;
        if (visitor->record != NULL)
            status = visitor->record(visitor->arg, group, version, payload);
    }
    if (status == BRD_OK && (records.size != 0 || version != group->last_version))
        return damage(walk, group->offset, "the records of the group there do not add up");
    return status;
}

/* Decrypt the records of a whole group, which bytes begin with, in place: they lie in the
 * window, and nobody reads them there again. */
static enum brd_status
open_group(struct walk *walk, const struct group_header *header, struct brd_bytes bytes)
{
    uint64_t offset = offset_of(current(walk), walk->lsn);
    uint8_t *records = (uint8_t *)(uintptr_t)bytes.data + sizeof(*header);
    enum brd_status status = BRD_OK;

    if (((header->flags & GROUP_SEALED) != 0) != (walk->seal != NULL))
        return damage(walk, offset,
                      walk->seal != NULL
                          ? "authentication failed: the group there is not encrypted, "
                            "as all of its segment are"
                          : "the group there is encrypted, and its segment is not");
#ifndef BRD_FUZZ /* a fuzzer would never get past it */
    if (walk->seal != NULL) {
        uint8_t aad[sizeof(*header)];

        group_aad(header, aad);
        status =
            brd_seal_unpart(walk->seal, header->lsn, brd_bytes(aad, sizeof(aad)),
                            brd_bytes(records, header->length), records + header->length, records);
    }
#else
    (void)records;
#endif
    if (status == BRD_CORRUPT)
        return damage(walk, offset,
                      "authentication failed: the group there is not what was written");
    if (status != BRD_OK)
        return error_set(walk->error, status, current(walk)->path, offset, "out of memory");
    return BRD_OK;
}

/* A group that is whole: does it continue the log? Then hand it out. */
static enum brd_status
take_group(struct walk *walk, const struct group_header *header, struct brd_bytes bytes)
{
    const struct log_segment *segment = current(walk);
    struct brd_wal_group_view group = {
        .segment = &walk->view,
        .offset = offset_of(segment, walk->lsn),
        .bytes = group_size(header),
        .lsn = header->lsn,
        .synced_lsn = header->synced_lsn,
        .base_version = header->base_version,
        .last_version = header->last_version,
        .records = header->records,
    };
    enum brd_status status = open_group(walk, header, bytes);

    if (status != BRD_OK)
        return status;
    if (header->base_version != walk->last_version || header->epoch != segment->header.epoch ||
        header->synced_lsn > header->lsn)
        return damage(walk, group.offset, "the group there does not continue the one before");
    if (walk->visitor->progress != NULL)
        status = walk->visitor->progress(walk->visitor->arg, false, walk->done, walk->total);
    if (status == BRD_OK && walk->visitor->group != NULL)
        status = walk->visitor->group(walk->visitor->arg, &group);
    if (status == BRD_OK)
        status = visit_records(walk, &group,
                               brd_bytes(bytes.data + sizeof(struct group_header), header->length));
    if (status != BRD_OK)
        return status;
    walk->lsn += group.bytes;
    if (header->synced_lsn > walk->synced_lsn)
        walk->synced_lsn = header->synced_lsn;
    walk->last_version = header->last_version;
    walk->done += group.bytes;
    walk->report->bytes += group.bytes;
    walk->report->last_version = header->last_version;
    return BRD_OK;
}

/* ---- The end ---- */

/* Bytes behind offset in the current segment, and in those behind it. */
static uint64_t
bytes_behind(const struct walk *walk, uint64_t offset)
{
    uint64_t file_bytes = current(walk)->file_bytes;
    uint64_t bytes = file_bytes > offset ? file_bytes - offset : 0;
    size_t i;

    for (i = walk->index + 1; i < walk->map->count; i++) {
        const struct log_segment *later = &walk->map->segments[i];

        if (later->begun && later->file_bytes > SEGMENT_HEADER_BYTES)
            bytes += later->file_bytes - SEGMENT_HEADER_BYTES;
    }
    return bytes;
}

/* There is no group at walk->lsn: is that the end, or damage? */
static enum brd_status
end_here(struct walk *walk)
{
    const struct log_segment *segment = current(walk);
    const uint64_t offset = offset_of(segment, walk->lsn);
    struct log_remains remains = { .synced_lsn = walk->meta->synced_lsn };
    struct search_progress progress = { .fn = walk->visitor->progress,
                                        .arg = walk->visitor->arg,
                                        .total = bytes_behind(walk, offset) };
    bool groups = false;
    enum brd_status status;
    size_t i;

    status = search_window(&walk->window, offset, 0, &remains, &progress, walk->error);
    for (i = walk->index + 1; status == BRD_OK && i < walk->map->count; i++) {
        const struct log_segment *later = &walk->map->segments[i];

        if (!later->begun)
            continue;
        groups = true;
        if (later->header.synced_lsn > remains.synced_lsn)
            remains.synced_lsn = later->header.synced_lsn;
        status = window_open(&walk->window, later, walk->error);
        if (status == BRD_OK)
            status = search_window(&walk->window, SEGMENT_HEADER_BYTES, 0, &remains, &progress,
                                   walk->error);
    }
    if (status != BRD_OK)
        return status;
    groups = groups || remains.groups > 0;
    if (remains.synced_lsn > walk->lsn)
        return damage(walk, offset,
                      offset >= segment->file_bytes
                          ? "the file ends, but more of it had been synced"
                          : "there is no valid group, but it had been synced beyond there");
    if (remains.bytes == 0 && !groups)
        return BRD_OK;
    walk->report->torn = true;
    walk->report->torn_offset = offset;
    walk->report->torn_bytes = remains.bytes;
    snprintf(walk->report->torn_path, sizeof(walk->report->torn_path), "%s", segment->path);
    return BRD_OK;
}

/* Beside a running daemon a group may be half written when it is read, and whole
 * and synced by the time that a later one says so. Look again. */
static bool
is_whole_now(struct walk *walk, uint64_t offset, uint32_t seed)
{
    enum group_verdict verdict = GROUP_BAD;
    struct group_header header;
    struct brd_bytes bytes;

    if (window_open(&walk->window, current(walk), NULL) != BRD_OK)
        return false;
    return window_group(&walk->window, offset, seed, walk->lsn, &verdict, &header, &bytes, NULL) ==
               BRD_OK &&
           verdict == GROUP_VALID;
}

/* Walk one segment. *out_ended: the log ends in it. */
static enum brd_status
walk_segment(struct walk *walk, bool *out_ended)
{
    const struct log_segment *segment = current(walk);
    const struct log_segment *next = segment + 1;
    const uint32_t seed = group_seed(segment->header.salt);
    bool followed = walk->index + 1 < walk->map->count && next->begun;
    uint64_t limit = followed ? next->header.start_lsn : UINT64_MAX;
    enum brd_status status = window_open(&walk->window, segment, walk->error);

    walk->view = (struct brd_wal_segment_view){
        .path = segment->path,
        .number = segment->number,
        .file_bytes = segment->file_bytes,
        .start_lsn = segment->header.start_lsn,
        .synced_lsn = segment->header.synced_lsn,
        .base_version = segment->header.base_version,
        .created_ns = segment->header.created_ns,
        .epoch = segment->header.epoch,
        .key_id = segment->header.key_id,
    };
    walk->report->segments++;
    brd_seal_close(&walk->seal);
    if (status == BRD_OK) {
        status = segment_open_seal(&segment->header, walk->map->keys, &walk->seal);
        if (status != BRD_OK)
            error_set(walk->error, status, segment->path, 0, "out of memory");
    }
    if (segment->header.synced_lsn > walk->synced_lsn)
        walk->synced_lsn = segment->header.synced_lsn;
    if (status == BRD_OK && walk->visitor->segment != NULL)
        status = walk->visitor->segment(walk->visitor->arg, &walk->view);
    if (status == BRD_OK && segment->header.base_version != walk->last_version)
        status = damage(walk, 0, "its versions do not continue those of the segment before");
    while (status == BRD_OK && walk->lsn < limit) {
        uint64_t offset = offset_of(segment, walk->lsn);
        enum group_verdict verdict;
        struct group_header header;
        struct brd_bytes bytes;

        status = window_group(&walk->window, offset, seed, walk->lsn, &verdict, &header, &bytes,
                              walk->error);
        if (status != BRD_OK)
            break;
        if (verdict == GROUP_BAD) {
            status = end_here(walk);
            if (status == BRD_CORRUPT && is_whole_now(walk, offset, seed)) {
                status = BRD_OK;
                continue;
            }
            *out_ended = true;
            return status;
        }
        if (verdict == GROUP_UNKNOWN)
            return error_set(walk->error, BRD_UNSUPPORTED, segment->path, offset,
                             "%s, offset %llu: a group written by a newer version of Brindle",
                             segment->path, (unsigned long long)offset);
        if (limit - walk->lsn < group_size(&header))
            return damage(walk, offset, "the next segment begins in the middle of the group there");
        status = take_group(walk, &header, bytes);
    }
    *out_ended = !followed;
    return status;
}

static uint64_t
estimate_total(const struct log_map *map)
{
    uint64_t total = 0;
    size_t i;

    for (i = 0; i < map->count && map->segments[i].begun; i++) {
        const struct log_segment *segment = &map->segments[i];

        if (i + 1 < map->count && map->segments[i + 1].begun)
            total += segment[1].header.start_lsn - segment->header.start_lsn;
        else if (segment->file_bytes > SEGMENT_HEADER_BYTES)
            total += segment->file_bytes - SEGMENT_HEADER_BYTES;
    }
    return total;
}

enum brd_status
log_walk(const struct brd_io *io, const struct meta_slot *meta, const struct log_map *map,
         const struct brd_wal_visitor *visitor, struct log_end *out_end,
         struct brd_wal_report *report, struct brd_wal_error *error)
{
    struct walk walk = {
        .meta = meta,
        .map = map,
        .visitor = visitor,
        .report = report,
        .error = error,
        .window = { .io = io, .fd = -1 },
        .synced_lsn = meta->synced_lsn,
        .total = estimate_total(map),
    };
    struct log_end end = { 0 };
    enum brd_status status = BRD_OK;
    bool ended = false;
    size_t i;

    *report = (struct brd_wal_report){ 0 };
    if (map->count > 0 && map->segments[0].begun) {
        walk.lsn = map->segments[0].header.start_lsn;
        walk.last_version = map->segments[0].header.base_version;
    } else if (meta->newest_segment != 0) {
        return error_set(error, BRD_CORRUPT, NULL, 0, "the oldest segment is missing");
    }
    for (i = 0; status == BRD_OK && !ended && i < map->count && map->segments[i].begun; i++) {
        walk.index = i;
        status = walk_segment(&walk, &ended);
        end.kept = i + 1;
    }
    window_fini(&walk.window);
    brd_seal_close(&walk.seal);
    if (status != BRD_OK && status != BRD_CORRUPT)
        return status;
    /* A segment in which nothing is whole is not kept, unless it is the first. */
    if (status == BRD_CORRUPT && end.kept > 1 &&
        walk.lsn == map->segments[end.kept - 1].header.start_lsn)
        end.kept--;
    end.lsn = walk.lsn;
    end.synced_lsn = walk.synced_lsn;
    end.last_version = walk.last_version;
    for (i = 0; i < map->count; i++)
        if (map->segments[i].begun && map->segments[i].header.epoch > end.epoch)
            end.epoch = map->segments[i].header.epoch;
    if (end.kept > 0)
        end.end_offset = offset_of(&map->segments[end.kept - 1], end.lsn);
    *out_end = end;
    return status;
}

/* A log that is damaged: what is whole in it, and how it becomes one that starts.
 *
 * A survey walks the log with the reader that recovery uses. Where that one finds damage the
 * first stretch ends; the next begins with the segment behind, and so on: a later stretch is
 * of use where a snapshot holds what came before it. Without meta the segments' headers
 * tell whose log it is; which of them were there at the end, nobody then knows.
 *
 * Mending cuts the last segment of a stretch, and then stores meta twice, so that no slot
 * names what is gone. Until meta is stored the log is as damaged as before, and mending
 * can be done again: whatever is interrupted leaves nothing that looks whole. What is
 * said to be synced is never raised: the next start makes durable what it is not sure of. */
#include "base/check.h"
#include "wal/reader.h"
#include "wal/search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CEILING_SPARE_NS \
    (UINT64_C(60) * BRD_NS_PER_S) /* as far as one is ever ahead of the clock */

/* ---- Whose log it is ---- */

/* Read a header, whatever it says. */
static enum brd_status
read_header(const struct brd_io *io, struct log_segment *segment, enum segment_verdict *out_verdict,
            struct brd_wal_error *error)
{
    uint8_t page[SEGMENT_HEADER_BYTES];
    size_t size = 0;
    int fd = io->open(io->ctx, segment->path, O_RDONLY);
    int result = fd < 0 ? fd : io->size(io->ctx, fd, &segment->file_bytes);

    if (result == 0)
        result = brd_file_read(io, fd, page, sizeof(page), 0, &size);
    brd_file_close(io, &fd);
    if (result < 0)
        return error_io(error, result, "read", segment->path);
    *out_verdict = segment_parse(page, size, &segment->header);
    return BRD_OK;
}

/* What meta would say, from the headers. BRD_CORRUPT: they do not agree, or there is none. */
static enum brd_status
guess_meta(const struct brd_io *io, const char *dir, const struct brd_wal_survey *survey,
           struct meta_slot *slot, struct brd_wal_error *error)
{
    bool found = false;
    size_t i;

    *slot =
        (struct meta_slot){ .first_segment = survey->number_count > 0 ? survey->numbers[0] : 0 };
    for (i = 0; i < survey->number_count; i++) {
        struct log_segment segment = { .number = survey->numbers[i],
                                       .path = segment_path(dir, survey->numbers[i]) };
        enum segment_verdict verdict = SEGMENT_BAD;
        enum brd_status status = segment.path == NULL
                                     ? error_set(error, BRD_OUT_OF_MEMORY, dir, 0, "out of memory")
                                     : read_header(io, &segment, &verdict, error);

        free(segment.path);
        if (status != BRD_OK)
            return status;
        if (verdict != SEGMENT_VALID)
            continue;
        if (found && memcmp(slot->uuid, segment.header.uuid, sizeof(slot->uuid)) != 0)
            return error_set(error, BRD_CORRUPT, dir, 0,
                             "%s/meta is lost, and its segments belong to different directories",
                             dir);
        found = true;
        memcpy(slot->uuid, segment.header.uuid, sizeof(slot->uuid));
        if (segment.header.epoch > slot->epoch)
            slot->epoch = segment.header.epoch;
        if (segment.header.created_ns > slot->time_ns)
            slot->time_ns = segment.header.created_ns;
    }
    return found ? BRD_OK
                 : error_set(error, BRD_CORRUPT, dir, 0,
                             "%s/meta is lost, and no segment tells whose log it was", dir);
}

/* Into survey: what meta says, or what the segments do. */
static enum brd_status
find_meta(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
          struct brd_wal_survey *survey, struct meta_slot *slot, struct brd_wal_error *error)
{
    struct meta meta = { .doubtful = false };
    enum brd_status status = meta_load(io, dir, keys, &meta, error);

    if (status == BRD_NOT_FOUND && survey->number_count == 0)
        return error_set(error, status, dir, 0, "there is no log in %s", dir);
    if (status == BRD_NOT_FOUND)
        status = error_set(error, BRD_CORRUPT, dir, 0, "%s/meta is missing, but there are segments",
                           dir);
    if (status == BRD_CORRUPT) {
        survey->meta_damaged = true;
        survey->meta_damage = *error;
        status = guess_meta(io, dir, survey, &meta.slot, error);
    }
    if (status != BRD_OK)
        return status;
    *slot = meta.slot;
    meta_tell(&meta, &survey->identity);
    survey->time_ns = slot->time_ns;
    return BRD_OK;
}

/* ---- What is whole ---- */

/* Counts the records of groups; the last one may turn out to be damaged inside. */
struct count {
    uint64_t records;
    uint64_t last_records;
    uint64_t last_version;
};

static enum brd_status
count_group(void *arg, const struct brd_wal_group_view *group)
{
    struct count *count = arg;

    count->records += group->records;
    count->last_records = group->records;
    count->last_version = group->last_version;
    return BRD_OK;
}

/* The stretch that begins with segment `first`. BRD_NOT_FOUND: not even its header is whole. */
static enum brd_status
walk_stretch(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
             const struct meta_slot *found, uint64_t first, struct brd_wal_stretch *stretch,
             struct brd_wal_error *error)
{
    struct meta_slot slot = *found;
    struct count count = { 0 };
    const struct brd_wal_visitor visitor = { .arg = &count, .group = count_group };
    struct log_map map = { 0 };
    struct log_end end = { 0 };
    struct brd_wal_report report;
    struct brd_wal_error map_error = { .text = "" };
    enum brd_status map_status;
    enum brd_status status;

    slot.first_segment = first;
    *stretch = (struct brd_wal_stretch){ .first_segment = first };
    map_status = map_load_part(io, dir, keys, &slot, &map, &map_error);
    if (map_status != BRD_OK && map_status != BRD_CORRUPT) {
        *error = map_error;
        return map_status;
    }
    status = log_walk(io, &slot, &map, &visitor, &end, &report, error);
    if (map.count == 0 || !map.segments[0].begun) {
        if (map_status == BRD_CORRUPT)
            *error = map_error;
        status = status == BRD_OK && map_status == BRD_OK ? BRD_OK : BRD_NOT_FOUND;
    } else if (status == BRD_OK || status == BRD_CORRUPT) {
        /* Damage that the walk met comes before that of the map. */
        stretch->damaged = status == BRD_CORRUPT || map_status == BRD_CORRUPT;
        if (stretch->damaged)
            stretch->damage = status == BRD_CORRUPT ? *error : map_error;
        stretch->base_version = map.segments[0].header.base_version;
        stretch->last_segment = map.segments[end.kept - 1].number;
        memcpy(stretch->last_salt, map.segments[end.kept - 1].header.salt,
               sizeof(stretch->last_salt));
        stretch->end_lsn = end.lsn;
        stretch->end_offset = end.end_offset;
        stretch->last_version = end.last_version;
        stretch->bytes = end.lsn - map.segments[0].header.start_lsn;
        stretch->records =
            count.records - (count.last_version > end.last_version ? count.last_records : 0);
        status = BRD_OK;
    }
    map_fini(&map);
    return status;
}

static enum brd_status
add_stretch(struct brd_wal_survey *survey, const struct brd_wal_stretch *stretch)
{
    struct brd_wal_stretch *more =
        realloc(survey->stretches, (survey->count + 1) * sizeof(*survey->stretches));

    if (more == NULL)
        return BRD_OUT_OF_MEMORY;
    survey->stretches = more;
    survey->stretches[survey->count++] = *stretch;
    return BRD_OK;
}

/* All stretches, oldest first. */
static enum brd_status
find_stretches(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
               const struct meta_slot *slot, struct brd_wal_survey *survey,
               struct brd_wal_error *error)
{
    uint64_t first = slot->first_segment != 0 ? slot->first_segment : 1;
    enum brd_status status = BRD_OK;
    bool more = true;
    size_t i = 0;

    while (more && status == BRD_OK) {
        struct brd_wal_stretch stretch = { .damaged = false };

        status = walk_stretch(io, dir, keys, slot, first, &stretch, error);
        if (status == BRD_NOT_FOUND) {
            stretch.damaged = true;
            stretch.damage = *error;
            status = BRD_OK;
        }
        /* The first one is told of although nothing is left of it. */
        if (status == BRD_OK && (stretch.last_segment != 0 || survey->count == 0))
            status = add_stretch(survey, &stretch);
        if (status == BRD_OUT_OF_MEMORY)
            error_set(error, status, dir, 0, "out of memory");
        if (stretch.last_segment > first)
            first = stretch.last_segment;
        while (i < survey->number_count && survey->numbers[i] <= first)
            i++;
        more = stretch.damaged && i < survey->number_count;
        if (more)
            first = survey->numbers[i];
    }
    return status;
}

enum brd_status
brd_wal_survey(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
               struct brd_wal_survey *out_survey, struct brd_wal_error *out_error)
{
    struct brd_wal_survey survey = { .numbers = NULL };
    struct meta_slot slot = { .magic = 0 };
    enum brd_status status;

    status = log_list(io, dir, &survey.numbers, &survey.number_count, out_error);
    if (status == BRD_OK)
        status = find_meta(io, dir, keys, &survey, &slot, out_error);
    if (status == BRD_OK)
        status = find_stretches(io, dir, keys, &slot, &survey, out_error);
    if (status != BRD_OK)
        brd_wal_survey_fini(&survey);
    else
        *out_survey = survey;
    return status;
}

void
brd_wal_survey_fini(struct brd_wal_survey *survey)
{
    free(survey->numbers);
    free(survey->stretches);
    *survey = (struct brd_wal_survey){ .numbers = NULL };
}

/* ---- What is lost ---- */

static enum brd_status
search_number(const struct brd_io *io, const char *dir, uint64_t number, uint64_t offset,
              uint64_t above_version, uint64_t newest, struct log_remains *remains,
              struct brd_wal_error *error)
{
    struct log_segment segment = { .number = number, .path = segment_path(dir, number) };
    enum segment_verdict verdict = SEGMENT_BAD;
    enum brd_status status;

    if (segment.path == NULL)
        return error_set(error, BRD_OUT_OF_MEMORY, dir, 0, "out of memory");
    status = read_header(io, &segment, &verdict, error);
    if (status == BRD_OK && verdict == SEGMENT_VALID) {
        if (segment.header.base_version > remains->last_version)
            remains->last_version = segment.header.base_version;
    } else {
        segment.header = (struct segment_header){ 0 }; /* no group is valid under this salt */
        if (verdict == SEGMENT_EMPTY && number > newest)
            segment.header.flags = SEGMENT_RECYCLED; /* it never began, whatever lies in it */
    }
    if (status == BRD_OK && segment.file_bytes > offset)
        status = search_file(io, &segment, offset, above_version, remains, error);
    free(segment.path);
    return status;
}

enum brd_status
brd_wal_count_lost(const struct brd_io *io, const char *dir, const struct brd_wal_survey *survey,
                   const struct brd_wal_stretch *stretch, uint64_t above_version,
                   struct brd_wal_lost *out_lost, struct brd_wal_error *out_error)
{
    struct log_remains remains = { .last_version = survey->identity.last_version };
    enum brd_status status = BRD_OK;
    size_t i;

    if (stretch != NULL)
        above_version = stretch->last_version;
    for (i = 0; status == BRD_OK && i < survey->number_count; i++) {
        uint64_t number = survey->numbers[i];
        uint64_t offset = SEGMENT_HEADER_BYTES;

        if (stretch != NULL && number < stretch->last_segment)
            continue;
        if (stretch != NULL && number == stretch->last_segment)
            offset = stretch->end_offset;
        status = search_number(io, dir, number, offset, above_version,
                               survey->identity.newest_segment, &remains, out_error);
    }
    if (status == BRD_OK)
        *out_lost = (struct brd_wal_lost){
            .records = remains.records,
            .bytes = remains.group_bytes,
            .damaged_bytes =
                remains.bytes > remains.group_bytes ? remains.bytes - remains.group_bytes : 0,
            .last_version = remains.last_version > above_version ? remains.last_version : 0,
        };
    return status;
}

char *
brd_wal_segment_path(const char *dir, uint64_t number)
{
    return segment_path(dir, number);
}

/* ---- Mending ---- */

static int
cut_segment(const struct brd_io *io, const char *path, uint64_t end_offset)
{
    int fd = io->open(io->ctx, path, O_RDWR);
    int result = fd < 0 ? fd : io->ftruncate(io->ctx, fd, end_offset);

    if (result == 0)
        result = io->fdatasync(io->ctx, fd);
    brd_file_close(io, &fd);
    return result;
}

/* An empty segment without a predecessor, which is the newest one. */
static int
make_segment(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
             struct meta_slot *slot, uint64_t number, uint64_t base_version, uint64_t now_ns)
{
    struct segment_header header = {
        .base_version = base_version,
        .epoch = slot->epoch,
        .created_ns = now_ns,
    };
    struct segment *segment = NULL;
    int result =
        segment_prepare(io, dir, number, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MIN, NULL, &segment);

    if (result != 0)
        return result;
    memcpy(header.uuid, slot->uuid, sizeof(header.uuid));
    result = segment_seal(segment, keys, slot->uuid);
    if (result == 0)
        result = segment_begin(io, segment, &header);
    if (result == 0)
        result = io->fdatasync(io->ctx, segment->fd);
    meta_set_newest(slot, number, segment->header.salt);
    segment_close(io, &segment);
    return result;
}

/* Both slots, so that the older one does not name what is gone. */
static int
store_both(const struct brd_io *io, const char *dir, struct meta *meta, struct brd_seal *seal)
{
    char *path = NULL;
    int fd;
    int result;

    if (asprintf(&path, "%s/meta", dir) < 0)
        return -ENOMEM;
    fd = io->open(io->ctx, path, O_RDWR);
    free(path);
    result = fd < 0 ? fd : meta_store(io, fd, meta, seal);
    if (result == 0)
        result = meta_store(io, fd, meta, seal);
    brd_file_close(io, &fd);
    return result;
}

static uint64_t
wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * BRD_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Nothing of the log stays: begin a new one, or leave it to the next start. */
static int
begin_anew(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
           const struct brd_wal_survey *survey, uint64_t base_version, struct meta_slot *slot)
{
    uint64_t number = survey->number_count > 0 ? survey->numbers[survey->number_count - 1] + 1 : 1;

    slot->first_segment = 0;
    meta_set_newest(slot, 0, NULL);
    slot->synced_lsn = 0;
    slot->last_version = base_version;
    if (base_version == 0)
        return 0;
    slot->first_segment = number;
    return make_segment(io, dir, keys, slot, number, base_version, wall_ns());
}

/* What the survey found in the segments, most of which may be gone by now. */
static void
recall_meta(const struct brd_wal_survey *survey, struct meta *meta)
{
    *meta =
        (struct meta){ .slot = { .epoch = survey->identity.epoch, .time_ns = survey->time_ns } };
    memcpy(meta->slot.uuid, survey->identity.uuid, sizeof(meta->slot.uuid));
}

enum brd_status
brd_wal_mend(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
             const struct brd_wal_survey *survey, const struct brd_wal_stretch *stretch,
             uint64_t base_version, struct brd_wal_error *out_error)
{
    struct meta meta;
    struct meta_slot *slot = &meta.slot;
    struct brd_seal *seal = NULL;
    enum brd_status status = BRD_OK;
    int result = 0;

    if (survey->meta_damaged)
        recall_meta(survey, &meta);
    else
        status = meta_load(io, dir, keys, &meta, out_error);
    if (status != BRD_OK)
        return status;
    status = meta_use_key(&meta, keys, &seal);
    if (status != BRD_OK)
        return error_set(out_error, status, dir, 0, "out of memory");
    slot->flags &= ~META_CLEAN;
    if (stretch != NULL) {
        char *path = segment_path(dir, stretch->last_segment);

        result = path == NULL ? -ENOMEM : cut_segment(io, path, stretch->end_offset);
        free(path);
        slot->first_segment = stretch->first_segment;
        if (slot->newest_segment > stretch->last_segment)
            meta_set_newest(slot, stretch->last_segment, stretch->last_salt);
        if (slot->synced_lsn > stretch->end_lsn)
            slot->synced_lsn = stretch->end_lsn;
        slot->last_version = stretch->last_version;
    } else {
        result = begin_anew(io, dir, keys, survey, base_version, slot);
    }
    if (survey->meta_damaged) {
        uint64_t floor = slot->last_version > wall_ns() ? slot->last_version : wall_ns();

        slot->ceiling = floor + CEILING_SPARE_NS;
    }
    if (result == 0)
        result = survey->meta_damaged ? meta_create(io, dir, &meta, seal)
                                      : store_both(io, dir, &meta, seal);
    brd_seal_close(&seal);
    return result == 0 ? BRD_OK : error_io(out_error, result, "mend the log in", dir);
}

/* ---- Making ---- */

enum brd_status
brd_wal_create(const struct brd_io *io, const char *dir, const struct brd_wal_origin *origin,
               struct brd_wal_error *out_error)
{
    struct meta meta = { .slot = { .epoch = origin->epoch,
                                   .ceiling = origin->ceiling,
                                   .last_version = origin->base_version,
                                   .time_ns = origin->time_ns } };
    struct brd_seal *seal = NULL;
    enum brd_status status;
    char path[4096];
    int result;

    memcpy(meta.slot.uuid, origin->uuid, sizeof(meta.slot.uuid));
    status = meta_use_key(&meta, origin->keys, &seal);
    if (status != BRD_OK)
        return error_set(out_error, status, dir, 0, "out of memory");
    if (seal != NULL)
        meta.slot.flags |= META_ALL_SEALED;
    snprintf(path, sizeof(path), "%s/wal", dir);
    result = brd_file_make_dir(io, path);
    if (result == 0 && origin->base_version != 0) {
        meta.slot.first_segment = 1;
        result =
            make_segment(io, dir, origin->keys, &meta.slot, 1, origin->base_version, wall_ns());
    }
    if (result == 0)
        result = meta_create(io, dir, &meta, seal);
    brd_seal_close(&seal);
    return result == 0 ? BRD_OK : error_io(out_error, result, "make a log in", dir);
}

/* The search behind the end.
 *
 * Every multiple of 8 may be where a group begins: a *claim* is a place whose 64 bytes have the
 * magic, that place's own position, and a length that the file has room for. Only the checksum
 * tells whether it is a group. A crash leaves a handful of claims that are none. Whoever can
 * write to the file makes one in every other place, each as long as the rest of the file, and
 * checking one after the other would take years. No claim is turned down for looking unlikely:
 * a group that is overlooked here may be the only witness that makes damage of an end.
 *
 * So as soon as claims that were none have cost as much as reading the rest once, the checksums
 * of all beginnings of the rest are made, in one pass:
 *
 *     sums[i] = crc(0, bytes from `from` to from + 8 i)
 *
 * A group at p of s bytes has the checksum crc(seed, bytes from p + 8 to p + s). Checksums are
 * linear: what differs before a stretch differs behind it by what brd_crc32c_shift says, for
 * any bytes in the stretch. With a = sums up to p + 8 and b = sums up to p + s, b is crc(a, the
 * same bytes), and therefore
 *
 *     crc(seed, bytes from p + 8 to p + s) = shift(seed ^ a, s - 8) ^ b
 *
 * exactly, and not with some probability: the two ways give the same verdict on every claim, at
 * the cost of one shift instead of s bytes. What the sums let pass is read and checked as ever,
 * and stepped over; it does not overlap with the next.
 *
 * Bytes summed, of n that are searched: n at most in groups, which do not overlap; n at most in
 * claims that were none, before there are sums; n for the sums. Claims: at most n / 8, a shift each.
 * Memory: the window, and 4 bytes for each 8 of the rest where there are sums. */
#include "wal/search.h"

#include "base/check.h"
#include "base/crc32c.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SEARCH_BYTES ((size_t)4096)      /* looked at in one step */
#define SUM_BYTES    ((size_t)256 << 10) /* read at once for the sums */
#define LOOK_BYTES   (UINT64_C(4) << 20) /* of work between two calls of progress */
#define COVERED_FROM offsetof(struct group_header, flags)

static_assert(COVERED_FROM == GROUP_ALIGN, "sums are of whole steps");

struct search {
    struct window *window;
    uint32_t seed;
    uint64_t from;      /* offset in the file, likewise below */
    bool recycled;      /* what is no group, nor begins like one here, is an earlier life's */
    uint64_t dirty_end; /* behind the last byte that is not zero, nor of an earlier life */
    uint64_t above_version;
    uint64_t wasted_bytes; /* summed for claims that were none */
    uint32_t *sums;        /* owned; NULL: not worth it yet */
    uint64_t sum_count;
    struct brd_crc32c_shifts shifts; /* where there are sums */
    struct search_progress *progress;
    uint64_t looked; /* work done when progress was last told */
    struct log_remains *remains;
    struct brd_wal_error *error;
};

/* Tell how far it is, now and then. */
static enum brd_status
look_up(struct search *search, uint64_t at)
{
    struct search_progress *progress = search->progress;
    uint64_t work = at - search->from + search->remains->summed_bytes;

    if (progress == NULL || progress->fn == NULL || work - search->looked < LOOK_BYTES)
        return BRD_OK;
    search->looked = work;
    return progress->fn(progress->arg, true, progress->done + (at - search->from), progress->total);
}

/* ---- One claim ---- */

static enum brd_status
make_sums(struct search *search, uint64_t at)
{
    struct window *window = search->window;
    const struct log_segment *segment = window->segment;
    uint64_t steps = (segment->file_bytes - search->from) / GROUP_ALIGN;
    uint8_t *buffer = malloc(SUM_BYTES);
    uint32_t *sums = calloc((size_t)steps + 1, sizeof(*sums));
    enum brd_status status = BRD_OK;
    uint64_t done = 0;
    size_t size = 1;

    if (buffer == NULL || sums == NULL) {
        free(buffer);
        free(sums);
        return error_set(search->error, BRD_OUT_OF_MEMORY, segment->path, at,
                         "out of memory for the checksums of %s", segment->path);
    }
    while (status == BRD_OK && size > 0 && done < steps) {
        uint64_t offset = search->from + done * GROUP_ALIGN;
        int result = brd_file_read(window->io, window->fd, buffer, SUM_BYTES, offset, &size);
        size_t i;

        if (result < 0)
            status = error_io(search->error, result, "read", segment->path);
        size = result < 0 ? 0 : size & ~(size_t)(GROUP_ALIGN - 1);
        for (i = 0; i < size && done < steps; i += GROUP_ALIGN, done++)
            sums[done + 1] = brd_crc32c(sums[done], buffer + i, GROUP_ALIGN);
        search->remains->summed_bytes += size;
        if (status == BRD_OK)
            status = look_up(search, at);
    }
    free(buffer);
    if (status != BRD_OK) {
        free(sums);
        return status;
    }
    brd_crc32c_shifts_init(&search->shifts);
    search->sums = sums;
    search->sum_count = done + 1; /* fewer where the file has become shorter: no group is there */
    return BRD_OK;
}

/* Is the checksum of this claim right? */
static bool
sums_agree(const struct search *search, uint64_t at, const struct group_header *header)
{
    uint64_t size = group_size(header);
    uint64_t begin = (at - search->from + COVERED_FROM) / GROUP_ALIGN;
    uint64_t end = (at - search->from + size) / GROUP_ALIGN;
    uint32_t shifted;

    if (end >= search->sum_count)
        return false;
    shifted = brd_crc32c_shift(&search->shifts, search->seed ^ search->sums[begin],
                               (uint32_t)(size - COVERED_FROM));
#ifndef BRD_FUZZ /* as group_parse */
    return (shifted ^ search->sums[end]) == header->checksum;
#else
    (void)shifted;
    return true;
#endif
}

/* Judge the place at which bytes begin. */
static enum brd_status
judge(struct search *search, uint64_t at, struct brd_bytes bytes, enum group_verdict *out_verdict,
      struct group_header *out_header)
{
    const struct log_segment *segment = search->window->segment;
    uint64_t lsn = segment->header.start_lsn + (at - SEGMENT_HEADER_BYTES);
    enum brd_status status = BRD_OK;
    struct group_header header;
    uint64_t size;

    *out_verdict = GROUP_BAD;
    if (!group_header_plausible(bytes.data, lsn))
        return BRD_OK;
    memcpy(&header, bytes.data, sizeof(header));
    size = group_size(&header);
    if (size > segment->file_bytes - at)
        return BRD_OK;
    if (search->sums == NULL && search->wasted_bytes + size > segment->file_bytes - search->from)
        status = make_sums(search, at);
    if (status != BRD_OK || (search->sums != NULL && !sums_agree(search, at, &header)))
        return status;
    status = window_group(search->window, at, search->seed, lsn, out_verdict, out_header, &bytes,
                          search->error);
    search->remains->summed_bytes += size;
    if (*out_verdict == GROUP_BAD)
        search->wasted_bytes += size;
    return status;
}

static void
count_group(struct search *search, const struct group_header *header)
{
    struct log_remains *remains = search->remains;

    if (header->synced_lsn > remains->synced_lsn)
        remains->synced_lsn = header->synced_lsn;
    if (header->last_version <= search->above_version)
        return;
    remains->groups++;
    remains->group_bytes += group_size(header);
    remains->records += header->records;
    if (header->last_version > remains->last_version)
        remains->last_version = header->last_version;
}

/* ---- All of them ---- */

/* How many of the bytes can be stepped over because no header begins there.
 * *out_dirty: end of the last step among them that was not zeros. */
static size_t
skip_to_magic(struct brd_bytes bytes, size_t *out_dirty)
{
    size_t at = 0;

    *out_dirty = 0;
    if (brd_bytes_are_zero(bytes))
        return bytes.size;
    while (at + sizeof(uint32_t) <= bytes.size && brd_load_le32(bytes.data + at) != GROUP_MAGIC) {
        size_t step = bytes.size - at < GROUP_ALIGN ? bytes.size - at : GROUP_ALIGN;

        if (!brd_bytes_are_zero(brd_bytes(bytes.data + at, step)))
            *out_dirty = at + step;
        at += step;
    }
    return at;
}

static void
note_dirty(struct search *search, uint64_t end)
{
    if (end > search->dirty_end)
        search->dirty_end = end;
}

/* What begins like a group at a place where one of this life could be, though it is none:
 * where it would end. 0: it does not even begin so. */
static uint64_t
claimed_end(const struct search *search, struct brd_bytes bytes, uint64_t at)
{
    const struct log_segment *segment = search->window->segment;
    struct group_header header;

    if (!group_header_plausible(bytes.data,
                                segment->header.start_lsn + (at - SEGMENT_HEADER_BYTES)))
        return 0;
    memcpy(&header, bytes.data, sizeof(header));
    return at + group_size(&header);
}

/* Look at `at` and go on behind what was seen there; *out_over: nothing follows. */
static enum brd_status
step(struct search *search, uint64_t *at, bool *out_over)
{
    enum group_verdict verdict = GROUP_BAD;
    struct group_header header;
    struct brd_bytes bytes;
    enum brd_status status;
    uint64_t claimed;
    size_t dirty;
    size_t skipped;

    status = window_at(search->window, *at, SEARCH_BYTES, &bytes, search->error);
    if (status != BRD_OK)
        return status;
    if (bytes.size < sizeof(struct group_header)) {
        if (!search->recycled && !brd_bytes_are_zero(bytes))
            note_dirty(search, *at + bytes.size);
        *out_over = true;
        return BRD_OK;
    }
    if (bytes.size > SEARCH_BYTES) /* not a run of megabytes for each claim within */
        bytes.size = SEARCH_BYTES;
    skipped = skip_to_magic(bytes, &dirty);
    if (dirty > 0 && !search->recycled)
        note_dirty(search, *at + dirty);
    if (skipped > 0) {
        *at += skipped & ~(size_t)(GROUP_ALIGN - 1);
        *out_over = skipped < GROUP_ALIGN;
        return BRD_OK;
    }
    claimed = claimed_end(search, bytes, *at); /* before the window moves */
    status = judge(search, *at, bytes, &verdict, &header);
    if (status != BRD_OK)
        return status;
    if (verdict == GROUP_BAD) {
        *at += GROUP_ALIGN;
        note_dirty(search, search->recycled ? claimed : *at);
    } else {
        count_group(search, &header);
        *at += group_size(&header);
        note_dirty(search, *at);
    }
    return BRD_OK;
}

enum brd_status
search_window(struct window *window, uint64_t offset, uint64_t above_version,
              struct log_remains *remains, struct search_progress *progress,
              struct brd_wal_error *error)
{
    const struct log_segment *segment = window->segment;
    struct search search = {
        .window = window,
        .seed = group_seed(segment->header.salt),
        .from = offset,
        .recycled = (segment->header.flags & SEGMENT_RECYCLED) != 0,
        .dirty_end = offset,
        .above_version = above_version,
        .progress = progress,
        .looked = remains->summed_bytes,
        .remains = remains,
        .error = error,
    };
    enum brd_status status = BRD_OK;
    bool over = false;
    uint64_t at = offset;

    BRD_CHECK(offset % GROUP_ALIGN == 0);
    while (status == BRD_OK && !over && at < segment->file_bytes) {
        status = step(&search, &at, &over);
        if (status == BRD_OK)
            status = look_up(&search, at);
    }
    free(search.sums);
    if (status != BRD_OK)
        return status;
    if (search.dirty_end > segment->file_bytes)
        search.dirty_end = segment->file_bytes;
    remains->bytes += search.dirty_end - offset;
    if (progress != NULL && segment->file_bytes > offset)
        progress->done += segment->file_bytes - offset;
    return BRD_OK;
}

enum brd_status
search_file(const struct brd_io *io, const struct log_segment *segment, uint64_t offset,
            uint64_t above_version, struct log_remains *remains, struct brd_wal_error *error)
{
    struct window window = { .io = io, .fd = -1 };
    enum brd_status status = window_open(&window, segment, error);

    if (status == BRD_OK)
        status = search_window(&window, offset, above_version, remains, NULL, error);
    window_fini(&window);
    return status;
}

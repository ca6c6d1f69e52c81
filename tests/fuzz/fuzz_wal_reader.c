/* The log reader on any bytes: no crash, no hang, no overrun, and never more
 * records than the bytes can hold.
 *
 * The input is two bytes (little-endian) with the size of a segment, the segment
 * (its header without the page's zeros), and a slot of meta. Their identity and
 * place are put right, so that the fuzzer gets to the groups; checksums, macs and tags are not
 * looked at in fuzz builds (BRD_FUZZ), where an encrypted group holds its records as they are.
 * corpus/make_wal.py makes the corpus. */
#include "base/check.h"
#include "base/diag.h"
#include "base/file.h"
#include "seal/keyring.h"
#include "wal/meta.h"
#include "wal/segment.h"
#include "wal/wal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- A disk with two files that can only be read ---- */

#define FD_META    1
#define FD_SEGMENT 2

static uint8_t segment[SEGMENT_HEADER_BYTES + UINT16_MAX];
static size_t segment_size;
static uint8_t meta[2 * META_PAGE_BYTES];

static struct brd_bytes
content(int fd)
{
    return fd == FD_META ? brd_bytes(meta, sizeof(meta)) : brd_bytes(segment, segment_size);
}

static int
two_open(void *ctx, const char *path, int flags)
{
    (void)ctx;
    (void)flags;
    if (strcmp(path, "/data/meta") == 0)
        return FD_META;
    return strcmp(path, "/data/wal/0000000000000001.wal") == 0 ? FD_SEGMENT : -ENOENT;
}

static int
two_close(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static ssize_t
two_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset)
{
    struct brd_bytes bytes = content(fd);

    (void)ctx;
    if (offset >= bytes.size)
        return 0;
    if (size > bytes.size - offset)
        size = bytes.size - (size_t)offset;
    memcpy(data, bytes.data + offset, size);
    return (ssize_t)size;
}

static int
two_size(void *ctx, int fd, uint64_t *out_size)
{
    (void)ctx;
    *out_size = content(fd).size;
    return 0;
}

static int
two_list(void *ctx, const char *path, brd_io_list_fn fn, void *arg)
{
    (void)ctx;
    (void)path;
    return fn(arg, "0000000000000001.wal");
}

static const struct brd_io two_files = {
    .open = two_open,
    .close = two_close,
    .pread = two_pread,
    .size = two_size,
    .list = two_list,
};

/* ---- The harness ---- */

struct seen {
    uint64_t records;
    uint64_t bytes;
    uint64_t last_version;
};

static enum brd_status
on_record(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    struct seen *seen = arg;
    size_t i;
    volatile uint8_t sum = 0;

    (void)done;
    (void)total;
    BRD_CHECK(version > seen->last_version);
    for (i = 0; i < payload.size; i++)
        sum = (uint8_t)(sum + payload.data[i]); /* touch every byte */
    seen->last_version = version;
    seen->records++;
    seen->bytes += payload.size;
    return BRD_OK;
}

/* One key, with an id that is easy to make. */
static struct brd_keyring *
the_ring(void)
{
    static struct brd_keyring *ring;

    if (ring != NULL)
        return ring;
    ring = calloc(1, sizeof(*ring) + sizeof(ring->masters[0]));
    BRD_CHECK(ring != NULL);
    ring->count = ring->room = 1;
    memset(ring->masters[0].key, 1, sizeof(ring->masters[0].key));
    memset(ring->masters[0].id, 9, sizeof(ring->masters[0].id));
    return ring;
}

/* A page with the input's bytes over it, and what must be right for it to count. */
static void
make_meta(const uint8_t *data, size_t size)
{
    uint8_t *page = meta;
    struct meta_slot slot;

    memset(meta, 0, sizeof(meta));
    memcpy(page, data, size < META_SLOT_BYTES ? size : META_SLOT_BYTES);
    memcpy(&slot, page, sizeof(slot));
    slot.magic = META_MAGIC;
    slot.format = META_FORMAT;
    slot.generation &= ~UINT64_C(1);
    slot.flags &= META_FLAGS_KNOWN;
    slot.first_segment = 1;
    slot.newest_segment &= 1;
    memset(slot.uuid, 7, sizeof(slot.uuid));
    memset(slot.key_id, (slot.flags & META_SEALED) != 0 ? 9 : 0, sizeof(slot.key_id));
    memcpy(page, &slot, sizeof(slot));
}

static void
make_segment(const uint8_t *data, size_t size)
{
    struct segment_header header;

    memset(segment, 0, SEGMENT_HEADER_BYTES);
    segment_size = SEGMENT_HEADER_BYTES;
    if (size > sizeof(header)) {
        memcpy(segment, data, sizeof(header));
        memcpy(segment + SEGMENT_HEADER_BYTES, data + sizeof(header), size - sizeof(header));
        segment_size += size - sizeof(header);
    }
    memcpy(&header, segment, sizeof(header));
    header.magic = SEGMENT_MAGIC;
    header.format = SEGMENT_FORMAT;
    header.flags &= SEGMENT_FLAGS_KNOWN;
    header.number = 1;
    header.start_lsn &= ~UINT64_C(7);
    memset(header.uuid, 7, sizeof(header.uuid));
    memset(header.key_id, (header.flags & SEGMENT_SEALED) != 0 ? 9 : 0, sizeof(header.key_id));
    header.cipher = 1 + header.cipher % 2;
    memcpy(segment, &header, sizeof(header));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct brd_wal_options options = {
        .dir = "/data",
        .io = &two_files,
        .read_only = true,
        .keys = the_ring(),
    };
    struct brd_wal_report report;
    struct brd_wal_error error;
    struct seen seen = { 0 };
    struct brd_wal *wal = NULL;
    size_t first;

    if (size < 2)
        return 0;
    first = brd_load_le16(data);
    data += 2;
    size -= 2;
    if (first > size)
        first = size;
    brd_diag_set_level((enum brd_diag_level)0);
    make_segment(data, first);
    make_meta(data + first, size - first);
    if (brd_wal_open(&options, &wal, &error) == BRD_OK &&
        brd_wal_replay(wal, on_record, &seen, &report, &error) == BRD_OK) {
        BRD_CHECK(seen.bytes <= first);
        BRD_CHECK(seen.records == report.records);
    }
    brd_wal_close(&wal);
    return 0;
}

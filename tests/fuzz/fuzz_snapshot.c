/* The snapshot reader on any bytes: no crash, no hang, no overrun, and never more
 * records than the bytes can hold.
 *
 * The input is a header (without the page's zeros), blocks, and a footer. What has to
 * be right for the reader to get to the blocks is put right; checksums are not
 * looked at in fuzz builds (BRD_FUZZ), nor are the MACs of header and footer. Where the
 * input says that it is sealed, the key is there; blocks then fail by their tags. */
#include "base/check.h"
#include "engine/engine.h"
#include "engine/snapshot.h"

#include "tests/support/rings.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t file[SNAPSHOT_HEADER_BYTES + (1 << 20)];
static size_t file_size;

/* ---- A disk with one file that can only be read ---- */

static int
one_open(void *ctx, const char *path, int flags)
{
    (void)ctx;
    (void)path;
    (void)flags;
    return 1;
}

static int
one_close(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static ssize_t
one_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset)
{
    (void)ctx;
    (void)fd;
    if (offset >= file_size)
        return 0;
    if (size > file_size - offset)
        size = file_size - (size_t)offset;
    memcpy(data, file + offset, size);
    return (ssize_t)size;
}

static int
one_size(void *ctx, int fd, uint64_t *out_size)
{
    (void)ctx;
    (void)fd;
    *out_size = file_size;
    return 0;
}

static const struct brd_io one_file = {
    .open = one_open,
    .close = one_close,
    .pread = one_pread,
    .size = one_size,
};

/* ---- The harness ---- */

/* Of a key that everybody knows, made once. */
static const struct brd_keyring *
ring(void)
{
    static struct brd_keyring *made;

    if (made == NULL)
        made = ring_of(RING_A);
    return made;
}

static bool
make_file(const uint8_t *data, size_t size)
{
    struct snapshot_header header;
    struct snapshot_footer footer;
    size_t footer_bytes;

    if (size < sizeof(header) + sizeof(footer) || size > (1 << 20))
        return false;
    memset(file, 0, SNAPSHOT_HEADER_BYTES);
    memcpy(&header, data, sizeof(header));
    header.magic = SNAPSHOT_MAGIC;
    header.format = SNAPSHOT_FORMAT;
    if ((header.flags & SNAPSHOT_SEALED) != 0)
        memcpy(header.key_id, brd_keyring_current(ring()), sizeof(header.key_id));
    memcpy(file, &header, sizeof(header));
    memcpy(file + SNAPSHOT_HEADER_BYTES, data + sizeof(header), size - sizeof(header));
    file_size = SNAPSHOT_HEADER_BYTES + size - sizeof(header);
    footer_bytes = (header.flags & SNAPSHOT_SEALED) != 0 ? sizeof(struct snapshot_sealed_footer)
                                                         : sizeof(footer);
    if (file_size < SNAPSHOT_HEADER_BYTES + footer_bytes)
        return false;
    memcpy(&footer, file + file_size - footer_bytes, sizeof(footer));
    footer.magic = SNAPSHOT_FOOTER_MAGIC;
    footer.bytes = file_size - footer_bytes;
    memcpy(file + file_size - footer_bytes, &footer, sizeof(footer));
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct snapshot_reader reader;
    struct brd_snapshot_error error;
    struct brd_bytes records;
    struct snapshot_lane lane;
    uint64_t seen = 0;
    uint64_t offset;

    if (!make_file(data, size) ||
        snapshot_open(&reader, &one_file, ring(), "/data/snapshots/1.snap", &error) != BRD_OK)
        return 0;
    BRD_CHECK(snapshot_lane_open(&lane, &reader, &error) == BRD_OK);
    while (snapshot_next_block(&reader, &lane, &records, &offset, &error) == BRD_OK) {
        struct brd_bytes payload;
        uint64_t version;

        BRD_CHECK(offset >= SNAPSHOT_HEADER_BYTES && offset < file_size);
        while (snapshot_next_record(&records, &version, &payload)) {
            struct brd_change change;

            BRD_CHECK(version <= reader.info.end_version);
            seen++;
            while (brd_change_next(&payload, &change) == BRD_OK)
                ;
        }
        BRD_CHECK(records.size == 0);
    }
    BRD_CHECK(seen <= size);
    snapshot_lane_close(&lane);
    snapshot_close(&reader);
    return 0;
}

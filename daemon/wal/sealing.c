/* Most groups lie in one piece in the queue's arena, and nobody reads them there again: they are
 * encrypted where they are. One with blobs is not all the log's own: the store still answers
 * reads from a blob, so it is encrypted into a buffer. That one is mapped, as the
 * arenas are: its pages cost memory once used, and a large one is given back. */
#include "wal/sealing.h"

#include "base/check.h"
#include "wal/queue.h"

#include <sys/mman.h>

#define KEPT_BYTES ((size_t)2 << 20)

/* Room for the records of a group. */
static bool
grow(struct sealing *sealing, size_t room)
{
    void *data;

    if (room <= sealing->room)
        return true;
    sealing_fini(sealing);
    if (room < KEPT_BYTES)
        room = KEPT_BYTES;
    data = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
    if (data == MAP_FAILED)
        return false;
    sealing->buffer = data;
    sealing->room = room;
    return true;
}

enum brd_status
sealing_group(struct sealing *sealing, struct brd_seal *seal, struct iovec *parts, int *count)
{
    struct brd_bytes pieces[2 * QUEUE_GROUP_BLOBS_MAX + 1];
    uint8_t *records = (uint8_t *)parts[0].iov_base + sizeof(struct group_header);
    struct group_header header;
    uint8_t aad[sizeof(header)];
    enum brd_status status;
    size_t size = 0;
    uint8_t *out;
    int i;

    BRD_CHECK(*count >= 1 && *count <= 2 * QUEUE_GROUP_BLOBS_MAX + 1);
    memcpy(&header, parts[0].iov_base, sizeof(header));
    BRD_CHECK((header.flags & GROUP_SEALED) != 0);
    group_aad(&header, aad);
    pieces[0] = brd_bytes(records, parts[0].iov_len - sizeof(header));
    for (i = 1; i < *count; i++)
        pieces[i] = brd_bytes(parts[i].iov_base, parts[i].iov_len);
    for (i = 0; i < *count; i++)
        size += pieces[i].size;
    /* The padding lies behind the last record, which no blob ends unless there is none. */
    BRD_CHECK(size >= header.length && size - header.length < GROUP_ALIGN);
    BRD_CHECK(pieces[*count - 1].size >= size - header.length);
    pieces[*count - 1].size -= size - header.length;
    if (*count > 1 && !grow(sealing, header.length))
        return BRD_OUT_OF_MEMORY;
    out = *count == 1 ? records : sealing->buffer;
    memset(sealing->tail, 0, sizeof(sealing->tail));
    status = brd_seal_part(seal, header.lsn, brd_bytes(aad, sizeof(aad)), pieces, (size_t)*count,
                           out, sealing->tail);
    if (status != BRD_OK)
        return status;
    parts[0].iov_len = sizeof(header);
    parts[1] = (struct iovec){ .iov_base = out, .iov_len = header.length };
    parts[2] = (struct iovec){ .iov_base = sealing->tail,
                               .iov_len = GROUP_TAG_BYTES + size - header.length };
    *count = 3;
    return BRD_OK;
}

void
sealing_trim(struct sealing *sealing)
{
    if (sealing->room > KEPT_BYTES)
        sealing_fini(sealing);
}

void
sealing_fini(struct sealing *sealing)
{
    if (sealing->buffer != NULL)
        munmap(sealing->buffer, sealing->room);
    sealing->buffer = NULL;
    sealing->room = 0;
}

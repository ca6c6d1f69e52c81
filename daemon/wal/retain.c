#include "wal/retain.h"

#include "base/check.h"
#include "wal/keys.h"

#include <stdlib.h>
#include <string.h>

void
retention_fini(struct retention *retention)
{
    free(retention->kept);
    *retention = (struct retention){ 0 };
}

enum brd_status
retention_reserve(struct retention *retention, size_t n)
{
    size_t room = retention->room == 0 ? 16 : retention->room * 2;
    struct kept_segment *kept;

    if (retention->count + n <= retention->room)
        return BRD_OK;
    if (room < retention->count + n)
        room = retention->count + n;
    kept = realloc(retention->kept, room * sizeof(*kept));
    if (kept == NULL)
        return BRD_OUT_OF_MEMORY;
    retention->kept = kept;
    retention->room = room;
    return BRD_OK;
}

void
retention_add(struct retention *retention, const struct kept_segment *segment)
{
    BRD_CHECK(retention->count < retention->room);
    if (retention->count > 0) {
        const struct kept_segment *last = &retention->kept[retention->count - 1];

        BRD_CHECK(last->number + 1 == segment->number &&
                  last->base_version <= segment->base_version);
    }
    retention->kept[retention->count++] = *segment;
}

size_t
retention_covered(const struct retention *retention, uint64_t version)
{
    size_t n = 0;

    while (n + 1 < retention->count && retention->kept[n + 1].base_version <= version)
        n++;
    return n;
}

bool
retention_is_under(const struct retention *retention, const uint8_t *key_id)
{
    size_t i;

    for (i = 0; i < retention->count; i++)
        if (memcmp(retention->kept[i].key_id, key_id, sizeof(retention->kept[i].key_id)) != 0)
            return false;
    return true;
}

bool
retention_is_sealed(const struct retention *retention)
{
    size_t i;

    for (i = 0; i < retention->count; i++)
        if (keys_is_plain(retention->kept[i].key_id))
            return false;
    return true;
}

void
retention_drop(struct retention *retention, size_t n)
{
    BRD_CHECK(n < retention->count);
    retention->count -= n;
    memmove(retention->kept, retention->kept + n, retention->count * sizeof(*retention->kept));
}

/* First in, first out: items of 5 bytes in chunks of 1 KiB.
 *
 *   item   39  32 31                                  0
 *         |  tag |  bits of the bucket  |    shard     |
 *
 * An item names the entry whose hash has these bits. It owns nothing and keeps
 * nothing alive: the entry may be gone, and whoever takes the item looks. With s
 * bits of shard the bucket has 32 - s, enough for 2^32 buckets in all.
 *
 * Never locks: the owner's lock. */
#ifndef BRD_STORE_FIFO_H
#define BRD_STORE_FIFO_H

#include "base/bytes.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#define FIFO_ITEM_BYTES  5
#define FIFO_CHUNK_BYTES 1024
#define FIFO_CHUNK_ITEMS ((FIFO_CHUNK_BYTES - 12) / FIFO_ITEM_BYTES)

struct fifo_chunk {
    struct fifo_chunk *next;
    uint16_t first; /* items first to end - 1 are in it */
    uint16_t end;
    uint8_t items[FIFO_CHUNK_ITEMS * FIFO_ITEM_BYTES];
};

static_assert(offsetof(struct fifo_chunk, items) == 12, "the rest of the chunk is items");
static_assert(sizeof(struct fifo_chunk) <= FIFO_CHUNK_BYTES, "a class of the allocator");

struct fifo {
    struct fifo_chunk *head; /* owned */
    struct fifo_chunk *tail;
    uint64_t items;
};

/* Whether a push needs a chunk: the caller then adds one. */
static inline bool
fifo_is_full(const struct fifo *fifo)
{
    return fifo->tail == NULL || fifo->tail->end == FIFO_CHUNK_ITEMS;
}

/* Add an empty chunk behind the last. Takes it over. */
static inline void
fifo_add_chunk(struct fifo *fifo, struct fifo_chunk *chunk)
{
    chunk->next = NULL;
    chunk->first = 0;
    chunk->end = 0;
    if (fifo->tail == NULL)
        fifo->head = chunk;
    else
        fifo->tail->next = chunk;
    fifo->tail = chunk;
}

/* Not full. */
static inline void
fifo_push(struct fifo *fifo, uint64_t item)
{
    uint8_t *at = fifo->tail->items + fifo->tail->end * FIFO_ITEM_BYTES;

    brd_store_le32(at, (uint32_t)item);
    at[4] = (uint8_t)(item >> 32);
    fifo->tail->end++;
    fifo->items++;
}

/* Take the oldest item; false where there is none. *out_chunk: a chunk that has
 * become empty, the caller's now, or NULL. */
static inline bool
fifo_pop(struct fifo *fifo, uint64_t *out_item, struct fifo_chunk **out_chunk)
{
    struct fifo_chunk *head = fifo->head;
    const uint8_t *at;

    *out_chunk = NULL;
    if (fifo->items == 0)
        return false;
    at = head->items + head->first * FIFO_ITEM_BYTES;
    *out_item = brd_load_le32(at) | (uint64_t)at[4] << 32;
    head->first++;
    fifo->items--;
    if (head->first == head->end) {
        fifo->head = head->next;
        if (fifo->head == NULL)
            fifo->tail = NULL;
        *out_chunk = head;
    }
    return true;
}

/* Move all of from behind fifo's last item. */
static inline void
fifo_append(struct fifo *fifo, struct fifo *from)
{
    if (from->head == NULL)
        return;
    if (fifo->tail == NULL)
        fifo->head = from->head;
    else
        fifo->tail->next = from->head;
    fifo->tail = from->tail;
    fifo->items += from->items;
    *from = (struct fifo){ NULL, NULL, 0 };
}

#endif

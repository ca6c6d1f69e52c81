/* A list of chunks, each of which is, in this order, perhaps a blob and then a
 * range of bytes in its own memory:
 *
 *   from the pool   no blob,                     room for BRD_OUTQ_CHUNK_BYTES
 *   for a blob      one blob, until it is sent,  room for BLOB_ROOM bytes behind it
 *
 * The tail is written to until the next reserve does not fit; chunks of the
 * pool go back to it when consumed. The little room behind a blob takes what
 * usually follows, the head of the next large reply. Without it each of a row of
 * large replies would hold a chunk of the pool for a few bytes, and a client
 * that does not read could make the daemon hold much more than its limits say. */
#include "base/outq.h"

#include <assert.h>
#include <stdlib.h>

#define CHUNK_ALLOC (sizeof(struct brd_outq_chunk) + BRD_OUTQ_CHUNK_BYTES)
#define BLOB_ALLOC  256
#define BLOB_ROOM   (BLOB_ALLOC - sizeof(struct brd_outq_chunk))

static_assert(CHUNK_ALLOC <= 32768, "a chunk is one allocation class");

/* Bytes of the blob that are not consumed. */
static inline size_t
blob_left(const struct brd_outq_chunk *chunk)
{
    return chunk->blob != NULL ? chunk->blob->size - chunk->blob_begin : 0;
}

void
brd_outq_pool_init(struct brd_outq_pool *pool, uint32_t free_max)
{
    *pool = (struct brd_outq_pool){ .free_max = free_max };
}

void
brd_outq_pool_fini(struct brd_outq_pool *pool)
{
    while (pool->free != NULL) {
        struct brd_outq_chunk *chunk = pool->free;

        pool->free = chunk->next;
        pool->chunk_bytes -= CHUNK_ALLOC;
        free(chunk);
    }
    BRD_CHECK(pool->chunk_bytes == 0);
}

static struct brd_outq_chunk *
take_chunk(struct brd_outq_pool *pool)
{
    struct brd_outq_chunk *chunk = pool->free;

    if (chunk != NULL) {
        pool->free = chunk->next;
        pool->free_count--;
    } else {
        chunk = malloc(CHUNK_ALLOC);
        if (chunk == NULL)
            return NULL;
        pool->chunk_bytes += CHUNK_ALLOC;
    }
    *chunk = (struct brd_outq_chunk){ .room = BRD_OUTQ_CHUNK_BYTES };
    return chunk;
}

static void
give_chunk(struct brd_outq_pool *pool, struct brd_outq_chunk *chunk)
{
    if (chunk->room == BLOB_ROOM) {
        brd_blob_unref(chunk->blob);
        free(chunk);
    } else if (pool->free_count < pool->free_max) {
        chunk->next = pool->free;
        pool->free = chunk;
        pool->free_count++;
    } else {
        pool->chunk_bytes -= CHUNK_ALLOC;
        free(chunk);
    }
}

void
brd_outq_init(struct brd_outq *queue, struct brd_outq_pool *pool)
{
    *queue = (struct brd_outq){ .pool = pool };
}

void
brd_outq_fini(struct brd_outq *queue)
{
    while (queue->head != NULL) {
        struct brd_outq_chunk *chunk = queue->head;

        queue->head = chunk->next;
        give_chunk(queue->pool, chunk);
    }
    *queue = (struct brd_outq){ .pool = queue->pool };
}

static void
link_chunk(struct brd_outq *queue, struct brd_outq_chunk *chunk)
{
    chunk->next = NULL;
    if (queue->tail != NULL)
        queue->tail->next = chunk;
    else
        queue->head = chunk;
    queue->tail = chunk;
}

uint8_t *
brd_outq_add_chunk(struct brd_outq *queue, size_t size)
{
    struct brd_outq_chunk *chunk;

    BRD_CHECK(size <= BRD_OUTQ_CHUNK_BYTES);
    if (BRD_UNLIKELY(queue->failed))
        return NULL;
    chunk = take_chunk(queue->pool);
    if (chunk == NULL) {
        queue->failed = true;
        return NULL;
    }
    link_chunk(queue, chunk);
    return chunk->data;
}

void
brd_outq_append(struct brd_outq *queue, struct brd_bytes bytes)
{
    while (bytes.size > 0) {
        struct brd_outq_chunk *tail = queue->tail;
        size_t room = tail != NULL ? tail->room - tail->end : 0;
        size_t step = room > 0 ? room : BRD_OUTQ_CHUNK_BYTES;
        uint8_t *to;

        if (step > bytes.size)
            step = bytes.size;
        to = brd_outq_reserve(queue, step);
        if (to == NULL)
            return;
        memcpy(to, bytes.data, step);
        brd_outq_commit(queue, step);
        bytes.data += step;
        bytes.size -= step;
    }
}

/* The blob's bytes from begin on. */
static void
append_blob_from(struct brd_outq *queue, struct brd_blob *blob, size_t begin)
{
    struct brd_outq_chunk *chunk;
    size_t size = blob->size - begin;

    if (queue->failed || size == 0)
        return;
    chunk = malloc(BLOB_ALLOC);
    if (chunk == NULL) {
        queue->failed = true;
        return;
    }
    *chunk = (struct brd_outq_chunk){ .blob = brd_blob_ref(blob),
                                      .blob_begin = begin,
                                      .room = BLOB_ROOM };
    link_chunk(queue, chunk);
    queue->end += size;
    queue->blob_bytes += size;
}

void
brd_outq_append_blob(struct brd_outq *queue, struct brd_blob *blob)
{
    append_blob_from(queue, blob, 0);
}

/* One more part, of at most *left bytes, into iov[*n] if there is room. */
static void
add_part(struct iovec *iov, size_t max, size_t *n, const uint8_t *data, size_t size, uint64_t *left)
{
    if (size > *left)
        size = (size_t)*left;
    if (size == 0 || *n == max)
        return;
    iov[*n].iov_base = (void *)(uintptr_t)data;
    iov[*n].iov_len = size;
    *left -= size;
    (*n)++;
}

size_t
brd_outq_peek(const struct brd_outq *queue, uint64_t limit, struct iovec *iov, size_t max)
{
    uint64_t left = (limit < queue->end ? limit : queue->end);
    const struct brd_outq_chunk *chunk;
    size_t n = 0;

    left = left > queue->begin ? left - queue->begin : 0;
    for (chunk = queue->head; chunk != NULL && left > 0 && n < max; chunk = chunk->next) {
        if (chunk->blob != NULL)
            add_part(iov, max, &n, chunk->blob->data + chunk->blob_begin, blob_left(chunk), &left);
        add_part(iov, max, &n, chunk->data + chunk->begin, chunk->end - chunk->begin, &left);
    }
    return n;
}

static void
drop_head(struct brd_outq *queue)
{
    struct brd_outq_chunk *chunk = queue->head;

    queue->head = chunk->next;
    if (queue->head == NULL)
        queue->tail = NULL;
    give_chunk(queue->pool, chunk);
}

/* What of a blob's memory hangs on one of its references, rounded up: all of them together
 * account for all of it. */
static uint64_t
share_of(const struct brd_blob *blob)
{
    uint64_t refs = atomic_load_explicit(&blob->refs, memory_order_relaxed);

    return (brd_blob_footprint(blob) + refs - 1) / refs;
}

uint64_t
brd_outq_dropped_bytes(const struct brd_outq *queue)
{
    const struct brd_outq_chunk *chunk;
    uint64_t bytes = 0;

    for (chunk = queue->head; chunk != NULL; chunk = chunk->next)
        if (chunk->blob != NULL && brd_blob_is_dropped(chunk->blob))
            bytes += share_of(chunk->blob);
    return bytes;
}

void
brd_outq_consume(struct brd_outq *queue, uint64_t n)
{
    BRD_CHECK(n <= brd_outq_pending(queue));
    queue->begin += n;
    while (queue->head != NULL) {
        struct brd_outq_chunk *chunk = queue->head;
        size_t blob = blob_left(chunk);
        size_t size = chunk->end - chunk->begin;

        if (blob > n) {
            chunk->blob_begin += (size_t)n;
            queue->blob_bytes -= n;
            break;
        }
        n -= blob;
        queue->blob_bytes -= blob;
        brd_blob_unref(chunk->blob);
        chunk->blob = NULL;
        if (size > n) {
            chunk->begin += (size_t)n;
            break;
        }
        n -= size;
        drop_head(queue);
    }
}

void
brd_outq_move(struct brd_outq *to, struct brd_outq *from, uint64_t position)
{
    BRD_CHECK(to->pool == from->pool);
    BRD_CHECK(position >= from->begin && position <= from->end);
    while (from->begin < position && !to->failed) {
        struct brd_outq_chunk *chunk = from->head;
        uint64_t left = position - from->begin;
        size_t blob = blob_left(chunk);
        size_t size = chunk->end - chunk->begin;

        if (blob > 0) {
            /* A blob is one reply's value: positions never cut it. */
            BRD_CHECK(blob <= left);
            append_blob_from(to, chunk->blob, chunk->blob_begin);
            left -= blob;
        }
        if (size > left)
            size = (size_t)left;
        if (size > 0)
            brd_outq_append(to, brd_bytes(chunk->data + chunk->begin, size));
        if (!to->failed)
            brd_outq_consume(from, blob + size);
    }
}

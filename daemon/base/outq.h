/* An output queue: a stream of bytes in fixed chunks and counted blobs.
 *
 * Codecs write straight into it; whoever owns the socket takes I/O vectors from
 * it. Chunks come from a pool that belongs to one thread (a worker) and go back
 * when sent, so an idle connection holds none. Positions in the stream are
 * 64-bit and never wrap. One thread at a time: the pool's. */
#ifndef BRD_BASE_OUTQ_H
#define BRD_BASE_OUTQ_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/status.h"

#include <sys/uio.h>

/* Room in a chunk: the most that one reserve may ask for. */
#define BRD_OUTQ_CHUNK_BYTES (32768 - 64)

/* See outq.c. */
struct brd_outq_chunk {
    struct brd_outq_chunk *next;
    struct brd_blob *blob; /* counted, or NULL */
    size_t blob_begin;     /* first byte of the blob not consumed */
    size_t begin;          /* first byte of data not consumed */
    size_t end;            /* behind the last byte written */
    size_t room;           /* of data */
    uint8_t data[];
};

struct brd_outq_pool {
    struct brd_outq_chunk *free;
    uint32_t free_count;
    uint32_t free_max;    /* chunks kept for reuse */
    uint64_t chunk_bytes; /* in use by queues and kept, all of this pool */
};

struct brd_outq {
    struct brd_outq_pool *pool; /* borrowed */
    struct brd_outq_chunk *head;
    struct brd_outq_chunk *tail;
    uint64_t begin;      /* stream position of the first byte not consumed */
    uint64_t end;        /* stream position behind the last byte */
    uint64_t blob_bytes; /* of begin..end, in referenced blobs */
    bool failed;         /* sticky: an allocation failed */
};

void brd_outq_pool_init(struct brd_outq_pool *pool, uint32_t free_max);
/* All its queues are gone. */
void brd_outq_pool_fini(struct brd_outq_pool *pool);

void brd_outq_init(struct brd_outq *queue, struct brd_outq_pool *pool);
void brd_outq_fini(struct brd_outq *queue);

/* One more chunk with room for size bytes. As brd_outq_reserve, which calls it. */
uint8_t *brd_outq_add_chunk(struct brd_outq *queue, size_t size);

/* Room for size (at most BRD_OUTQ_CHUNK_BYTES) bytes in one piece, to be
 * followed by brd_outq_commit with at most as many. NULL, with the sticky
 * error, where memory is out. */
static inline uint8_t *
brd_outq_reserve(struct brd_outq *queue, size_t size)
{
    struct brd_outq_chunk *chunk = queue->tail;

    if (BRD_UNLIKELY(chunk == NULL || chunk->room - chunk->end < size || queue->failed))
        return brd_outq_add_chunk(queue, size);
    return chunk->data + chunk->end;
}

static inline void
brd_outq_commit(struct brd_outq *queue, size_t size)
{
    struct brd_outq_chunk *chunk = queue->tail;

    BRD_CHECK(chunk != NULL && size <= chunk->room - chunk->end);
    chunk->end += size;
    queue->end += size;
}

/* Copy bytes of any size. */
void brd_outq_append(struct brd_outq *queue, struct brd_bytes bytes);

/* Append a blob's bytes by reference (one more is taken). */
void brd_outq_append_blob(struct brd_outq *queue, struct brd_blob *blob);

/* Fill iov with what lies between begin and limit (a stream position; beyond
 * the end means the end). Returns how many were filled, at most max. Valid
 * until the queue changes. */
size_t brd_outq_peek(const struct brd_outq *queue, uint64_t limit, struct iovec *iov, size_t max);

/* n bytes have been sent: at most what lies before the end. */
void brd_outq_consume(struct brd_outq *queue, uint64_t n);

/* What the blobs in it that nobody keeps (base/blob.h) take until they are sent, whole ones even
 * where a part has been consumed; of one that others refer to as well, a share. Costs a step for each chunk. */
uint64_t brd_outq_dropped_bytes(const struct brd_outq *queue);

/* Move the bytes of [begin, position) of from behind the end of to; chunks and
 * blobs change hands where they can, else bytes are copied. Same pool. */
void brd_outq_move(struct brd_outq *to, struct brd_outq *from, uint64_t position);

static inline uint64_t
brd_outq_pending(const struct brd_outq *queue)
{
    return queue->end - queue->begin;
}

#endif

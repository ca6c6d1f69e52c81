/* Memory of decoded requests: bump allocation, given back all at once. See
 * wire.h for who owns one; one thread at a time. */
#ifndef BRD_WIRE_ARENA_H
#define BRD_WIRE_ARENA_H

#include "base/status.h"
#include "wire/wire.h"

#include <protobuf-c/protobuf-c.h>

struct arena_block;

struct brd_wire_arena {
    struct arena_block *blocks; /* owned; the last of the list is kept for reuse */
    uint8_t *at;                /* the next byte of the block in use */
    size_t left;                /* bytes from there to its end */
    size_t bytes;               /* in all blocks */
    size_t bytes_max;
    enum brd_status failure;      /* why wire_arena_alloc last gave NULL, or BRD_OK */
    ProtobufCAllocator allocator; /* this arena as protobuf-c wants it; its free does nothing */
};

/* size bytes, aligned for anything, until the arena is cleared. NULL, with
 * failure set to BRD_TOO_LARGE or BRD_OUT_OF_MEMORY, where there are none. */
void *wire_arena_alloc(struct brd_wire_arena *arena, size_t size);

/* Room for count elements; as wire_arena_alloc, and safe against overflow. */
void *wire_arena_alloc_array(struct brd_wire_arena *arena, size_t count, size_t element_size);

#endif

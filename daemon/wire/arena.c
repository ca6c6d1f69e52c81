/* A list of blocks, the last of which was there first and stays.
 *
 *   blocks -> [newest] -> ... -> [first]      at, left: the rest of one of them
 *
 * Small allocations are cut from the block in use, and a new one is taken when
 * it is used up. One that is large gets a block of its own, so that the rest of
 * the block in use is not lost. bytes_max counts whole blocks: what the arena
 * takes from the system, not what was asked of it.
 *
 * Nothing is freed before the arena is cleared, so that a hostile message that
 * replaces a field again and again costs what it sends, up to bytes_max. */
#include "wire/arena.h"

#include "base/check.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>

#define BLOCK_BYTES ((size_t)16 * 1024)
#define LARGE_BYTES ((size_t)4 * 1024)

struct arena_block {
    struct arena_block *next;
    alignas(max_align_t) uint8_t data[];
};

#define ALIGNMENT alignof(max_align_t)

static_assert(sizeof(struct arena_block) % ALIGNMENT == 0, "data is aligned for anything");
static_assert((ALIGNMENT & (ALIGNMENT - 1)) == 0, "rounding up works on powers of two");

static void *
protobuf_alloc(void *data, size_t size)
{
    return wire_arena_alloc(data, size);
}

static void
protobuf_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

/* A block with room for size bytes, or NULL with failure set. */
static struct arena_block *
add_block(struct brd_wire_arena *arena, size_t size)
{
    struct arena_block *block;

    if (size > arena->bytes_max || arena->bytes_max - size < arena->bytes) {
        arena->failure = BRD_TOO_LARGE;
        return NULL;
    }
    block = malloc(sizeof(*block) + size);
    if (block == NULL) {
        arena->failure = BRD_OUT_OF_MEMORY;
        return NULL;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    arena->bytes += size;
    return block;
}

static size_t
first_block_size(const struct brd_wire_arena *arena)
{
    size_t size = arena->bytes_max < BLOCK_BYTES ? arena->bytes_max : BLOCK_BYTES;

    return size & ~(ALIGNMENT - 1);
}

struct brd_wire_arena *
brd_wire_arena_create(size_t bytes_max)
{
    struct brd_wire_arena *arena = calloc(1, sizeof(*arena));

    if (arena == NULL)
        return NULL;
    arena->bytes_max = bytes_max < SIZE_MAX / 2 ? bytes_max : SIZE_MAX / 2; /* sums fit */
    arena->allocator = (ProtobufCAllocator){
        .alloc = protobuf_alloc,
        .free = protobuf_free,
        .allocator_data = arena,
    };
    if (add_block(arena, first_block_size(arena)) == NULL) {
        free(arena);
        return NULL;
    }
    brd_wire_arena_clear(arena);
    return arena;
}

void
brd_wire_arena_clear(struct brd_wire_arena *arena)
{
    while (arena->blocks->next != NULL) {
        struct arena_block *block = arena->blocks;

        arena->blocks = block->next;
        free(block);
    }
    arena->at = arena->blocks->data;
    arena->left = first_block_size(arena);
    arena->bytes = arena->left;
    arena->failure = BRD_OK;
}

void
brd_wire_arena_destroy(struct brd_wire_arena **arena)
{
    if (*arena == NULL)
        return;
    brd_wire_arena_clear(*arena);
    free((*arena)->blocks);
    free(*arena);
    *arena = NULL;
}

void *
wire_arena_alloc(struct brd_wire_arena *arena, size_t size)
{
    struct arena_block *block;
    void *result;

    if (size > SIZE_MAX - ALIGNMENT) {
        arena->failure = BRD_TOO_LARGE;
        return NULL;
    }
    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (size > arena->left) {
        bool large = size >= LARGE_BYTES;

        block = add_block(arena, large ? size : BLOCK_BYTES);
        if (block == NULL)
            return NULL;
        if (large)
            return block->data;
        arena->at = block->data;
        arena->left = BLOCK_BYTES;
    }
    result = arena->at;
    arena->at += size;
    arena->left -= size;
    BRD_DCHECK(((uintptr_t)result & (ALIGNMENT - 1)) == 0);
    return result;
}

void *
wire_arena_alloc_array(struct brd_wire_arena *arena, size_t count, size_t element_size)
{
    size_t size;

    if (__builtin_mul_overflow(count, element_size, &size)) {
        arena->failure = BRD_TOO_LARGE;
        return NULL;
    }
    return wire_arena_alloc(arena, size);
}

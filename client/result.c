/* Results: the bytes of one reply, and the view into them. See result.h. The
 * bytes are copied whole and decoded again rather than the members one by one:
 * one copy, one allocation, and no second place that knows the members. */
#include "result.h"

#include <stdlib.h>

#include "buffer.h"
#include "decode.h"

#define KEEP_BYTES ((size_t)64 * 1024) /* after brd_result_clear */

struct brd_result {
    struct buffer bytes;
    struct reply_store store; /* its reply points into bytes */
};

enum brd_status
brd_result_create(struct brd_result **out_result)
{
    struct brd_result *result = calloc(1, sizeof(*result));

    if (result == NULL)
        return BRD_OUT_OF_MEMORY;
    reply_store_set(&result->store, BRD_OK);
    *out_result = result;
    return BRD_OK;
}

void
brd_result_destroy(struct brd_result **result)
{
    if (result == NULL || *result == NULL)
        return;
    buffer_fini(&(*result)->bytes);
    reply_store_fini(&(*result)->store);
    free(*result);
    *result = NULL;
}

void
brd_result_clear(struct brd_result *result)
{
    buffer_clear(&result->bytes, KEEP_BYTES);
    reply_store_trim(&result->store);
    reply_store_set(&result->store, BRD_OK);
}

const struct brd_reply *
brd_result_reply(const struct brd_result *result)
{
    return &result->store.reply;
}

enum brd_status
result_store(struct brd_result *result, struct brd_bytes frame)
{
    if (result == NULL)
        return BRD_OK;
    buffer_clear(&result->bytes, SIZE_MAX);
    reply_store_set(&result->store, BRD_OK);
    if (!buffer_reserve(&result->bytes, frame.size))
        return BRD_OUT_OF_MEMORY;
    if (frame.size != 0)
        memcpy(result->bytes.data, frame.data, frame.size);
    result->bytes.end = frame.size;
    return decode_reply(result->bytes.data, frame.size, &result->store) == NULL ? BRD_OK
                                                                                : BRD_OUT_OF_MEMORY;
}

void
result_set(struct brd_result *result, enum brd_status status)
{
    if (result != NULL)
        reply_store_set(&result->store, status);
}

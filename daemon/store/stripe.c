#include "store/stripe.h"

#include "store/heap.h"

enum brd_status
stripes_init(struct stripes *stripes, uint32_t count)
{
    uint32_t i;

    BRD_CHECK(count > 0 && (count & (count - 1)) == 0);
    stripes->locks = heap_alloc_aligned(BRD_CACHE_LINE, count * sizeof(stripes->locks[0]));
    if (stripes->locks == NULL)
        return BRD_OUT_OF_MEMORY;
    stripes->count = count;
    for (i = 0; i < count; i++)
        brd_rwlock_init(&stripes->locks[i], BRD_RANK_STRIPE, i);
    return BRD_OK;
}

void
stripes_fini(struct stripes *stripes)
{
    uint32_t i;

    for (i = 0; i < stripes->count; i++)
        brd_rwlock_fini(&stripes->locks[i]);
    free(stripes->locks);
    *stripes = (struct stripes){ 0 };
}

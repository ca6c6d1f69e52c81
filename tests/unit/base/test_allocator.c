/* What the allocator says of itself. */
#include "base/allocator.h"
#include "base_test.h"

#include <string.h>

START_TEST(the_allocator_is_the_one_that_was_linked)
{
#ifdef BRINDLE_JEMALLOC
    ck_assert_int_eq(strncmp(brd_allocator_name(), "jemalloc 5.", 11), 0);
#else
    ck_assert_str_eq(brd_allocator_name(), "system malloc");
#endif
}
END_TEST

START_TEST(its_numbers_follow_what_is_allocated)
{
    const size_t size = (size_t)64 << 20;
    struct brd_allocator_stats before;
    struct brd_allocator_stats with;
    struct brd_allocator_stats after;
    char *block;

    if (!brd_allocator_get_stats(&before)) {
        ck_assert_uint_eq(before.allocated, 0);
        return;
    }
    block = malloc(size);
    ck_assert_ptr_nonnull(block);
    memset(block, 'x', size);
    ck_assert(brd_allocator_get_stats(&with));
    free(block);
    ck_assert(brd_allocator_get_stats(&after));
    ck_assert_uint_ge(with.allocated, before.allocated + size);
    ck_assert_uint_lt(with.allocated, before.allocated + size + size / 4);
    ck_assert_uint_ge(with.active, with.allocated);
    ck_assert_uint_ge(with.mapped, with.active);
    ck_assert_uint_ge(with.resident, size);
    ck_assert_uint_lt(after.allocated, before.allocated + size / 4);
    ck_assert_uint_le(after.cached, after.allocated);
#ifdef BRINDLE_JEMALLOC
    ck_assert_uint_gt(with.metadata, 0);
#endif
}
END_TEST

START_TEST(purging_gives_free_pages_back)
{
    const size_t size = (size_t)64 << 20;
    struct brd_allocator_stats dirty;
    struct brd_allocator_stats clean;
    char *block = malloc(size);

    ck_assert_ptr_nonnull(block);
    memset(block, 'x', size);
    free(block);
    (void)brd_allocator_get_stats(&dirty);
    brd_allocator_purge();
    (void)brd_allocator_get_stats(&clean);
    ck_assert_uint_le(clean.resident, dirty.resident);
    ck_assert_uint_lt(clean.resident, size / 2);
}
END_TEST

RUN_TESTS("allocator", { the_allocator_is_the_one_that_was_linked, 0 },
          { its_numbers_follow_what_is_allocated, 0 }, { purging_gives_free_pages_back, 0 })

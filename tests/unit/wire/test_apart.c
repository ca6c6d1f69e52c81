/* Messages whose large value lies apart: its place is found as soon as it can be, and what is
 * decoded is what the whole message would give. */
#include "build.h"
#include "tests/support/requests.h"
#include "wire_test.h"

#include <check.h>

#define ARENA_BYTES ((size_t)8 << 20)
#define VALUE_BYTES 20000

static struct brd_wire_arena *apart_arena;
static struct brd_wire_arena *whole_arena;
static const struct brd_wire_limits limits = { .batch_keys_max = 100 };
static uint8_t value[VALUE_BYTES];

static void
setup(void)
{
    size_t i;

    built_size = 0;
    for (i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 7 + i / 256);
    apart_arena = brd_wire_arena_create(ARENA_BYTES);
    whole_arena = brd_wire_arena_create(ARENA_BYTES);
    ck_assert(apart_arena != NULL && whole_arena != NULL);
}

static void
teardown(void)
{
    brd_wire_arena_destroy(&apart_arena);
    brd_wire_arena_destroy(&whole_arena);
}

/* An id, and what was built so far as the request's kind. */
static void
wrap_request(uint32_t number, uint64_t id)
{
    static uint8_t copy[sizeof(built)];
    size_t size = built_size;

    memcpy(copy, built, size);
    built_size = 0;
    add_varint(1, id);
    add_bytes(number, copy, size);
}

static void
build_put(size_t value_size)
{
    built_size = 0;
    add_bytes(1, "a key", 5);
    add_bytes(2, value, value_size);
    add_varint(3, 5000);
    wrap_request(3, 300);
    add_bytes(15, "ns", 2);
}

/* A copy of exactly this size, so that the address sanitizer sees a read behind it. */
static struct brd_bytes
exactly(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);

    ck_assert_ptr_nonnull(copy);
    if (size > 0)
        memcpy(copy, data, size);
    return brd_bytes(copy, size);
}

static void
drop(struct brd_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

/* Decode a message both ways. Returns whether a place was found. */
static bool
compare(struct brd_bytes message, bool *out_by_reference)
{
    struct brd_request apart;
    struct brd_request whole;
    struct brd_span place;
    struct brd_bytes spliced;
    struct brd_blob *blob;
    uint8_t *to;
    enum brd_status status;

    *out_by_reference = false;
    if (!brd_wire_find_value(message, message.size, 1, &place))
        return false;
    ck_assert_uint_gt(place.size, 0);
    ck_assert_uint_le(place.begin + place.size, message.size);
    blob = brd_blob_copy(brd_bytes(message.data + place.begin, place.size));
    spliced = exactly(message.data, message.size - place.size);
    to = (uint8_t *)(uintptr_t)spliced.data;
    memcpy(to + place.begin, message.data + place.begin + place.size, spliced.size - place.begin);
    brd_wire_arena_clear(apart_arena);
    brd_wire_arena_clear(whole_arena);
    status = brd_wire_decode(whole_arena, &limits, message, NULL, &whole);
    ck_assert_int_eq(brd_wire_decode(apart_arena, &limits, spliced,
                                     &(struct brd_wire_apart){ .place = place, .value = blob },
                                     &apart),
                     status);
    ck_assert_uint_eq(apart.id, whole.id);
    if (status == BRD_OK) {
        ck_assert_ptr_null(requests_differ(&apart, &whole));
        ck_assert_ptr_null(whole.value_blob);
        if (apart.value_blob != NULL) {
            ck_assert_ptr_eq(apart.value_blob, blob);
            ck_assert_ptr_eq(apart.value.data, blob->data);
            *out_by_reference = true;
        }
    }
    drop(spliced);
    brd_blob_unref(blob);
    return true;
}

static bool
compare_built(bool *out_by_reference)
{
    struct brd_bytes message = exactly(built, built_size);
    bool found = compare(message, out_by_reference);

    drop(message);
    return found;
}

START_TEST(a_place_is_told_as_soon_as_its_first_byte_is_known)
{
    struct brd_span place;
    struct brd_span last = { 0 };
    size_t known = 0;
    size_t size;

    build_put(VALUE_BYTES);
    for (size = 0; size <= built_size; size++) {
        struct brd_bytes head = exactly(built, size);

        if (brd_wire_find_value(head, built_size, VALUE_BYTES, &place)) {
            if (known == 0)
                known = size;
            else
                ck_assert(place.begin == last.begin && place.size == last.size);
            last = place;
        } else {
            ck_assert_uint_eq(known, 0);
        }
        drop(head);
    }
    ck_assert_uint_eq(known, last.begin);
    ck_assert_uint_eq(last.size, VALUE_BYTES);
    ck_assert_mem_eq(built + last.begin, value, VALUE_BYTES);
}
END_TEST

START_TEST(small_values_have_no_place)
{
    struct brd_span place;

    build_put(VALUE_BYTES);
    ck_assert(brd_wire_find_value(brd_bytes(built, built_size), built_size, VALUE_BYTES, &place));
    ck_assert(
        !brd_wire_find_value(brd_bytes(built, built_size), built_size, VALUE_BYTES + 1, &place));
    build_put(0);
    ck_assert(!brd_wire_find_value(brd_bytes(built, built_size), built_size, 1, &place));
}
END_TEST

/* Lengths that do not fit into each other: the usual way refuses them. */
START_TEST(lengths_that_contradict_have_no_place)
{
    struct brd_span place;

    build_put(VALUE_BYTES);
    ck_assert(brd_wire_find_value(brd_bytes(built, 100), built_size, 1, &place));
    /* The message ends before its put does; the put's last fields do not matter. */
    ck_assert(!brd_wire_find_value(brd_bytes(built, 100), built_size - 5, 1, &place));
    ck_assert(!brd_wire_find_value(brd_bytes(built, 100), 100, 1, &place));
    ck_assert(!brd_wire_find_value(brd_bytes(built, 100), 99, 1, &place));
    built_size = 0;
    add_bytes(1, "a key", 5);
    add_bytes(2, value, VALUE_BYTES);
    built_size -= 1; /* the value is longer than the put */
    wrap_request(3, 1);
    ck_assert(!brd_wire_find_value(brd_bytes(built, built_size), built_size, 1, &place));
}
END_TEST

START_TEST(puts_and_appends_are_decoded_with_their_value_by_reference)
{
    static const size_t sizes[] = { 1, 127, 128, 16383, 16384, VALUE_BYTES };
    bool by_reference;
    size_t i;

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        build_put(sizes[i]);
        ck_assert(compare_built(&by_reference) && by_reference);
        built_size = 0; /* the value before the key, and an append */
        add_bytes(2, value, sizes[i]);
        add_varint(3, BRD_DURABILITY_FULL);
        add_bytes(1, "k", 1);
        wrap_request(12, UINT64_MAX);
        ck_assert(compare_built(&by_reference) && by_reference);
        built_size = 0; /* the namespace first */
        add_bytes(1, "", 0);
        add_bytes(2, value, sizes[i]);
        wrap_request(3, 0);
        memmove(built + 4, built, built_size);
        memcpy(built, (uint8_t[]){ 15 << 3 | 2, 2, 'n', 's' }, 4);
        built_size += 4;
        ck_assert(compare_built(&by_reference) && by_reference);
    }
}
END_TEST

START_TEST(unusual_messages_are_put_together)
{
    bool by_reference;

    built_size = 0; /* a second value */
    add_bytes(1, "k", 1);
    add_bytes(2, value, VALUE_BYTES);
    add_bytes(2, "another", 7);
    wrap_request(3, 1);
    ck_assert(compare_built(&by_reference) && !by_reference);
    built_size = 0; /* a field that is not known */
    add_bytes(1, "k", 1);
    add_bytes(2, value, VALUE_BYTES);
    add_varint(100, 1);
    wrap_request(3, 1);
    ck_assert(compare_built(&by_reference) && !by_reference);
    build_put(VALUE_BYTES); /* another kind behind it, which is the one that counts */
    add_bytes(2, "\x0a\x01k", 3);
    ck_assert(compare_built(&by_reference) && !by_reference);
    build_put(VALUE_BYTES); /* no request */
    built[built_size++] = 0xff;
    ck_assert(compare_built(&by_reference) && !by_reference);
    build_put(VALUE_BYTES); /* a condition that there is none of */
    built_size = 0;
    add_bytes(1, "k", 1);
    add_bytes(2, value, VALUE_BYTES);
    add_varint(5, 99);
    wrap_request(3, 1);
    ck_assert(compare_built(&by_reference) && !by_reference);
}
END_TEST

/* Whatever is changed around the value, both ways say the same. */
START_TEST(damaged_messages_are_judged_as_whole_ones_are)
{
    unsigned seed = (unsigned)_i;
    unsigned found = 0;
    unsigned referred = 0;
    int i;

    for (i = 0; i < 20000; i++) {
        size_t value_size = 1 + (size_t)rand_r(&seed) % 300;
        int changes = 1 + rand_r(&seed) % 3;
        bool by_reference;

        build_put(value_size);
        for (; changes > 0; changes--) {
            /* head and tail, each as often as the other */
            size_t around = built_size - value_size;
            size_t at = (size_t)rand_r(&seed) % around;

            if (at >= around / 2)
                at += value_size;
            switch (rand_r(&seed) % 3) {
            case 0:
                built[at] ^= (uint8_t)(1 << rand_r(&seed) % 8);
                break;
            case 1:
                built[at] = (uint8_t)rand_r(&seed);
                break;
            default:
                memmove(built + at + 1, built + at, built_size - at);
                built_size++;
                break;
            }
        }
        found += compare_built(&by_reference);
        referred += by_reference;
    }
    ck_assert_uint_gt(found, 1000);
    ck_assert_uint_gt(referred, 100);
    ck_assert_uint_lt(referred, found);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("wire_apart");
    TCase *tcase = tcase_create("wire_apart");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_place_is_told_as_soon_as_its_first_byte_is_known);
    tcase_add_test(tcase, small_values_have_no_place);
    tcase_add_test(tcase, lengths_that_contradict_have_no_place);
    tcase_add_test(tcase, puts_and_appends_are_decoded_with_their_value_by_reference);
    tcase_add_test(tcase, unusual_messages_are_put_together);
    tcase_add_loop_test(tcase, damaged_messages_are_judged_as_whole_ones_are, 0, 4);
    suite_add_tcase(s, tcase);
    return s;
}

int
main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

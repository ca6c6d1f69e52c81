/* Changes survive encoding; foreign bytes are refused, never overrun. */
#include "engine/mutation.h"

#include <check.h>
#include <stdlib.h>

static struct mutation
decoded(struct brd_buf *buf)
{
    struct brd_bytes payload = brd_buf_bytes(buf);
    struct mutation out;

    ck_assert_int_eq(mutation_decode(&payload, &out), BRD_OK);
    ck_assert_uint_eq(payload.size, 0);
    return out;
}

START_TEST(every_kind_decodes_to_what_was_encoded)
{
    static const enum mutation_kind kinds[] = { MUTATION_PUT, MUTATION_TOUCH, MUTATION_DELETE,
                                                MUTATION_APPEND, MUTATION_CLEAR };
    size_t i;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct mutation in = { .kind = kinds[i],
                               .ns = UINT64_MAX,
                               .key = brd_bytes_of("key"),
                               .value = brd_bytes_of("value"),
                               .base = UINT64_MAX - 1,
                               .deadline_ms = UINT64_MAX - 2 };
        struct mutation out;
        struct brd_buf buf;

        brd_buf_init(&buf);
        mutation_encode(&buf, &in, false);
        ck_assert(!buf.failed);
        ck_assert_uint_le(buf.size, mutation_bytes_max(in.key.size, in.value.size));
        out = decoded(&buf);
        ck_assert_int_eq(out.kind, in.kind);
        ck_assert_uint_eq(out.ns, in.ns);
        ck_assert(in.kind == MUTATION_CLEAR || brd_bytes_equal(out.key, in.key));
        if (in.kind == MUTATION_PUT || in.kind == MUTATION_APPEND)
            ck_assert(brd_bytes_equal(out.value, in.value));
        if (in.kind == MUTATION_TOUCH || in.kind == MUTATION_APPEND)
            ck_assert_uint_eq(out.base, in.base);
        if (in.kind == MUTATION_PUT || in.kind == MUTATION_TOUCH)
            ck_assert_uint_eq(out.deadline_ms, in.deadline_ms);
        brd_buf_fini(&buf);
    }
}
END_TEST

START_TEST(a_value_apart_is_announced_and_left_out)
{
    struct mutation in = {
        .kind = MUTATION_PUT, .ns = 1, .key = brd_bytes_of("k"), .value = brd_bytes_of("large")
    };
    struct brd_buf buf;

    brd_buf_init(&buf);
    mutation_encode(&buf, &in, true);
    brd_buf_append(&buf, in.value.data, in.value.size);
    ck_assert(brd_bytes_equal(decoded(&buf).value, in.value));
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(changes_follow_each_other_in_one_payload)
{
    struct mutation put = { .kind = MUTATION_PUT, .ns = 1, .key = brd_bytes_of("a") };
    struct mutation delete = { .kind = MUTATION_DELETE, .ns = 1, .key = brd_bytes_of("b") };
    struct brd_bytes payload;
    struct mutation out;
    struct brd_buf buf;

    brd_buf_init(&buf);
    mutation_encode(&buf, &put, false);
    mutation_encode(&buf, &delete, false);
    payload = brd_buf_bytes(&buf);
    ck_assert_int_eq(mutation_decode(&payload, &out), BRD_OK);
    ck_assert_int_eq(out.kind, MUTATION_PUT);
    ck_assert_int_eq(mutation_decode(&payload, &out), BRD_OK);
    ck_assert_int_eq(out.kind, MUTATION_DELETE);
    ck_assert_int_eq(mutation_decode(&payload, &out), BRD_NOT_FOUND);
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    struct mutation in = { .kind = MUTATION_APPEND,
                           .ns = 300,
                           .key = brd_bytes_of("some key"),
                           .value = brd_bytes_of("some value"),
                           .base = 1u << 30 };
    struct brd_buf buf;
    size_t size;

    brd_buf_init(&buf);
    mutation_encode(&buf, &in, false);
    for (size = 1; size < buf.size; size++) {
        uint8_t *exact = malloc(size);
        struct brd_bytes payload = brd_bytes(exact, size);
        struct mutation out;

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, buf.data, size);
        ck_assert_int_eq(mutation_decode(&payload, &out), BRD_CORRUPT);
        ck_assert_uint_eq(payload.size, size);
        free(exact);
    }
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(an_unknown_kind_is_refused)
{
    uint8_t bytes[] = { 99, 1 };
    struct brd_bytes payload = brd_bytes(bytes, sizeof(bytes));
    struct mutation out;

    ck_assert_int_eq(mutation_decode(&payload, &out), BRD_CORRUPT);
    bytes[0] = 0;
    ck_assert_int_eq(mutation_decode(&payload, &out), BRD_CORRUPT);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("mutation");
    TCase *tcase = tcase_create("mutation");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, every_kind_decodes_to_what_was_encoded);
    tcase_add_test(tcase, a_value_apart_is_announced_and_left_out);
    tcase_add_test(tcase, changes_follow_each_other_in_one_payload);
    tcase_add_test(tcase, every_truncation_is_refused);
    tcase_add_test(tcase, an_unknown_kind_is_refused);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

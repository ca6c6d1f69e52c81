/* Replies of the Redis protocol: the bytes of each element in both versions, and of strings of all
 * sizes, copied and by reference. */
#include "wire/resp/resp_write.h"
#include "wire_test.h"

#include <check.h>
#include <float.h>
#include <math.h>

static struct brd_outq_pool pool;
static struct brd_outq queue;
static uint8_t content[200000];

static void
setup(void)
{
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7 + i / 251);
    brd_outq_pool_init(&pool, 2);
    brd_outq_init(&queue, &pool);
}

static void
teardown(void)
{
    brd_outq_fini(&queue);
    brd_outq_pool_fini(&pool);
}

/* The queue holds this; then it is empty. */
static void
must_hold(const char *expected, size_t size)
{
    struct brd_bytes held = flatten(&queue);

    if (!brd_bytes_equal(held, brd_bytes(expected, size)))
        ck_abort_msg("got %.*s, expected %.*s", (int)held.size, (const char *)held.data, (int)size,
                     expected);
    free((void *)(uintptr_t)held.data);
    brd_outq_consume(&queue, brd_outq_pending(&queue));
    ck_assert(!queue.failed);
}

#define MUST_HOLD(literal) must_hold(literal, sizeof(literal) - 1)

/* One element in both versions. */
#define CHECK_BOTH(in2, in3, function, ...)                     \
    do {                                                        \
        function(&queue, BRD_RESP2 __VA_OPT__(, ) __VA_ARGS__); \
        MUST_HOLD(in2);                                         \
        function(&queue, BRD_RESP3 __VA_OPT__(, ) __VA_ARGS__); \
        MUST_HOLD(in3);                                         \
    } while (0)

#define CHECK_ONE(expected, function, ...) \
    do {                                   \
        function(&queue, __VA_ARGS__);     \
        MUST_HOLD(expected);               \
    } while (0)

START_TEST(lines_are_one_line)
{
    CHECK_ONE("+OK\r\n", brd_resp_write_simple, brd_bytes_of("OK"));
    CHECK_ONE("+\r\n", brd_resp_write_simple, brd_bytes_of(""));
    CHECK_ONE("+a  b c\r\n", brd_resp_write_simple, brd_bytes_of("a\r\nb\nc"));
    CHECK_ONE("-ERR no such key\r\n", brd_resp_write_error, "ERR", brd_bytes_of("no such key"));
    CHECK_ONE("-WRONGTYPE a  b \r\n", brd_resp_write_error, "WRONGTYPE", brd_bytes_of("a\r\nb\n"));
    CHECK_ONE("-ERR \0\xff\r\n", brd_resp_write_error, "ERR", brd_bytes("\0\xff", 2));
}
END_TEST

START_TEST(integers_have_no_more_digits_than_they_need)
{
    CHECK_ONE(":0\r\n", brd_resp_write_integer, 0);
    CHECK_ONE(":9\r\n", brd_resp_write_integer, 9);
    CHECK_ONE(":10\r\n", brd_resp_write_integer, 10);
    CHECK_ONE(":-1\r\n", brd_resp_write_integer, -1);
    CHECK_ONE(":-10\r\n", brd_resp_write_integer, -10);
    CHECK_ONE(":1234567890\r\n", brd_resp_write_integer, 1234567890);
    CHECK_ONE(":9223372036854775807\r\n", brd_resp_write_integer, INT64_MAX);
    CHECK_ONE(":-9223372036854775808\r\n", brd_resp_write_integer, INT64_MIN);
}
END_TEST

START_TEST(strings_keep_their_bytes)
{
    CHECK_ONE("$0\r\n\r\n", brd_resp_write_bulk, brd_bytes(NULL, 0));
    CHECK_ONE("$5\r\nvalue\r\n", brd_resp_write_bulk, brd_bytes_of("value"));
    CHECK_ONE("$6\r\n\0\r\n$\xff\n\r\n", brd_resp_write_bulk, brd_bytes("\0\r\n$\xff\n", 6));
    CHECK_ONE("$10\r\n0123456789\r\n", brd_resp_write_bulk, brd_bytes_of("0123456789"));
}
END_TEST

START_TEST(heads_say_how_many_elements_follow)
{
    CHECK_ONE("*0\r\n", brd_resp_write_array, 0);
    CHECK_ONE("*9\r\n", brd_resp_write_array, 9);
    CHECK_ONE("*1048576\r\n", brd_resp_write_array, 1048576);
    CHECK_ONE("*18446744073709551615\r\n", brd_resp_write_array, SIZE_MAX);
    CHECK_BOTH("*0\r\n", "%0\r\n", brd_resp_write_map, 0);
    CHECK_BOTH("*10\r\n", "%5\r\n", brd_resp_write_map, 5);
    CHECK_BOTH("*12\r\n", "~12\r\n", brd_resp_write_set, 12);
    CHECK_BOTH("*3\r\n", ">3\r\n", brd_resp_write_push, 3);
}
END_TEST

START_TEST(types_of_the_third_version_have_a_place_in_the_second)
{
    CHECK_BOTH("$-1\r\n", "_\r\n", brd_resp_write_null);
    CHECK_BOTH("*-1\r\n", "_\r\n", brd_resp_write_null_array);
    CHECK_BOTH(":1\r\n", "#t\r\n", brd_resp_write_boolean, true);
    CHECK_BOTH(":0\r\n", "#f\r\n", brd_resp_write_boolean, false);
    CHECK_BOTH("$9\r\nSome text\r\n", "=13\r\ntxt:Some text\r\n", brd_resp_write_verbatim, "txt",
               brd_bytes_of("Some text"));
    CHECK_BOTH("$0\r\n\r\n", "=4\r\nmkd:\r\n", brd_resp_write_verbatim, "mkd", brd_bytes_of(""));
    CHECK_BOTH("$25\r\n1234567999999999999999999\r\n", "(1234567999999999999999999\r\n",
               brd_resp_write_big_number, brd_bytes_of("1234567999999999999999999"));
}
END_TEST

START_TEST(doubles_are_written_as_redis_writes_them)
{
    CHECK_BOTH("$1\r\n0\r\n", ",0\r\n", brd_resp_write_double, 0.0);
    CHECK_BOTH("$2\r\n-0\r\n", ",-0\r\n", brd_resp_write_double, -0.0);
    CHECK_BOTH("$1\r\n3\r\n", ",3\r\n", brd_resp_write_double, 3.0);
    CHECK_BOTH("$3\r\n0.5\r\n", ",0.5\r\n", brd_resp_write_double, 0.5);
    CHECK_BOTH("$18\r\n3.1400000000000001\r\n", ",3.1400000000000001\r\n", brd_resp_write_double,
               3.14);
    CHECK_BOTH("$5\r\n1e+20\r\n", ",1e+20\r\n", brd_resp_write_double, 1e20);
    CHECK_BOTH("$24\r\n-1.7976931348623157e+308\r\n", ",-1.7976931348623157e+308\r\n",
               brd_resp_write_double, -DBL_MAX);
    CHECK_BOTH("$23\r\n4.9406564584124654e-324\r\n", ",4.9406564584124654e-324\r\n",
               brd_resp_write_double, 4.9406564584124654e-324);
    CHECK_BOTH("$3\r\ninf\r\n", ",inf\r\n", brd_resp_write_double, INFINITY);
    CHECK_BOTH("$4\r\n-inf\r\n", ",-inf\r\n", brd_resp_write_double, -INFINITY);
    CHECK_BOTH("$3\r\nnan\r\n", ",nan\r\n", brd_resp_write_double, NAN);
    CHECK_BOTH("$3\r\nnan\r\n", ",nan\r\n", brd_resp_write_double, -NAN);
}
END_TEST

/* A string between two others, by reference or not. */
static void
check_string(size_t size, bool by_reference)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, size));
    struct brd_bytes held;
    char head[64];
    size_t head_size = (size_t)snprintf(head, sizeof(head), "*3\r\n:1\r\n$%zu\r\n", size);

    ck_assert_ptr_nonnull(blob);
    brd_resp_write_array(&queue, 3);
    brd_resp_write_integer(&queue, 1);
    if (by_reference)
        brd_resp_write_blob(&queue, blob);
    else
        brd_resp_write_bulk(&queue, brd_blob_bytes(blob));
    brd_resp_write_integer(&queue, -2);
    ck_assert_uint_eq(queue.blob_bytes, by_reference ? size : 0);
    ck_assert_uint_eq(atomic_load(&blob->refs), by_reference && size > 0 ? 2 : 1);
    held = flatten(&queue);
    ck_assert_uint_eq(held.size, head_size + size + 2 + 5);
    ck_assert_mem_eq(held.data, head, head_size);
    if (size > 0)
        ck_assert_mem_eq(held.data + head_size, content, size);
    ck_assert_mem_eq(held.data + head_size + size, "\r\n:-2\r\n", 7);
    free((void *)(uintptr_t)held.data);
    brd_outq_consume(&queue, brd_outq_pending(&queue));
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
}

START_TEST(strings_of_any_size_arrive)
{
    /* around the sizes at which lengths, pieces and chunks change */
    static const size_t around[] = { 20, 100, 1000, 2048, 10000, BRD_OUTQ_CHUNK_BYTES, 150000 };

    for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++)
        for (size_t size = around[i] - 20; size <= around[i] + 20; size++) {
            check_string(size, false);
            check_string(size, true);
        }
}
END_TEST

START_TEST(long_lines_are_cleaned_in_all_their_pieces)
{
    static char text[100000];
    struct brd_bytes held;

    memset(text, '\n', sizeof(text));
    brd_resp_write_error(&queue, "ERR", brd_bytes(text, sizeof(text)));
    held = flatten(&queue);
    ck_assert_uint_eq(held.size, sizeof(text) + 7);
    ck_assert_mem_eq(held.data, "-ERR ", 5);
    for (size_t i = 5; i < held.size - 2; i++)
        if (held.data[i] != ' ')
            ck_abort_msg("byte %zu is %d", i, held.data[i]);
    ck_assert_mem_eq(held.data + held.size - 2, "\r\n", 2);
    free((void *)(uintptr_t)held.data);
}
END_TEST

START_TEST(a_queue_that_failed_takes_nothing)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 5000));

    brd_resp_write_integer(&queue, 1);
    queue.failed = true;
    brd_resp_write_simple(&queue, brd_bytes_of("OK"));
    brd_resp_write_error(&queue, "ERR", brd_bytes_of("text"));
    brd_resp_write_integer(&queue, 2);
    brd_resp_write_bulk(&queue, brd_bytes(content, 10));
    brd_resp_write_bulk(&queue, brd_bytes(content, 5000));
    brd_resp_write_blob(&queue, blob);
    brd_resp_write_array(&queue, 2);
    for (enum brd_resp_protocol protocol = BRD_RESP2; protocol <= BRD_RESP3; protocol++) {
        brd_resp_write_null(&queue, protocol);
        brd_resp_write_null_array(&queue, protocol);
        brd_resp_write_map(&queue, protocol, 1);
        brd_resp_write_set(&queue, protocol, 1);
        brd_resp_write_push(&queue, protocol, 1);
        brd_resp_write_double(&queue, protocol, 1.5);
        brd_resp_write_boolean(&queue, protocol, true);
        brd_resp_write_verbatim(&queue, protocol, "txt", brd_bytes_of("text"));
        brd_resp_write_big_number(&queue, protocol, brd_bytes_of("1"));
    }
    ck_assert(queue.failed);
    ck_assert_uint_eq(brd_outq_pending(&queue), 4);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("wire_resp_write");
    TCase *tcase = tcase_create("wire_resp_write");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, lines_are_one_line);
    tcase_add_test(tcase, integers_have_no_more_digits_than_they_need);
    tcase_add_test(tcase, strings_keep_their_bytes);
    tcase_add_test(tcase, heads_say_how_many_elements_follow);
    tcase_add_test(tcase, types_of_the_third_version_have_a_place_in_the_second);
    tcase_add_test(tcase, doubles_are_written_as_redis_writes_them);
    tcase_add_test(tcase, strings_of_any_size_arrive);
    tcase_add_test(tcase, long_lines_are_cleaned_in_all_their_pieces);
    tcase_add_test(tcase, a_queue_that_failed_takes_nothing);
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

#include "rng.h"
#include "trace.h"

#include <check.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

static const char good[] = "10,a,1,0,7,get,0\n"
                           "11,b,1,20,8,set,60\n"
                           "11,a,1,0,7,get,0\n"
                           "12,c.d-e,5,67108864,18446744073,delete,4294967295\n";

static struct trace_reader *
open_bytes(const void *bytes, size_t len)
{
    struct trace_reader *reader = NULL;
    struct bench_error error = { "" };
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    rewind(file);
    ck_assert_msg(trace_open_file(&reader, file, "file", &error), "%s", error.text);
    return reader;
}

static uint8_t *
pack(const char *text, size_t len, size_t *out_len)
{
    size_t room = lzma_stream_buffer_bound(len);
    uint8_t *packed = malloc(room);
    *out_len = 0;
    ck_assert_int_eq(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, (const uint8_t *)text, len,
                                             packed, out_len, room),
                     LZMA_OK);
    return packed;
}

static const char *
parse(const char *line, struct trace_line *out)
{
    return trace_parse_line((struct span){ (const uint8_t *)line, strlen(line) }, out);
}

START_TEST(a_line_has_seven_fields)
{
    struct trace_line line;
    ck_assert_ptr_null(parse("123,some-key,14,99,5,gets,3600", &line));
    ck_assert_uint_eq(line.timestamp_s, 123);
    ck_assert_uint_eq(line.key.len, 8);
    ck_assert_mem_eq(line.key.data, "some-key", 8);
    ck_assert_uint_eq(line.key_bytes, 14);
    ck_assert_uint_eq(line.value_bytes, 99);
    ck_assert_uint_eq(line.client_id, 5);
    ck_assert_int_eq(line.operation, TRACE_GETS);
    ck_assert_uint_eq(line.ttl_s, 3600);
    ck_assert_ptr_null(parse("0,k,1,0,0,get,0\r", &line));
}
END_TEST

START_TEST(every_operation_is_known_by_its_name)
{
    for (int i = 0; i < TRACE_OPERATION_COUNT; i++) {
        char text[64];
        struct trace_line line;
        snprintf(text, sizeof(text), "0,k,1,0,0,%s,0",
                 trace_operation_name((enum trace_operation)i));
        ck_assert_ptr_null(parse(text, &line));
        ck_assert_int_eq((int)line.operation, i);
    }
}
END_TEST

START_TEST(a_line_that_is_wrong_says_why)
{
    static const struct {
        const char *line;
        const char *why;
    } cases[] = {
        { "", "the line is empty" },
        { "\r", "the line is empty" },
        { "1,k,1,0,0,get", "there are fewer than 7 fields" },
        { "1,k,1,0,0,get,0,", "there are more than 7 fields" },
        { "1,k,1,0,0,get,0,9", "there are more than 7 fields" },
        { ",k,1,0,0,get,0", "the timestamp is not a number of seconds" },
        { "-1,k,1,0,0,get,0", "the timestamp is not a number of seconds" },
        { "1.5,k,1,0,0,get,0", "the timestamp is not a number of seconds" },
        { "99999999999999999999,k,1,0,0,get,0", "the timestamp is not a number of seconds" },
        { "1,,1,0,0,get,0", "the key is empty" },
        { "1,a b,1,0,0,get,0", "the key holds a space or a control character" },
        { "1,a\tb,1,0,0,get,0", "the key holds a space or a control character" },
        { "1,a\rset x,1,0,0,get,0", "the key holds a space or a control character" },
        { "1,a\x7f,1,0,0,get,0", "the key holds a space or a control character" },
        { "1,k,x,0,0,get,0", "the size of the key is not a number" },
        { "1,k,4294967296,0,0,get,0", "the size of the key is not a number" },
        { "1,k,1,67108865,0,get,0", "the size of the value is not a number up to 67108864" },
        { "1,k,1,,0,get,0", "the size of the value is not a number up to 67108864" },
        { "1,k,1,0,x,get,0", "the client is not a number" },
        { "1,k,1,0,0,GET,0",
          "the operation is none of get gets set add replace cas append prepend delete incr "
          "decr" },
        { "1,k,1,0,0,,0",
          "the operation is none of get gets set add replace cas append prepend delete incr "
          "decr" },
        { "1,k,1,0,0,get,", "the time to live is not a number of seconds" },
        { "1,k,1,0,0,get,4294967296", "the time to live is not a number of seconds" },
        { "1,k,1,0,0,get, 1", "the time to live is not a number of seconds" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct trace_line line;
        const char *why = parse(cases[i].line, &line);
        ck_assert_msg(why != NULL, "'%s' was accepted", cases[i].line);
        ck_assert_str_eq(why, cases[i].why);
    }
}
END_TEST

START_TEST(a_key_with_a_nul_byte_is_refused)
{
    static const uint8_t bytes[] = "1,a\0b,1,0,0,get,0";
    struct trace_line line;
    ck_assert_str_eq(trace_parse_line((struct span){ bytes, sizeof(bytes) - 1 }, &line),
                     "the key holds a space or a control character");
}
END_TEST

START_TEST(every_beginning_of_a_line_is_refused_or_a_line)
{
    static const char line[] = "123,some-key,14,99,5,gets,3600";
    for (size_t len = 0; len < sizeof(line); len++) {
        struct trace_line out;
        uint8_t *exact = malloc(len > 0 ? len : 1); /* a read beyond it is found by ASan */
        memcpy(exact, line, len);
        const char *why = trace_parse_line((struct span){ exact, len }, &out);
        ck_assert_int_eq(why == NULL,
                         len >= sizeof("123,some-key,14,99,5,gets,") && len < sizeof(line));
        free(exact);
    }
}
END_TEST

static void
expect_good(struct trace_reader *reader)
{
    struct trace_line line;
    struct bench_error error;
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
    ck_assert_uint_eq(line.timestamp_s, 10);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
    ck_assert_uint_eq(line.ttl_s, 60);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
    ck_assert_int_eq(line.operation, TRACE_DELETE);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_END);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_END);
}

START_TEST(a_plain_file_is_read_line_by_line)
{
    struct trace_reader *reader = open_bytes(good, sizeof(good) - 1);
    expect_good(reader);
    trace_close(&reader);
    reader = open_bytes(good, sizeof(good) - 2); /* no newline at the end */
    expect_good(reader);
    trace_close(&reader);
    ck_assert_ptr_null(reader);
}
END_TEST

START_TEST(an_empty_file_is_the_end)
{
    struct trace_line line;
    struct bench_error error;
    struct trace_reader *reader = open_bytes("", 0);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_END);
    trace_close(&reader);
}
END_TEST

START_TEST(an_xz_file_is_unpacked_also_in_several_streams)
{
    size_t len = 0;
    uint8_t *packed = pack(good, sizeof(good) - 1, &len);
    struct trace_reader *reader = open_bytes(packed, len);
    expect_good(reader);
    trace_close(&reader);
    free(packed);

    size_t half = 25; /* inside a line */
    size_t first_len = 0;
    size_t second_len = 0;
    uint8_t *first = pack(good, half, &first_len);
    uint8_t *second = pack(good + half, sizeof(good) - 1 - half, &second_len);
    uint8_t *both = malloc(first_len + second_len);
    memcpy(both, first, first_len);
    memcpy(both + first_len, second, second_len);
    reader = open_bytes(both, first_len + second_len);
    expect_good(reader);
    trace_close(&reader);
    free(both);
    free(first);
    free(second);
}
END_TEST

START_TEST(every_cut_of_an_xz_file_is_a_failure)
{
    size_t len = 0;
    uint8_t *packed = pack(good, sizeof(good) - 1, &len);
    for (size_t cut = 6; cut < len; cut++) {
        struct trace_line line;
        struct bench_error error = { "" };
        struct trace_reader *reader = open_bytes(packed, cut);
        enum trace_result result;
        do {
            result = trace_next(reader, &line, &error);
        } while (result == TRACE_LINE);
        ck_assert_int_eq(result, TRACE_FAILED);
        ck_assert_ptr_nonnull(strstr(error.text, "end early"));
        trace_close(&reader);
    }
    free(packed);
}
END_TEST

START_TEST(every_flipped_byte_of_an_xz_file_is_found)
{
    size_t len = 0;
    uint8_t *packed = pack(good, sizeof(good) - 1, &len);
    for (size_t at = 6; at < len; at++) {
        struct trace_line line;
        struct bench_error error = { "" };
        packed[at] ^= 0x41;
        struct trace_reader *reader = open_bytes(packed, len);
        enum trace_result result;
        do {
            result = trace_next(reader, &line, &error);
        } while (result == TRACE_LINE || result == TRACE_BAD_LINE);
        ck_assert_int_eq(result, TRACE_FAILED);
        trace_close(&reader);
        packed[at] ^= 0x41;
    }
    free(packed);
}
END_TEST

START_TEST(a_bad_line_is_named_and_reading_goes_on_behind_it)
{
    static const char text[] = "1,a,1,0,0,get,0\nnonsense\n1,b,1,0,0,get,0\n";
    struct trace_line line;
    struct bench_error error;
    struct trace_reader *reader = open_bytes(text, sizeof(text) - 1);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_BAD_LINE);
    ck_assert_str_eq(error.text, "file:2: there are fewer than 7 fields");
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
    ck_assert_mem_eq(line.key.data, "b", 1);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_END);
    trace_close(&reader);
}
END_TEST

START_TEST(a_line_without_end_takes_no_memory_and_is_one_bad_line)
{
    static const size_t lens[] = {
        TRACE_LINE_MAX + 1, 1500000, 2097151, 2097152, 2097153, 7000000
    };
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        static const char tail[] = "\n1,b,1,0,0,get,0\n";
        struct trace_line line;
        struct bench_error error;
        char *text = malloc(lens[i] + sizeof(tail));
        memset(text, 'x', lens[i]);
        memcpy(text + lens[i], tail, sizeof(tail));
        struct trace_reader *reader = open_bytes(text, lens[i] + sizeof(tail) - 1);
        ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_BAD_LINE);
        ck_assert_str_eq(error.text,
                         "file:1: the line is longer than 1048704 bytes, of which a key "
                         "has at most 1048576");
        ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_LINE);
        ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_END);
        trace_close(&reader);
        free(text);
    }
}
END_TEST

/* A request whose key is len times the letter. Returns its end. */
static char *
write_request(char *at, char letter, size_t len)
{
    at += snprintf(at, 3, "1,");
    memset(at, letter, len);
    return at + len + snprintf(at + len, 40, ",%zu,0,0,get,0\n", len);
}

static void
expect_key(struct trace_reader *reader, char letter, size_t len)
{
    struct trace_line line;
    struct bench_error error = { "" };
    ck_assert_msg(trace_next(reader, &line, &error) == TRACE_LINE, "%s", error.text);
    ck_assert_uint_eq(line.key.len, len);
    ck_assert_uint_eq(line.key_bytes, len);
    size_t same = 0;
    while (same < len && line.key.data[same] == letter)
        same++;
    ck_assert_uint_eq(same, len);
}

static const size_t key_lens[] = { 1, 4096,   8192,   8193,    65536,   262143, 262144, 300000,
                                   1, 524288, 700000, 1048575, 1048576, 1,      1048576 };
#define KEY_LENS (sizeof(key_lens) / sizeof(key_lens[0]))

START_TEST(keys_may_be_as_long_as_the_store_takes)
{
    char *text = malloc(KEY_LENS * (TRACE_KEY_MAX + 64));
    char *end = text;
    for (size_t i = 0; i < KEY_LENS; i++)
        end = write_request(end, (char)('a' + i), key_lens[i]);
    size_t packed_len = 0;
    uint8_t *packed = pack(text, (size_t)(end - text), &packed_len);

    for (int round = 0; round < 2; round++) {
        struct trace_line line;
        struct bench_error error = { "" };
        struct trace_reader *reader =
            round == 0 ? open_bytes(text, (size_t)(end - text)) : open_bytes(packed, packed_len);
        for (size_t i = 0; i < KEY_LENS; i++)
            expect_key(reader, (char)('a' + i), key_lens[i]);
        ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_END);
        trace_close(&reader);
    }
    free(packed);
    free(text);
}
END_TEST

START_TEST(a_key_that_no_store_takes_is_a_bad_line_with_its_number)
{
    char *text = malloc(3 * (TRACE_KEY_MAX + 64));
    char *end = write_request(text, 'a', TRACE_KEY_MAX);
    end = write_request(end, 'b', TRACE_KEY_MAX + 1);
    end = write_request(end, 'c', 3);
    struct trace_line line;
    struct bench_error error = { "" };
    struct trace_reader *reader = open_bytes(text, (size_t)(end - text));
    expect_key(reader, 'a', TRACE_KEY_MAX);
    ck_assert_int_eq(trace_next(reader, &line, &error), TRACE_BAD_LINE);
    ck_assert_str_eq(error.text, "file:2: the key is longer than 1048576 bytes");
    expect_key(reader, 'c', 3);
    trace_close(&reader);
    free(text);
}
END_TEST

START_TEST(a_loaded_trace_numbers_its_keys)
{
    struct trace trace;
    struct bench_error error = { "" };
    struct trace_options options = { .key_bytes_max = 250 };
    struct trace_reader *reader = open_bytes(good, sizeof(good) - 1);
    ck_assert_msg(trace_load(&trace, reader, &options, &error), "%s", error.text);
    trace_close(&reader);
    ck_assert_uint_eq(trace.request_count, 4);
    ck_assert_uint_eq(trace.key_count, 3);
    ck_assert_uint_eq(trace.requests[0].key, trace.requests[2].key);
    ck_assert_uint_eq(trace.requests[1].value_bytes, 20);
    ck_assert_mem_eq(trace_key(&trace, trace.requests[3].key).data, "c.d-e", 5);
    trace_fini(&trace);
}
END_TEST

START_TEST(many_keys_keep_their_numbers_while_the_table_grows)
{
    enum { KEYS = 200000 };
    char *text = malloc(KEYS * 2 * 40);
    size_t len = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KEYS; i++)
            len += (size_t)snprintf(text + len, 40, "1,k%d,7,0,0,get,0\n", i);
    }
    struct trace trace;
    struct bench_error error = { "" };
    struct trace_options options = { .key_bytes_max = 250 };
    struct trace_reader *reader = open_bytes(text, len);
    ck_assert_msg(trace_load(&trace, reader, &options, &error), "%s", error.text);
    trace_close(&reader);
    ck_assert_uint_eq(trace.request_count, 2 * KEYS);
    ck_assert_uint_eq(trace.key_count, KEYS);
    for (uint32_t i = 0; i < KEYS; i++) {
        ck_assert_uint_eq(trace.requests[i].key, i);
        ck_assert_uint_eq(trace.requests[KEYS + i].key, i);
    }
    trace_fini(&trace);
    free(text);
}
END_TEST

START_TEST(loading_stops_at_a_bad_line_or_counts_it)
{
    static const char text[] = "1,a,1,0,0,get,0\nnonsense\n1,long-key,8,0,0,get,0\n";
    struct trace trace;
    struct bench_error error = { "" };
    struct trace_options options = { .key_bytes_max = 3 };
    struct trace_reader *reader = open_bytes(text, sizeof(text) - 1);
    ck_assert(!trace_load(&trace, reader, &options, &error));
    ck_assert_str_eq(error.text, "file:2: there are fewer than 7 fields");
    trace_close(&reader);

    options.skip_bad_lines = true;
    reader = open_bytes(text, sizeof(text) - 1);
    ck_assert(trace_load(&trace, reader, &options, &error));
    ck_assert_uint_eq(trace.request_count, 1);
    ck_assert_uint_eq(trace.skipped_lines, 2);
    trace_fini(&trace);
    trace_close(&reader);
}
END_TEST

START_TEST(a_key_that_the_protocol_does_not_carry_is_named_by_its_line)
{
    static const char text[] = "1,a,1,0,0,get,0\n1,long-key,8,0,0,get,0\n";
    struct trace trace;
    struct bench_error error = { "" };
    struct trace_options options = { .key_bytes_max = 3 };
    struct trace_reader *reader = open_bytes(text, sizeof(text) - 1);
    ck_assert(!trace_load(&trace, reader, &options, &error));
    ck_assert_str_eq(error.text, "file:2: the key has 8 bytes; the protocol carries at most 3");
    trace_close(&reader);
}
END_TEST

START_TEST(loading_takes_no_more_requests_than_asked)
{
    struct trace trace;
    struct bench_error error = { "" };
    struct trace_options options = { .key_bytes_max = 250, .requests_max = 2 };
    struct trace_reader *reader = open_bytes(good, sizeof(good) - 1);
    ck_assert(trace_load(&trace, reader, &options, &error));
    ck_assert_uint_eq(trace.request_count, 2);
    trace_fini(&trace);
    trace_close(&reader);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named)
{
    struct trace_reader *reader = NULL;
    struct bench_error error;
    ck_assert(!trace_open(&reader, "/nonexistent/trace.csv", &error));
    ck_assert_str_eq(error.text, "/nonexistent/trace.csv: No such file or directory");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("trace");
    TCase *tcase = tcase_create("trace");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_line_has_seven_fields);
    tcase_add_test(tcase, every_operation_is_known_by_its_name);
    tcase_add_test(tcase, a_line_that_is_wrong_says_why);
    tcase_add_test(tcase, a_key_with_a_nul_byte_is_refused);
    tcase_add_test(tcase, every_beginning_of_a_line_is_refused_or_a_line);
    tcase_add_test(tcase, a_plain_file_is_read_line_by_line);
    tcase_add_test(tcase, an_empty_file_is_the_end);
    tcase_add_test(tcase, an_xz_file_is_unpacked_also_in_several_streams);
    tcase_add_test(tcase, every_cut_of_an_xz_file_is_a_failure);
    tcase_add_test(tcase, every_flipped_byte_of_an_xz_file_is_found);
    tcase_add_test(tcase, a_bad_line_is_named_and_reading_goes_on_behind_it);
    tcase_add_test(tcase, a_line_without_end_takes_no_memory_and_is_one_bad_line);
    tcase_add_test(tcase, keys_may_be_as_long_as_the_store_takes);
    tcase_add_test(tcase, a_key_that_no_store_takes_is_a_bad_line_with_its_number);
    tcase_add_test(tcase, a_loaded_trace_numbers_its_keys);
    tcase_add_test(tcase, many_keys_keep_their_numbers_while_the_table_grows);
    tcase_add_test(tcase, loading_stops_at_a_bad_line_or_counts_it);
    tcase_add_test(tcase, a_key_that_the_protocol_does_not_carry_is_named_by_its_line);
    tcase_add_test(tcase, loading_takes_no_more_requests_than_asked);
    tcase_add_test(tcase, a_file_that_is_not_there_is_named);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

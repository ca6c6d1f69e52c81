/* The text codecs: what they send, and what they make of what servers send.
 * Every answer is also fed byte by byte, and cut at every place. */
#include "codec.h"
#include "rng.h"
#include "server.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct codec *codec;

static void
open_codec(enum protocol protocol)
{
    struct bench_error error = { "" };
    codec_destroy(&codec);
    ck_assert_msg(codec_create(&codec, protocol, &error), "%s", error.text);
}

static void
teardown(void)
{
    codec_destroy(&codec);
}

static struct span
text(const char *s)
{
    return (struct span){ (const uint8_t *)s, strlen(s) };
}

static void
feed(const char *bytes, size_t len)
{
    size_t room = 0;
    while (len > 0) {
        uint8_t *space = codec_input_space(codec, &room);
        ck_assert_ptr_nonnull(space);
        size_t part = len < room ? len : room;
        memcpy(space, bytes, part);
        codec_input_added(codec, part);
        bytes += part;
        len -= part;
    }
}

static void
expect_sent(enum request_kind kind, const char *value, uint64_t ttl_ms, const char *wanted)
{
    struct span key = text("k1");
    struct request request = {
        .kind = kind, .key_count = 1, .keys = &key, .value = text(value), .ttl_ms = ttl_ms
    };
    ck_assert(codec_encode(codec, &request));
    struct span out = codec_output(codec);
    ck_assert_msg(out.len == strlen(wanted) && memcmp(out.data, wanted, out.len) == 0,
                  "sent '%.*s' instead of '%s'", (int)out.len, (const char *)out.data, wanted);
    codec_output_sent(codec, out.len);
    ck_assert_uint_eq(codec_output(codec).len, 0);
}

START_TEST(resp_requests_are_arrays_of_bulk_strings)
{
    open_codec(PROTOCOL_RESP);
    expect_sent(REQUEST_GET, "", 0, "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
    expect_sent(REQUEST_SET, "v", 0, "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$1\r\nv\r\n");
    expect_sent(REQUEST_SET, "", 1500,
                "*5\r\n$3\r\nSET\r\n$2\r\nk1\r\n$0\r\n\r\n$2\r\nPX\r\n$4\r\n1500\r\n");
    expect_sent(REQUEST_ADD, "v", 0, "*4\r\n$3\r\nSET\r\n$2\r\nk1\r\n$1\r\nv\r\n$2\r\nNX\r\n");
    expect_sent(REQUEST_REPLACE, "v", 7,
                "*6\r\n$3\r\nSET\r\n$2\r\nk1\r\n$1\r\nv\r\n$2\r\nPX\r\n$1\r\n7\r\n$2\r\nXX\r\n");
    expect_sent(REQUEST_APPEND, "v", 0, "*3\r\n$6\r\nAPPEND\r\n$2\r\nk1\r\n$1\r\nv\r\n");
    expect_sent(REQUEST_DELETE, "", 0, "*2\r\n$3\r\nDEL\r\n$2\r\nk1\r\n");
    expect_sent(REQUEST_STATS, "", 0, "*1\r\n$4\r\nINFO\r\n");
    expect_sent(REQUEST_GET_MANY, "", 0, "*2\r\n$4\r\nMGET\r\n$2\r\nk1\r\n");
}
END_TEST

START_TEST(memcached_requests_are_lines)
{
    open_codec(PROTOCOL_MEMCACHED);
    expect_sent(REQUEST_GET, "", 0, "get k1\r\n");
    expect_sent(REQUEST_GET_MANY, "", 0, "get k1\r\n");
    expect_sent(REQUEST_SET, "val", 0, "set k1 0 0 3\r\nval\r\n");
    expect_sent(REQUEST_SET, "val", 1001, "set k1 0 2 3\r\nval\r\n");
    expect_sent(REQUEST_ADD, "", 0, "add k1 0 0 0\r\n\r\n");
    expect_sent(REQUEST_REPLACE, "v", 0, "replace k1 0 0 1\r\nv\r\n");
    expect_sent(REQUEST_APPEND, "v", 0, "append k1 0 0 1\r\nv\r\n");
    expect_sent(REQUEST_DELETE, "", 0, "delete k1\r\n");
    expect_sent(REQUEST_STATS, "", 0, "stats\r\n");
}
END_TEST

struct answer {
    enum protocol protocol;
    enum request_kind kind;
    unsigned key_count;
    const char *bytes;
    enum reply_kind wanted;
    const char *value; /* NULL: none */
    uint32_t hits;
    uint32_t misses;
};

static const struct answer answers[] = {
    { PROTOCOL_RESP, REQUEST_GET, 1, "$5\r\nhello\r\n", REPLY_HIT, "hello", 0, 0 },
    { PROTOCOL_RESP, REQUEST_GET, 1, "$4\r\n\r\n\r\n\r\n", REPLY_HIT, "\r\n\r\n", 0, 0 },
    { PROTOCOL_RESP, REQUEST_GET, 1, "$0\r\n\r\n", REPLY_HIT, "", 0, 0 },
    { PROTOCOL_RESP, REQUEST_GET, 1, "$-1\r\n", REPLY_MISS, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_GET, 1, "-ERR no\r\n", REPLY_ERROR, "ERR no", 0, 0 },
    { PROTOCOL_RESP, REQUEST_SET, 1, "+OK\r\n", REPLY_DONE, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_SET, 1, "-OOM x\r\n", REPLY_ERROR, "OOM x", 0, 0 },
    { PROTOCOL_RESP, REQUEST_ADD, 1, "$-1\r\n", REPLY_REFUSED, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_REPLACE, 1, "+OK\r\n", REPLY_DONE, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_DELETE, 1, ":1\r\n", REPLY_DONE, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_DELETE, 1, ":0\r\n", REPLY_MISS, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_APPEND, 1, ":12\r\n", REPLY_DONE, NULL, 0, 0 },
    { PROTOCOL_RESP, REQUEST_GET_MANY, 3, "*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n", REPLY_MANY, NULL,
      2, 1 },
    { PROTOCOL_RESP, REQUEST_GET_MANY, 3, "-ERR no\r\n", REPLY_ERROR, "ERR no", 0, 0 },
    { PROTOCOL_RESP, REQUEST_STATS, 0, "$8\r\na:1\r\nb:2\r\n", REPLY_HIT, "a:1\r\nb:2", 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k1 0 5\r\nhello\r\nEND\r\n", REPLY_HIT, "hello", 0,
      0 },
    { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k1 7 0\r\n\r\nEND\r\n", REPLY_HIT, "", 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k1 0 5\r\nEND\r\n\r\nEND\r\n", REPLY_HIT,
      "END\r\n", 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "END\r\n", REPLY_MISS, NULL, 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "SERVER_ERROR out of memory\r\n", REPLY_ERROR,
      "SERVER_ERROR out of memory", 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_SET, 1, "STORED\r\n", REPLY_DONE, NULL, 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_ADD, 1, "NOT_STORED\r\n", REPLY_REFUSED, NULL, 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_SET, 1, "ERROR\r\n", REPLY_ERROR, "ERROR", 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_DELETE, 1, "DELETED\r\n", REPLY_DONE, NULL, 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_DELETE, 1, "NOT_FOUND\r\n", REPLY_MISS, NULL, 0, 0 },
    { PROTOCOL_MEMCACHED, REQUEST_GET_MANY, 3, "VALUE a 0 1\r\nx\r\nVALUE c 0 2\r\nyz\r\nEND\r\n",
      REPLY_MANY, NULL, 2, 1 },
    { PROTOCOL_MEMCACHED, REQUEST_GET_MANY, 3, "END\r\n", REPLY_MANY, NULL, 0, 3 },
    { PROTOCOL_MEMCACHED, REQUEST_STATS, 0, "STAT pid 5\r\nSTAT version 1\r\nEND\r\n", REPLY_HIT,
      "STAT pid 5\r\nSTAT version 1\r\n", 0, 0 },
};
#define ANSWERS ((int)(sizeof(answers) / sizeof(answers[0])))

static void
expect_answer(const struct answer *answer)
{
    struct reply reply = { .kind = REPLY_DONE };
    ck_assert_int_eq(codec_next(codec, answer->kind, answer->key_count, &reply), CODEC_REPLY);
    ck_assert_int_eq(reply.kind, answer->wanted);
    if (answer->value != NULL) {
        ck_assert_uint_eq(reply.value.len, strlen(answer->value));
        ck_assert_mem_eq(reply.value.data, answer->value, reply.value.len);
    }
    if (answer->wanted == REPLY_MANY) {
        ck_assert_uint_eq(reply.hits, answer->hits);
        ck_assert_uint_eq(reply.misses, answer->misses);
    }
}

START_TEST(an_answer_is_understood_whole_and_byte_by_byte)
{
    const struct answer *answer = &answers[_i];
    size_t len = strlen(answer->bytes);
    struct reply reply;

    open_codec(answer->protocol);
    feed(answer->bytes, len);
    expect_answer(answer);
    ck_assert_int_eq(codec_next(codec, answer->kind, answer->key_count, &reply), CODEC_MORE);
    for (size_t i = 0; i < len; i++) {
        ck_assert_int_eq(codec_next(codec, answer->kind, answer->key_count, &reply), CODEC_MORE);
        feed(answer->bytes + i, 1);
    }
    expect_answer(answer);
}
END_TEST

START_TEST(answers_in_one_piece_come_out_one_by_one)
{
    for (int protocol = PROTOCOL_RESP; protocol <= PROTOCOL_MEMCACHED; protocol++) {
        open_codec((enum protocol)protocol);
        for (int round = 0; round < 200; round++) {
            for (int i = 0; i < ANSWERS; i++) {
                if ((int)answers[i].protocol == protocol)
                    feed(answers[i].bytes, strlen(answers[i].bytes));
            }
        }
        for (int round = 0; round < 200; round++) {
            for (int i = 0; i < ANSWERS; i++) {
                if ((int)answers[i].protocol == protocol)
                    expect_answer(&answers[i]);
            }
        }
    }
}
END_TEST

START_TEST(what_is_no_answer_breaks_the_conversation)
{
    static const struct {
        enum protocol protocol;
        enum request_kind kind;
        unsigned key_count;
        const char *bytes;
    } cases[] = {
        { PROTOCOL_RESP, REQUEST_GET, 1, "+OK\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "hello\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$5\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$x\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$-2\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$999999999999\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$99999999999999999999\r\n" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "$2\r\nabcd" },
        { PROTOCOL_RESP, REQUEST_GET, 1, "*1\r\n$1\r\na\r\n" },
        { PROTOCOL_RESP, REQUEST_SET, 1, "$2\r\nOK\r\n" },
        { PROTOCOL_RESP, REQUEST_SET, 1, ":1\r\n" },
        { PROTOCOL_RESP, REQUEST_ADD, 1, "$1\r\nx\r\n" },
        { PROTOCOL_RESP, REQUEST_GET_MANY, 2, "*3\r\n" },
        { PROTOCOL_RESP, REQUEST_GET_MANY, 2, "*-1\r\n" },
        { PROTOCOL_RESP, REQUEST_GET_MANY, 2, "*2\r\n:1\r\n" },
        { PROTOCOL_RESP, REQUEST_GET_MANY, 2, "*2\r\n-ERR\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "STORED\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE \r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k 0\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k 0 x\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k 0 -1\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k 0 999999999999\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k 0 1\r\nabc" },
        { PROTOCOL_MEMCACHED, REQUEST_GET, 1, "VALUE k 0 1\r\na\r\nVALUE k 0 1\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_GET_MANY, 1,
          "VALUE a 0 1\r\na\r\nVALUE b 0 1\r\nb\r\nEND\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_SET, 1, "DELETED\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_SET, 1, "END\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_DELETE, 1, "STORED\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_STATS, 0, "STAT a 1\r\nSTORED\r\n" },
        { PROTOCOL_MEMCACHED, REQUEST_SET, 1, "STORED\n" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply reply;
        open_codec(cases[i].protocol);
        feed(cases[i].bytes, strlen(cases[i].bytes));
        ck_assert_msg(codec_next(codec, cases[i].kind, cases[i].key_count, &reply) == CODEC_BROKEN,
                      "'%s' was taken", cases[i].bytes);
        ck_assert_uint_gt(strlen(codec->error.text), 0);
    }
}
END_TEST

START_TEST(a_line_that_never_ends_breaks_the_conversation)
{
    char *line = malloc(100000);
    memset(line, '+', 100000);
    for (int protocol = PROTOCOL_RESP; protocol <= PROTOCOL_MEMCACHED; protocol++) {
        struct reply reply;
        open_codec((enum protocol)protocol);
        feed(line, 100000);
        ck_assert_int_eq(codec_next(codec, REQUEST_SET, 1, &reply), CODEC_BROKEN);
    }
    free(line);
}
END_TEST

/* No bytes whatever do more than break the conversation. */
START_TEST(random_bytes_are_survived)
{
    static const char letters[] = "$*+-:0123456789\r\n\r\nVALUE END STORED STAT k";
    struct rng rng;
    rng_init(&rng, 77);
    for (int round = 0; round < 20000; round++) {
        char bytes[64];
        struct reply reply;
        size_t len = (size_t)rng_below(&rng, sizeof(bytes));
        enum request_kind kind = (enum request_kind)rng_below(&rng, REQUEST_STATS + 1);
        for (size_t i = 0; i < len; i++)
            bytes[i] = letters[rng_below(&rng, sizeof(letters) - 1)];
        open_codec(round % 2 == 0 ? PROTOCOL_RESP : PROTOCOL_MEMCACHED);
        feed(bytes, len);
        while (codec_next(codec, kind, 2, &reply) == CODEC_REPLY)
            ck_assert_uint_le(reply.value.len, len);
    }
}
END_TEST

struct seen_values {
    unsigned count;
    size_t index[4];
    char bytes[64];
};

static void
note_value(void *context, size_t index, struct span key, struct span value)
{
    struct seen_values *seen = context;
    ck_assert_uint_lt(seen->count, 4);
    seen->index[seen->count++] = index;
    size_t used = strlen(seen->bytes);
    snprintf(seen->bytes + used, sizeof(seen->bytes) - used, "%.*s=%.*s;", (int)key.len,
             key.len == 0 ? "" : (const char *)key.data, (int)value.len, (const char *)value.data);
}

START_TEST(values_of_many_keys_are_shown_one_by_one)
{
    struct seen_values seen = { .count = 0 };
    struct reply reply;

    open_codec(PROTOCOL_RESP);
    codec->value_fn = note_value;
    codec->value_context = &seen;
    feed("*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n", 25);
    ck_assert_int_eq(codec_next(codec, REQUEST_GET_MANY, 3, &reply), CODEC_REPLY);
    ck_assert_str_eq(seen.bytes, "=a;=bc;");
    ck_assert_uint_eq(seen.index[0], 0);
    ck_assert_uint_eq(seen.index[1], 2);

    memset(&seen, 0, sizeof(seen));
    open_codec(PROTOCOL_MEMCACHED);
    codec->value_fn = note_value;
    codec->value_context = &seen;
    feed("VALUE b 0 1\r\nx\r\nEND\r\n", 21);
    ck_assert_int_eq(codec_next(codec, REQUEST_GET_MANY, 3, &reply), CODEC_REPLY);
    ck_assert_str_eq(seen.bytes, "b=x;");
    ck_assert(seen.index[0] == SIZE_MAX);
}
END_TEST

START_TEST(a_large_value_comes_out_whole)
{
    enum { LEN = 3000000 };
    char *bytes = malloc(LEN + 32);
    int head = snprintf(bytes, LEN, "$%d\r\n", LEN);
    struct reply reply;
    memset(bytes + head, 'v', LEN);
    memcpy(bytes + head + LEN, "\r\n", 2);
    open_codec(PROTOCOL_RESP);
    feed(bytes, (size_t)head + LEN + 1);
    ck_assert_int_eq(codec_next(codec, REQUEST_GET, 1, &reply), CODEC_MORE);
    feed("\n", 1);
    ck_assert_int_eq(codec_next(codec, REQUEST_GET, 1, &reply), CODEC_REPLY);
    ck_assert_uint_eq(reply.value.len, LEN);
    ck_assert_uint_eq(reply.value.data[LEN - 1], 'v');
    free(bytes);
}
END_TEST

START_TEST(statistics_are_found_by_their_whole_name)
{
    struct span stats = text("# Server\r\nprocess_id:77\r\nused_memory:5\r\nSTAT pid 8\r\n"
                             "used_cpu_user:1.25\nlast:x");
    char value[16];
    ck_assert(server_find(stats, "process_id", value, sizeof(value)));
    ck_assert_str_eq(value, "77");
    ck_assert(server_find(stats, "pid", value, sizeof(value)));
    ck_assert_str_eq(value, "8");
    ck_assert(server_find(stats, "last", value, sizeof(value)));
    ck_assert_str_eq(value, "x");
    ck_assert(server_find(stats, "process_id", value, 2)); /* cut to fit */
    ck_assert_str_eq(value, "7");
    ck_assert(!server_find(stats, "process", value, sizeof(value)));
    ck_assert(!server_find(stats, "memory", value, sizeof(value)));
    ck_assert(!server_find(text(""), "a", value, sizeof(value)));
}
END_TEST

START_TEST(seconds_become_microseconds)
{
    uint64_t us = 0;
    ck_assert(server_parse_seconds("1.25", &us));
    ck_assert_uint_eq(us, 1250000);
    ck_assert(server_parse_seconds("3", &us));
    ck_assert_uint_eq(us, 3000000);
    ck_assert(server_parse_seconds("0.000001", &us));
    ck_assert_uint_eq(us, 1);
    ck_assert(server_parse_seconds("0.0000019", &us));
    ck_assert_uint_eq(us, 1);
    ck_assert(!server_parse_seconds("", &us));
    ck_assert(!server_parse_seconds(".5", &us));
    ck_assert(!server_parse_seconds("1.5x", &us));
    ck_assert(!server_parse_seconds("-1", &us));
    ck_assert(!server_parse_seconds("9999999999999999999", &us));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("codecs");
    TCase *tcase = tcase_create("codecs");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, resp_requests_are_arrays_of_bulk_strings);
    tcase_add_test(tcase, memcached_requests_are_lines);
    tcase_add_loop_test(tcase, an_answer_is_understood_whole_and_byte_by_byte, 0, ANSWERS);
    tcase_add_test(tcase, answers_in_one_piece_come_out_one_by_one);
    tcase_add_test(tcase, what_is_no_answer_breaks_the_conversation);
    tcase_add_test(tcase, a_line_that_never_ends_breaks_the_conversation);
    tcase_add_test(tcase, random_bytes_are_survived);
    tcase_add_test(tcase, values_of_many_keys_are_shown_one_by_one);
    tcase_add_test(tcase, a_large_value_comes_out_whole);
    tcase_add_test(tcase, statistics_are_found_by_their_whole_name);
    tcase_add_test(tcase, seconds_become_microseconds);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

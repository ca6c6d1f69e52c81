/* Requests of the Redis protocol: each stream of a table gives the same requests however it is
 * cut, from a buffer that moves between any two offers, with large arguments in the input and
 * apart from it. docs/architecture.md says how it was compared with redis. */
#include "base/buf.h"
#include "wire/arena.h"
#include "wire/resp/resp_parse.h"
#include "wire_test.h"

#include <check.h>

#define ARENA_BYTES ((size_t)64 << 20)

#define PING "*1\r\n$4\r\nPING\r\n"

static struct brd_wire_arena *arena;
static struct brd_buf got;

static const struct brd_resp_limits usual = {
    .args_max = 1 << 20,
    .bulk_max = BRD_RESP_BULK_MAX,
    .inline_max = BRD_RESP_INLINE_MAX,
    .bytes_max = UINT64_C(1) << 30,
    .args_stranger_max = BRD_RESP_ARGS_STRANGER_MAX,
    .bulk_stranger_max = BRD_RESP_BULK_STRANGER_MAX,
    .apart_min = 16384,
};

static void
setup(void)
{
    arena = brd_wire_arena_create(ARENA_BYTES);
    ck_assert_ptr_nonnull(arena);
    brd_buf_init(&got);
}

static void
teardown(void)
{
    brd_wire_arena_destroy(&arena);
    brd_buf_fini(&got);
}

/* ---- A connection that receives a stream ---- */

struct feed {
    struct brd_bytes stream;
    struct brd_resp_limits limits;
    bool known;
    bool take_apart; /* large arguments, as soon as their place is told */
    size_t first;    /* bytes that come at first */
    size_t step;     /* bytes that come with each further read */

    struct brd_resp_parser parser;
    size_t begin; /* of the stream: done with */
    size_t end;   /* of the stream: received */
    uint64_t needed;
    struct brd_wire_apart apart; /* value owned, or NULL */
    size_t apart_count;          /* large arguments that were received so */
};

/* What is received of a request, without what lies apart, of exactly its size, so that the address
 * sanitizer sees a read behind it. The caller frees it. */
static struct brd_bytes
make_input(const struct feed *feed)
{
    const uint8_t *from = feed->stream.data + feed->begin;
    size_t size = feed->end - feed->begin;
    size_t gap = feed->apart.value != NULL ? (size_t)feed->apart.place.size : 0;
    size_t head = gap > 0 ? (size_t)feed->apart.place.begin : size;
    uint8_t *data = malloc(size - gap + (size == gap));

    ck_assert_ptr_nonnull(data);
    memcpy(data, from, head);
    if (gap > 0)
        memcpy(data + head, from + head + gap, size - head - gap);
    return brd_bytes(data, size - gap);
}

/* Write a request as <arg><arg>; */
static void
write_request(const struct brd_resp_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        brd_buf_append(&got, "<", 1);
        brd_buf_append(&got, request->args[i].data, request->args[i].size);
        brd_buf_append(&got, ">", 1);
    }
    brd_buf_append(&got, ";", 1);
}

static void
check_apart_arg(const struct feed *feed, const struct brd_resp_request *request)
{
    if (feed->apart.value == NULL) {
        ck_assert_uint_eq(request->apart_arg, BRD_RESP_NO_ARG);
        return;
    }
    ck_assert_uint_lt(request->apart_arg, request->count);
    ck_assert_ptr_eq(request->args[request->apart_arg].data, feed->apart.value->data);
    ck_assert_uint_eq(request->args[request->apart_arg].size, feed->apart.value->size);
}

/* Receive the large argument at once, as far as the stream has it. */
static void
receive_apart(struct feed *feed, struct brd_span place)
{
    size_t from = feed->begin + (size_t)place.begin;

    ck_assert_uint_ge(place.size, feed->limits.apart_min);
    if (!feed->take_apart || from + place.size > feed->stream.size)
        return;
    ck_assert_ptr_null(feed->apart.value);
    feed->apart.place = place;
    feed->apart.value = brd_blob_copy(brd_bytes(feed->stream.data + from, (size_t)place.size));
    ck_assert_ptr_nonnull(feed->apart.value);
    if (feed->end < from + place.size)
        feed->end = from + (size_t)place.size;
    feed->apart_count++;
}

/* Offer what is there once. False where that was the last time. */
static bool
offer(struct feed *feed, size_t *calls)
{
    const struct brd_wire_apart *apart = feed->apart.value != NULL ? &feed->apart : NULL;
    struct brd_bytes input = make_input(feed);
    struct brd_resp_request request;
    enum brd_resp_result result;
    bool goes_on = true;

    result = brd_resp_parse(&feed->parser, &feed->limits, arena, input, apart, &request);
    ck_assert_uint_le(request.used, input.size);
    switch (result) {
    case BRD_RESP_REQUEST:
        ck_assert_uint_gt(request.count, 0);
        check_apart_arg(feed, &request);
        write_request(&request);
        feed->begin += request.used + (apart != NULL ? (size_t)apart->place.size : 0);
        brd_blob_unref(feed->apart.value);
        feed->apart.value = NULL;
        ck_assert_uint_eq(feed->parser.seen, 0);
        break;
    case BRD_RESP_MORE:
        ck_assert_uint_gt(request.needed, input.size - request.used);
        ck_assert(apart == NULL || (request.used == 0 && request.place.size == 0));
        feed->begin += request.used;
        feed->needed = request.needed;
        if (request.place.size > 0)
            receive_apart(feed, request.place);
        if (feed->apart.value == NULL || apart != NULL) {
            goes_on = feed->end < feed->stream.size;
            feed->end += *calls == 0 ? feed->first : feed->step;
            *calls += 1;
            if (feed->end > feed->stream.size)
                feed->end = feed->stream.size;
        }
        break;
    case BRD_RESP_ERROR:
        ck_assert_ptr_nonnull(memchr(request.error, '\0', sizeof(request.error)));
        ck_assert_int_ne(request.status, BRD_OK);
        brd_buf_append(&got, "!", 1);
        brd_buf_append(&got, request.error, strlen(request.error));
        goes_on = false;
        break;
    }
    free((void *)(uintptr_t)input.data);
    return goes_on;
}

/* Read the stream to its end or an error; `got` has what came. */
static void
run(struct feed *feed)
{
    size_t calls = 0;

    brd_buf_clear(&got);
    brd_wire_arena_clear(arena);
    feed->parser = (struct brd_resp_parser){ .known = feed->known };
    feed->begin = 0;
    feed->end = 0;
    feed->apart_count = 0;
    while (offer(feed, &calls))
        continue;
    brd_blob_unref(feed->apart.value);
    feed->apart.value = NULL;
}

static void
must_have_got(struct brd_bytes expected, const char *how, size_t at)
{
    if (!brd_bytes_equal(brd_buf_bytes(&got), expected))
        ck_abort_msg("%s %zu: got %.*s\nexpected %.*s", how, at, (int)got.size, (char *)got.data,
                     (int)expected.size, (const char *)expected.data);
}

/* However the stream comes, it is read as expected. */
static void
check_stream(struct feed *feed, struct brd_bytes expected)
{
    for (size_t cut = 0; cut <= feed->stream.size; cut++) {
        feed->first = cut;
        feed->step = feed->stream.size;
        run(feed);
        must_have_got(expected, "cut at", cut);
    }
    for (size_t step = 1; step <= 3; step++) {
        feed->first = step;
        feed->step = step;
        run(feed);
        must_have_got(expected, "in steps of", step);
    }
}

struct row {
    struct brd_bytes stream;
    struct brd_bytes expected;
};

static void
check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct feed feed = { .stream = rows[i].stream, .limits = usual, .known = true };

        check_stream(&feed, rows[i].expected);
        feed.take_apart = true;
        feed.limits.apart_min = 3;
        check_stream(&feed, rows[i].expected);
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

/* ---- Streams ---- */

START_TEST(arrays_are_read)
{
    static const struct row rows[] = {
        { BYTES(""), BYTES("") },
        { BYTES(PING), BYTES("<PING>;") },
        { BYTES("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"), BYTES("<GET><key>;") },
        { BYTES("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$12\r\ntwelve bytes\r\n"),
          BYTES("<SET><key><twelve bytes>;") },
        { BYTES("*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n"), BYTES("<GET><0123456789>;") },
        { BYTES("*12\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n"
                "$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n$1\r\na\r\n$1\r\nb\r\n"),
          BYTES("<0><1><2><3><4><5><6><7><8><9><a><b>;") },
        { BYTES("*2\r\n$0\r\n\r\n$0\r\n\r\n"), BYTES("<><>;") },
        { BYTES("*2\r\n$3\r\nGET\r\n$9\r\n\0\r\n$\xff*1\r\n\r\n"),
          BYTES("<GET><\0\r\n$\xff*1\r\n>;") },
        { BYTES(PING PING "*1\r\n$1\r\na\r\n"), BYTES("<PING>;<PING>;<a>;") },
        /* cut off */
        { BYTES("*2\r\n$3\r\nGET\r\n$3\r\nke"), BYTES("") },
        { BYTES("*2\r\n$3\r\nGET\r\n$3\r\nkey"), BYTES("") },
        { BYTES("*2\r\n$3\r\nGET\r\n$3\r\nkey\r"), BYTES("") },
        { BYTES("*2\r\n$3\r\nGET\r\n$3"), BYTES("") },
        { BYTES("*"), BYTES("") },
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(empty_requests_are_skipped)
{
    static const struct row rows[] = {
        { BYTES("*0\r\n"), BYTES("") },
        { BYTES("*-1\r\n"), BYTES("") },
        { BYTES("*-7\r\n" PING), BYTES("<PING>;") },
        { BYTES("*-9223372036854775808\r\n" PING), BYTES("<PING>;") },
        { BYTES("\r\n"), BYTES("") },
        { BYTES("\n\n\n"), BYTES("") },
        { BYTES("\r\n*0\r\n \t\v\f \n*-1\r\n\r\n" PING "\r\n*0\r\n" PING),
          BYTES("<PING>;<PING>;") },
        { BYTES("\r\nGET a\r\n\r\n"), BYTES("<GET><a>;") },
    };

    CHECK_ROWS(rows);
}
END_TEST

/* redis counts the bytes that end a bulk or follow a '\r', and does not look at them. */
START_TEST(ends_are_counted_not_read)
{
    static const struct row rows[] = {
        { BYTES("*1\rX$4\rYPINGab" PING), BYTES("<PING>;<PING>;") },
        { BYTES("*1\r\r$1\r$a\0\0" PING), BYTES("<a>;<PING>;") },
        { BYTES("*0\r*" PING), BYTES("<PING>;") },
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(lines_are_split)
{
    static const struct row rows[] = {
        { BYTES("PING\r\n"), BYTES("<PING>;") },
        { BYTES("PING\n"), BYTES("<PING>;") },
        { BYTES("  GET\t a \r\n"), BYTES("<GET><a>;") },
        { BYTES("GET a\rb\r\r\n"), BYTES("<GET><a><b>;") },
        { BYTES("$4\r\nPING\r\n"), BYTES("<$4>;<PING>;") },
        { BYTES("a\vb\fc \v\fd\n"), BYTES("<a\vb\fc><d>;") },
        { BYTES("a\\n\\x41\n"), BYTES("<a\\n\\x41>;") },
        { BYTES("\xff\x80 \x01\n"), BYTES("<\xff\x80><\x01>;") },
        { BYTES("GET \"a key\"\r\n"), BYTES("<GET><a key>;") },
        { BYTES("GET 'a key'\r\n"), BYTES("<GET><a key>;") },
        { BYTES("\"\" ''\r\n"), BYTES("<><>;") },
        { BYTES("\"\\n\\r\\t\\b\\a\\\\\\\"\\'\\q\\0\"\n"), BYTES("<\n\r\t\b\a\\\"'q0>;") },
        { BYTES("\"\\x00\\xfF\\x4a\\x4g\\x4\\x\"\n"), BYTES("<\0\xff\x4ax4gx4x>;") },
        { BYTES("'\\n\\'\\x41\"\\\\a'\n"), BYTES("<\\n'\\x41\"\\\\a>;") },
        { BYTES("\"it's\" '\"'\n"), BYTES("<it's><\">;") },
        { BYTES("a\"b c\" d'e f'\n"), BYTES("<ab c><de f>;") },
        { BYTES("\"a\"\v'b'\f\"c\"\rd\n"), BYTES("<a><b><c><d>;") },
        { BYTES("\"a\rb\"\r\n"), BYTES("<a\rb>;") },
        { BYTES("\"a\"\r\n" PING "'b'\n" PING), BYTES("<a>;<PING>;<b>;<PING>;") },
        { BYTES(PING "GET a\r\n" PING "\r\nGET\n" PING),
          BYTES("<PING>;<GET><a>;<PING>;<GET>;<PING>;") },
        { BYTES("GET a\r"), BYTES("") },
        /* a NUL hides the end of its line */
        { BYTES("GET a\0b\r\nGET c\r\n"), BYTES("") },
        { BYTES("\0\r\n" PING), BYTES("") },
    };

    CHECK_ROWS(rows);
}
END_TEST

#define MULTIBULK "!Protocol error: invalid multibulk length"
#define BULK      "!Protocol error: invalid bulk length"
#define QUOTES    "!Protocol error: unbalanced quotes in request"

START_TEST(errors_say_what_redis_says)
{
    static const struct row rows[] = {
        { BYTES("*\r\n"), BYTES(MULTIBULK) },
        { BYTES("*x\r\n"), BYTES(MULTIBULK) },
        { BYTES("*+1\r\n"), BYTES(MULTIBULK) },
        { BYTES("* 1\r\n"), BYTES(MULTIBULK) },
        { BYTES("*1 \r\n"), BYTES(MULTIBULK) },
        { BYTES("*01\r\n"), BYTES(MULTIBULK) },
        { BYTES("*00\r\n"), BYTES(MULTIBULK) },
        { BYTES("*-\r\n"), BYTES(MULTIBULK) },
        { BYTES("*-0\r\n"), BYTES(MULTIBULK) },
        { BYTES("*-01\r\n"), BYTES(MULTIBULK) },
        { BYTES("*1x\r\n"), BYTES(MULTIBULK) },
        { BYTES("*1\n$4\nPING\n\r\n"), BYTES(MULTIBULK) },
        { BYTES("*2147483648\r\n"), BYTES(MULTIBULK) },
        { BYTES("*4294967297\r\n$1\r\na\r\n"), BYTES(MULTIBULK) },
        { BYTES("*9223372036854775807\r\n"), BYTES(MULTIBULK) },
        { BYTES("*9223372036854775808\r\n"), BYTES(MULTIBULK) },
        { BYTES("*18446744073709551617\r\n$1\r\na\r\n"), BYTES(MULTIBULK) },
        { BYTES("*-9223372036854775809\r\n"), BYTES(MULTIBULK) },
        { BYTES("*100000000000000000000000000000000000000001\r\n"), BYTES(MULTIBULK) },
        { BYTES("*1\r\n$\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$\r\nab\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$x\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$-1\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$-0\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$+1\r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$ 1\r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$1 \r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$01\r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$00\r\n\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$001\r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$536870913\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$4294967297\r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$9223372036854775807\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$9223372036854775808\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n$18446744073709551617\r\na\r\n"), BYTES(BULK) },
        { BYTES("*1\r\n:4\r\nPING\r\n"), BYTES("!Protocol error: expected '$', got ':'") },
        { BYTES("*1\r\nPING\r\n"), BYTES("!Protocol error: expected '$', got 'P'") },
        { BYTES("*2\r\n$1\r\na\r\n*1\r\n"), BYTES("!Protocol error: expected '$', got '*'") },
        { BYTES("*1\r\n\xff\r\n"), BYTES("!Protocol error: expected '$', got '\xff'") },
        { BYTES("*1\r\n\r\n"), BYTES("!Protocol error: expected '$', got ' '") },
        { BYTES("*1\r\n\n\r\n"), BYTES("!Protocol error: expected '$', got ' '") },
        { BYTES("\"\r\n"), BYTES(QUOTES) },
        { BYTES("'\r\n"), BYTES(QUOTES) },
        { BYTES("GET \"a\r\n"), BYTES(QUOTES) },
        { BYTES("GET 'a\n"), BYTES(QUOTES) },
        { BYTES("\"a\"b\n"), BYTES(QUOTES) },
        { BYTES("'a'b\n"), BYTES(QUOTES) },
        { BYTES("\"a\"\"b\"\n"), BYTES(QUOTES) },
        { BYTES("\"a\\\"\n"), BYTES(QUOTES) },
        { BYTES("'a\\'\n"), BYTES(QUOTES) },
        { BYTES("'a\\\\'\n"), BYTES(QUOTES) },
        { BYTES("\"a\\\r\n"), BYTES(QUOTES) },
        { BYTES(PING "*x\r\n" PING), BYTES("<PING>;" MULTIBULK) },
    };

    CHECK_ROWS(rows);
}
END_TEST

/* ---- Limits ---- */

/* A stream made by a test. */
static struct brd_buf made;

static void
make(const char *text)
{
    brd_buf_append(&made, text, strlen(text));
}

static void
make_fill(char byte, size_t size)
{
    for (size_t i = 0; i < size; i++)
        brd_buf_append(&made, &byte, 1);
}

static void
make_bulk(char byte, size_t size)
{
    char head[32];

    snprintf(head, sizeof(head), "$%zu\r\n", size);
    make(head);
    make_fill(byte, size);
    make("\r\n");
}

static void
make_array(size_t count, size_t bulk_size)
{
    char head[32];

    brd_buf_clear(&made);
    snprintf(head, sizeof(head), "*%zu\r\n", count);
    make(head);
    for (size_t i = 0; i < count; i++)
        make_bulk((char)('a' + i % 26), bulk_size);
}

/* What was made comes to this many requests, and this error unless it is NULL: in one piece, in two,
 * in several and, where it is short, byte by byte. */
static void
made_must_give(const struct brd_resp_limits *limits, bool known, size_t requests, const char *error)
{
    struct feed feed = { .stream = brd_buf_bytes(&made), .limits = *limits, .known = known };
    size_t steps[] = { made.size, made.size / 2 + 1, 4096, 1 };

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        size_t found = 0;

        if (steps[i] == 1 && made.size > 5000)
            break;
        feed.first = steps[i];
        feed.step = steps[i];
        run(&feed);
        for (size_t at = 0; at < got.size; at++)
            found += got.data[at] == ';';
        ck_assert_uint_eq(found, requests);
        if (error == NULL) {
            ck_assert(got.size == 0 || got.data[got.size - 1] == ';');
            continue;
        }
        ck_assert_uint_gt(got.size, strlen(error));
        ck_assert_int_eq(got.data[got.size - strlen(error) - 1], '!');
        ck_assert_mem_eq(got.data + got.size - strlen(error), error, strlen(error));
    }
}

START_TEST(more_arguments_than_allowed_are_refused)
{
    struct brd_resp_limits limits = usual;

    brd_buf_init(&made);
    limits.args_max = 12;
    for (size_t count = 1; count < 16; count++) {
        make_array(count, 3);
        made_must_give(&limits, true, count <= 12 ? 1 : 0,
                       count <= 12 ? NULL : "Protocol error: invalid multibulk length");
        made_must_give(&limits, false, count <= 10 ? 1 : 0,
                       count <= 10   ? NULL
                       : count <= 12 ? "Protocol error: unauthenticated multibulk length"
                                     : "Protocol error: invalid multibulk length");
    }
    brd_buf_fini(&made);
}
END_TEST

START_TEST(longer_arguments_than_allowed_are_refused)
{
    static const size_t sizes[] = { 16383, 16384, 16385, 19999, 20000, 20001 };
    struct brd_resp_limits limits = usual;

    brd_buf_init(&made);
    limits.bulk_max = 20000;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        bool fits = sizes[i] <= 20000;
        bool fits_stranger = sizes[i] <= 16384;

        make_array(2, sizes[i]);
        made_must_give(&limits, true, fits, fits ? NULL : "Protocol error: invalid bulk length");
        made_must_give(&limits, false, fits_stranger,
                       fits_stranger ? NULL
                       : fits        ? "Protocol error: unauthenticated bulk length"
                                     : "Protocol error: invalid bulk length");
    }
    brd_buf_fini(&made);
}
END_TEST

START_TEST(longer_lines_than_allowed_are_refused)
{
    static const struct {
        const char *before;
        const char *end;
        const char *too_long;
        const char *within; /* NULL: a request */
    } kinds[] = {
        { "", "\n", "Protocol error: too big inline request", NULL },
        { "*", "\r\n", "Protocol error: too big mbulk count string",
          "Protocol error: invalid multibulk length" },
        { "*1\r\n$", "\r\n", "Protocol error: too big bulk count string",
          "Protocol error: invalid bulk length" },
    };
    struct brd_resp_limits limits = usual;

    brd_buf_init(&made);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        for (unsigned ended = 0; ended < 2; ended++)
            for (size_t max = 100; max <= BRD_RESP_INLINE_MAX; max += BRD_RESP_INLINE_MAX - 100)
                for (size_t size = max - 1; size <= max + 1; size++) {
                    size_t head = strlen(kinds[i].before) > 0 ? 1 : 0; /* "*" or "$" */
                    bool fits = size <= max;
                    const char *error = fits ? kinds[i].within : kinds[i].too_long;

                    limits.inline_max = max;
                    brd_buf_clear(&made);
                    make(kinds[i].before);
                    make_fill('1', size - head);
                    make(ended ? kinds[i].end : "");
                    made_must_give(&limits, true, fits && ended && kinds[i].within == NULL,
                                   fits && !ended ? NULL : error);
                }
    /* what hides the end of a line does not hide how long it is */
    limits.inline_max = 100;
    brd_buf_clear(&made);
    brd_buf_append(&made, "GET \0\r\n", 7);
    make_fill('\n', 93);
    made_must_give(&limits, true, 0, NULL);
    make_fill('\n', 1);
    made_must_give(&limits, true, 0, "Protocol error: too big inline request");
    brd_buf_fini(&made);
}
END_TEST

START_TEST(larger_requests_than_allowed_are_refused)
{
    struct brd_resp_limits limits = usual;

    brd_buf_init(&made);
    make_array(3, 1000);
    limits.bytes_max = made.size;
    limits.apart_min = 1000;
    made_must_give(&limits, true, 1, NULL);
    limits.bytes_max--;
    made_must_give(&limits, true, 0, "Protocol error: too big request");
    for (unsigned fits = 0; fits < 2; fits++) { /* bytes apart count */
        struct feed feed = { .stream = brd_buf_bytes(&made), .limits = limits, .known = true };

        feed.limits.bytes_max = made.size - 1 + fits;
        feed.take_apart = true;
        feed.first = feed.step = 100;
        run(&feed);
        ck_assert_uint_eq(feed.apart_count, 1);
        ck_assert_int_eq(got.data[0], fits ? '<' : '!');
    }
    brd_buf_fini(&made);
}
END_TEST

START_TEST(a_full_arena_is_told)
{
    static const char line[] = "\"quoted\" line\n";
    struct brd_wire_arena *small = brd_wire_arena_create(32);
    struct brd_resp_parser parser = { .known = true };
    struct brd_resp_request request;

    brd_buf_init(&made);
    make_array(3, 5);
    ck_assert_int_eq(brd_resp_parse(&parser, &usual, small, brd_buf_bytes(&made), NULL, &request),
                     BRD_RESP_ERROR);
    ck_assert_int_eq(request.status, BRD_TOO_LARGE);
    ck_assert_uint_eq(parser.seen, 0);
    ck_assert_int_eq(brd_resp_parse(&parser, &usual, small, brd_bytes_of(line), NULL, &request),
                     BRD_RESP_ERROR);
    ck_assert_int_eq(request.status, BRD_TOO_LARGE);
    brd_wire_arena_clear(small);
    make_array(2, 5);
    ck_assert_int_eq(brd_resp_parse(&parser, &usual, small, brd_buf_bytes(&made), NULL, &request),
                     BRD_RESP_REQUEST);
    brd_buf_fini(&made);
    brd_wire_arena_destroy(&small);
}
END_TEST

/* ---- Much ---- */

START_TEST(a_pipeline_of_ten_thousand_is_read)
{
    struct feed feed = { .limits = usual, .known = true };
    struct brd_buf expected;

    brd_buf_init(&made);
    brd_buf_init(&expected);
    for (unsigned i = 0; i < 10000; i++) {
        char text[64];

        snprintf(text, sizeof(text),
                 i % 7 == 3 ? "GET %05u\r\n" : "*2\r\n$3\r\nGET\r\n$5\r\n%05u\r\n", i);
        make(text);
        snprintf(text, sizeof(text), "<GET><%05u>;", i);
        brd_buf_append(&expected, text, strlen(text));
    }
    /* all of it is offered by a copy each time: keep the rest short */
    for (size_t step = 61; step < 1000; step += 313) {
        feed.stream = brd_buf_bytes(&made);
        feed.first = feed.step = step;
        run(&feed);
        must_have_got(brd_buf_bytes(&expected), "in steps of", step);
    }
    brd_buf_fini(&expected);
    brd_buf_fini(&made);
}
END_TEST

/* A million arguments, and the longest line, byte by byte: each look begins where the last one
 * ended, or this would take hours. */
START_TEST(nothing_is_looked_at_again)
{
    struct brd_resp_limits limits = usual;
    struct brd_resp_parser parser = { .known = true };
    struct brd_resp_request request;
    enum brd_resp_result result;

    limits.args_max = 1000000;
    brd_buf_init(&made);
    for (unsigned kind = 0; kind < 2; kind++) {
        if (kind == 0) {
            make_array(1000000, 1);
        } else {
            brd_buf_clear(&made);
            make_fill('x', BRD_RESP_INLINE_MAX);
            make("\n");
        }
        for (size_t size = 0; size < made.size; size++) {
            uint64_t before = parser.seen;

            result =
                brd_resp_parse(&parser, &limits, arena, brd_bytes(made.data, size), NULL, &request);
            if (result != BRD_RESP_MORE || request.used != 0 || parser.seen < before ||
                parser.seen + 4 < size)
                ck_abort_msg("looked at %zu bytes up to %zu", size, (size_t)parser.seen);
        }
        result = brd_resp_parse(&parser, &limits, arena, brd_buf_bytes(&made), NULL, &request);
        ck_assert_int_eq(result, BRD_RESP_REQUEST);
        ck_assert_uint_eq(request.count, kind == 0 ? 1000000 : 1);
        ck_assert_uint_eq(request.used, made.size);
        brd_wire_arena_clear(arena);
    }
    brd_buf_fini(&made);
}
END_TEST

/* ---- Large arguments ---- */

START_TEST(any_one_argument_may_lie_apart)
{
    static const size_t sizes[] = { 9999, 10000, 10001, 100000 };

    brd_buf_init(&made);
    for (size_t large = 0; large < 4; large++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct feed feed = { .limits = usual, .known = true };
            struct brd_buf expected;
            char length[32];
            size_t head = 0;
            size_t told;

            brd_buf_clear(&made);
            make(PING "*4\r\n");
            for (size_t arg = 0; arg < 4; arg++) {
                if (arg == large)
                    head = made.size;
                make_bulk((char)('a' + arg), arg == large ? sizes[i] : 3);
            }
            make("GET b\r\n" PING);
            snprintf(length, sizeof(length), "$%zu\r\n", sizes[i]);
            told = head + strlen(length);
            feed.stream = brd_buf_bytes(&made);
            feed.first = feed.step = made.size;
            run(&feed);
            expected = got;
            brd_buf_init(&got);
            feed.take_apart = true;
            feed.limits.apart_min = 10000;
            /* around the argument's first and last bytes */
            for (size_t cut = head - 3; cut < head + 12; cut++) {
                feed.first = cut;
                feed.step = made.size;
                run(&feed);
                must_have_got(brd_buf_bytes(&expected), "cut at", cut);
                ck_assert_uint_eq(feed.apart_count, sizes[i] >= 10000 && cut >= told ? 1 : 0);
                feed.step = 1000;
                run(&feed);
                must_have_got(brd_buf_bytes(&expected), "cut at", cut);
                ck_assert_uint_eq(feed.apart_count, sizes[i] >= 10000 ? 1 : 0);
            }
            brd_buf_fini(&expected);
        }
    brd_buf_fini(&made);
}
END_TEST

START_TEST(a_second_large_argument_stays_in_the_input)
{
    struct feed feed = { .limits = usual, .known = true, .take_apart = true };

    brd_buf_init(&made);
    make_array(3, 20000);
    make_array(3, 20000);
    feed.stream = brd_buf_bytes(&made);
    feed.first = feed.step = 777;
    run(&feed);
    ck_assert_uint_eq(feed.apart_count, 1);
    ck_assert_uint_eq(got.size, 3 * 20002 + 1);
    brd_buf_fini(&made);
}
END_TEST

START_TEST(what_is_needed_is_told_as_far_as_it_is_known)
{
    static const struct {
        const char *input;
        uint64_t needed;
        uint64_t place; /* 0: none */
    } rows[] = {
        { "", 1, 0 },
        { "*", 2, 0 },
        { "*2", 3, 0 },
        { "*2\r", 4, 0 },
        { "*2\r\n", 5, 0 },
        { "*2\r\n$100", 9, 0 },
        { "*2\r\n$100\r", 10, 0 },
        { "*2\r\n$100\r\n", 112, 10 },
        { "*2\r\n$100\r\nabc", 112, 10 },
        { "*2\r\n$99\r\nabc", 110, 0 },
        { "*2\r\n$1\r\na\r\n$1000\r\n", 1020, 18 },
        { "GET a", 6, 0 },
        { "\r\n\r\nGET a", 6, 0 },
        { "*0\r\n*2\r\n$100\r\n", 112, 10 },
    };
    struct brd_resp_limits limits = usual;

    limits.apart_min = 100;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct brd_resp_parser parser = { .known = true };
        struct brd_resp_request request;

        ck_assert_int_eq(brd_resp_parse(&parser, &limits, arena, brd_bytes_of(rows[i].input), NULL,
                                        &request),
                         BRD_RESP_MORE);
        ck_assert_uint_eq(request.needed, rows[i].needed);
        ck_assert_uint_eq(request.place.begin, rows[i].place);
        ck_assert_uint_eq(request.place.size > 0, rows[i].place > 0);
    }
}
END_TEST

/* ---- Cost ---- */

#define ROUNDS 1000
#define DEPTH  100

static inline __attribute__((always_inline)) size_t
parse_rounds(struct brd_bytes pipeline, size_t args)
{
    struct brd_resp_parser parser = { .known = true };
    struct brd_resp_request request;
    size_t bytes = 0;

    for (int i = 0; i < ROUNDS; i++) {
        struct brd_bytes in = pipeline;

        brd_wire_arena_clear(arena);
        while (in.size > 0) {
            if (brd_resp_parse(&parser, &usual, arena, in, NULL, &request) != BRD_RESP_REQUEST ||
                request.count != args)
                abort();
            in.data += request.used;
            in.size -= request.used;
            bytes += request.args[args - 1].size;
        }
    }
    return bytes;
}

/* Functions of their own, to be counted: see resp_parse.c. */
static __attribute__((noinline)) size_t
get_rounds(struct brd_bytes pipeline)
{
    return parse_rounds(pipeline, 2);
}

static __attribute__((noinline)) size_t
set_rounds(struct brd_bytes pipeline)
{
    return parse_rounds(pipeline, 5);
}

START_TEST(gets_are_parsed)
{
    brd_buf_init(&made);
    for (int i = 0; i < DEPTH; i++)
        make("*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n");
    ck_assert_uint_eq(get_rounds(brd_buf_bytes(&made)), (size_t)ROUNDS * DEPTH * 16);
    brd_buf_fini(&made);
}
END_TEST

START_TEST(sets_are_parsed)
{
    brd_buf_init(&made);
    for (int i = 0; i < DEPTH; i++) {
        make("*5\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n");
        make_bulk('v', 100);
        make("$2\r\nEX\r\n$2\r\n60\r\n");
    }
    ck_assert_uint_eq(set_rounds(brd_buf_bytes(&made)), (size_t)ROUNDS * DEPTH * 2);
    brd_buf_fini(&made);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("wire_resp_parse");
    TCase *tcase = tcase_create("wire_resp_parse");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, arrays_are_read);
    tcase_add_test(tcase, empty_requests_are_skipped);
    tcase_add_test(tcase, ends_are_counted_not_read);
    tcase_add_test(tcase, lines_are_split);
    tcase_add_test(tcase, errors_say_what_redis_says);
    tcase_add_test(tcase, more_arguments_than_allowed_are_refused);
    tcase_add_test(tcase, longer_arguments_than_allowed_are_refused);
    tcase_add_test(tcase, longer_lines_than_allowed_are_refused);
    tcase_add_test(tcase, larger_requests_than_allowed_are_refused);
    tcase_add_test(tcase, a_full_arena_is_told);
    tcase_add_test(tcase, a_pipeline_of_ten_thousand_is_read);
    tcase_add_test(tcase, nothing_is_looked_at_again);
    tcase_add_test(tcase, any_one_argument_may_lie_apart);
    tcase_add_test(tcase, a_second_large_argument_stays_in_the_input);
    tcase_add_test(tcase, what_is_needed_is_told_as_far_as_it_is_known);
    suite_add_tcase(s, tcase);
    tcase = tcase_create("cost");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, gets_are_parsed);
    tcase_add_test(tcase, sets_are_parsed);
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

/* Requests of the Redis protocol: however a stream is cut, from whatever buffer it is offered and
 * whether large arguments lie apart, the requests are the same; arguments lie where they may and
 * keep to the limits.
 *
 * First byte: bit 0, authenticated; bit 1, limits as small as what a fuzzer makes. Second byte: in
 * what steps the stream comes. Every offer is a copy of exactly its size. */
#include "base/buf.h"
#include "base/check.h"
#include "wire/arena.h"
#include "wire/wire.h"

#include <stdlib.h>

/* Offers of one stream; each costs a copy of what is there. */
#define OFFERS_MAX 300

static const struct brd_resp_limits all_limits[2] = {
    {
        .args_max = 1 << 20,
        .bulk_max = BRD_RESP_BULK_MAX,
        .inline_max = BRD_RESP_INLINE_MAX,
        .bytes_max = UINT64_C(1) << 30,
        .args_stranger_max = BRD_RESP_ARGS_STRANGER_MAX,
        .bulk_stranger_max = BRD_RESP_BULK_STRANGER_MAX,
        .apart_min = 16,
    },
    {
        .args_max = 12,
        .bulk_max = 40,
        .inline_max = 30,
        .bytes_max = 120,
        .args_stranger_max = 3,
        .bulk_stranger_max = 20,
        .apart_min = 3,
    },
};

static struct brd_wire_arena *arena;

/* A stream on its way through the parser. */
struct feed {
    const struct brd_resp_limits *limits;
    struct brd_bytes stream;
    struct brd_resp_parser parser;
    struct brd_wire_apart apart; /* value owned, or NULL */
    bool take_apart;
    size_t step;
    size_t begin; /* of the stream: done with */
    size_t end;   /* of the stream: received */
    struct brd_buf said;
};

static size_t
apart_bytes(const struct feed *feed)
{
    return feed->apart.value != NULL ? (size_t)feed->apart.place.size : 0;
}

/* The caller frees it. */
static struct brd_bytes
make_input(const struct feed *feed)
{
    const uint8_t *from = feed->stream.data + feed->begin;
    size_t size = feed->end - feed->begin - apart_bytes(feed);
    size_t head = apart_bytes(feed) > 0 ? (size_t)feed->apart.place.begin : size;
    uint8_t *data = malloc(size == 0 ? 1 : size);

    BRD_CHECK(data != NULL && head <= size);
    memcpy(data, from, head);
    memcpy(data + head, from + head + apart_bytes(feed), size - head);
    return brd_bytes(data, size);
}

static bool
lies_in(struct brd_bytes part, struct brd_bytes whole)
{
    return part.data >= whole.data && part.data + part.size <= whole.data + whole.size;
}

/* Only a line with quotes is copied. */
static bool
has_quote(struct brd_bytes bytes)
{
    return memchr(bytes.data, '"', bytes.size) != NULL ||
           memchr(bytes.data, '\'', bytes.size) != NULL;
}

static uint64_t
larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void
check_request(const struct feed *feed, struct brd_bytes input,
              const struct brd_resp_request *request)
{
    const struct brd_resp_limits *limits = feed->limits;
    struct brd_bytes used = brd_bytes(input.data, request->used);

    BRD_CHECK(request->count > 0 && request->used <= input.size);
    BRD_CHECK(request->count <= larger(limits->args_max, (limits->inline_max + 1) / 2));
    BRD_CHECK((request->apart_arg == BRD_RESP_NO_ARG) == (feed->apart.value == NULL));
    for (size_t i = 0; i < request->count; i++) {
        struct brd_bytes arg = request->args[i];

        BRD_CHECK(arg.size <= larger(limits->bulk_max, limits->inline_max));
        if (i == request->apart_arg)
            BRD_CHECK(brd_bytes_equal(arg, brd_blob_bytes(feed->apart.value)) &&
                      arg.data == feed->apart.value->data);
        else
            BRD_CHECK(lies_in(arg, used) || has_quote(used));
    }
    BRD_CHECK(feed->parser.seen == 0 && feed->parser.at == 0);
}

/* Lengths and bytes, so that no two requests look alike. */
static void
say_request(struct feed *feed, const struct brd_resp_request *request)
{
    brd_buf_append_varint(&feed->said, request->count);
    for (size_t i = 0; i < request->count; i++) {
        brd_buf_append_varint(&feed->said, request->args[i].size);
        brd_buf_append(&feed->said, request->args[i].data, request->args[i].size);
    }
}

static void
receive_apart(struct feed *feed, struct brd_span place)
{
    size_t from = feed->begin + (size_t)place.begin;

    BRD_CHECK(place.size >= feed->limits->apart_min && place.size <= feed->limits->bulk_max);
    BRD_CHECK(feed->apart.value == NULL && from <= feed->end);
    if (!feed->take_apart || place.size > feed->stream.size - from)
        return;
    feed->apart.place = place;
    feed->apart.value = brd_blob_copy(brd_bytes(feed->stream.data + from, (size_t)place.size));
    BRD_CHECK(feed->apart.value != NULL);
    if (feed->end < from + place.size)
        feed->end = from + (size_t)place.size;
}

/* More is wanted. False where there is no more. */
static bool
receive(struct feed *feed, size_t offered, const struct brd_resp_request *request)
{
    BRD_CHECK(request->needed > offered - request->used);
    feed->begin += request->used;
    if (request->place.size > 0) {
        receive_apart(feed, request->place);
        if (feed->apart.value != NULL)
            return true;
    }
    if (feed->end == feed->stream.size)
        return false;
    feed->end += feed->step;
    if (feed->end > feed->stream.size)
        feed->end = feed->stream.size;
    return true;
}

/* Offer what is there. False at the end. */
static bool
offer(struct feed *feed)
{
    const struct brd_wire_apart *apart = feed->apart.value != NULL ? &feed->apart : NULL;
    struct brd_bytes input = make_input(feed);
    struct brd_resp_request request;
    bool goes_on = false;

    brd_wire_arena_clear(arena);
    switch (brd_resp_parse(&feed->parser, feed->limits, arena, input, apart, &request)) {
    case BRD_RESP_REQUEST:
        check_request(feed, input, &request);
        say_request(feed, &request);
        feed->begin += request.used + apart_bytes(feed);
        brd_blob_unref(feed->apart.value);
        feed->apart.value = NULL;
        goes_on = true;
        break;
    case BRD_RESP_MORE:
        BRD_CHECK(apart == NULL || (request.used == 0 && request.place.size == 0));
        goes_on = receive(feed, input.size, &request);
        break;
    case BRD_RESP_ERROR:
        BRD_CHECK(request.status == BRD_PROTOCOL_ERROR || request.status == BRD_TOO_LARGE);
        BRD_CHECK(memchr(request.error, '\0', sizeof(request.error)) != NULL);
        brd_buf_append(&feed->said, request.error, strlen(request.error));
        break;
    }
    free((void *)(uintptr_t)input.data);
    return goes_on;
}

/* What the stream says; the caller frees it. */
static struct brd_buf
run(struct feed feed)
{
    brd_buf_init(&feed.said);
    while (offer(&feed))
        continue;
    brd_blob_unref(feed.apart.value);
    BRD_CHECK(!feed.said.failed);
    return feed.said;
}

static void
must_say(struct feed feed, const struct brd_buf *expected)
{
    struct brd_buf said = run(feed);

    BRD_CHECK(brd_bytes_equal(brd_buf_bytes(&said), brd_buf_bytes(expected)));
    brd_buf_fini(&said);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = { 0 };
    struct brd_buf whole;
    size_t step;

    if (size < 3)
        return 0;
    if (arena == NULL)
        arena = brd_wire_arena_create((size_t)64 << 20);
    BRD_CHECK(arena != NULL);
    feed.parser.known = (data[0] & 1) != 0;
    feed.limits = &all_limits[data[0] >> 1 & 1];
    feed.stream = brd_bytes(data + 2, size - 2);
    step = 1 + data[1] % 64 + feed.stream.size / OFFERS_MAX;
    feed.step = feed.stream.size;
    whole = run(feed);
    feed.step = 1 + feed.stream.size / OFFERS_MAX;
    must_say(feed, &whole);
    feed.step = step;
    must_say(feed, &whole);
    feed.take_apart = true;
    must_say(feed, &whole);
    feed.step = 1 + feed.stream.size / OFFERS_MAX;
    must_say(feed, &whole);
    brd_buf_fini(&whole);
    return 0;
}

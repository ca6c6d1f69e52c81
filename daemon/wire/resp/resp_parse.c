/* Requests of the Redis protocol.
 *
 *   *2\r\n$3\r\nGET\r\n$3\r\nkey\r\n      an array of bulk strings
 *   GET "a key"\r\n                       a line, split at blanks
 *
 * Four ways through this file:
 *
 *   take_hot_array   a whole array of a few short arguments: its lengths, one after the other, and
 *                    its arguments straight into the arena.
 *   take_array       the same of any array. Both give up at whatever is not whole or not as usual,
 *                    and never refuse.
 *   read_array       an array that is not whole, or is none: goes on where it stopped, and is the one
 *                    that refuses. Keeps no arguments, only where it is; once all is there,
 *                    take_array collects them. So an array that comes in pieces is walked over twice
 *                    (by its lengths, not its bytes), and in return a connection with a million
 *                    arguments under way holds nothing but its input: 16 bytes for each of them
 *                    would be as much as many arguments are.
 *   read_line        a line: its end is looked for where the last look ended; then it is split, in
 *                    place but for words with quotes, which are written to the arena.
 *
 * As in redis, the two bytes that end a bulk, and the one behind a '\r', are counted but not looked
 * at; and a NUL in a line hides its end, so that it grows until it is too long. Numbers are those
 * that have one spelling: no sign but '-', no zeros in front.
 *
 * Whether a limit is broken is judged at the same byte however the input is cut: a line at the
 * first byte above its limit, a bulk at its length.
 *
 * An argument that lies apart: the input goes on behind it. It is a bulk of size 0 to read_array,
 * and take_array knows it by its place, which no other argument can have.
 *
 * Cost, instructions counted by callgrind, gcc 12.2 at -O2, the key of 16 bytes, in a pipeline of
 * 100: a GET 129; a SET with 100 bytes and EX 214. Again:
 *
 *   cmake -G Ninja -S . -B /tmp/cost -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBRINDLE_TESTS=ON
 *   ninja -C /tmp/cost unit_wire_resp_parse
 *   CK_FORK=no CK_RUN_CASE=cost valgrind --tool=callgrind --callgrind-out-file=/tmp/cost/get \
 *       --toggle-collect='get_rounds*' /tmp/cost/tests/unit_wire_resp_parse
 *   callgrind_annotate --inclusive=yes /tmp/cost/get | grep brd_resp_parse
 *
 * and the same with set_rounds; each parses 100,000. */
#include "wire/resp/resp_parse.h"

#include "base/check.h"
#include "wire/arena.h"
#include "wire/wire.h"

#include <assert.h>
#include <stdalign.h>
#include <stdio.h>

/* "$0\r\n\r\n" */
#define ARG_BYTES_MIN 6

#define LINE_END 2 /* bytes of "\r\n" */

/* Digits whose number surely fits; a bulk with more is above every limit. */
#define USUAL_DIGITS_MAX 18

/* ---- Whole arrays ---- */

/* A number, and the offset behind its line; above every limit where there is none. By value, so that
 * neither leaves its register. */
struct number {
    uint64_t behind;
    uint64_t value;
};

static const struct number no_number = { .value = UINT64_MAX };

/* Digits from at on, as many as there are, and the end of their line. */
static __attribute__((noinline)) struct number
take_long_number(struct brd_bytes input, uint64_t at)
{
    uint64_t begin = at;
    uint64_t value = 0;

    while (at < input.size && input.data[at] >= '0' && input.data[at] <= '9' &&
           at - begin < USUAL_DIGITS_MAX)
        value = value * 10 + (uint64_t)(input.data[at++] - '0');
    if (at == begin || at + LINE_END > input.size || input.data[at] != '\r' ||
        (input.data[begin] == '0' && at - begin > 1))
        return no_number;
    return (struct number){ at + LINE_END, value };
}

/* The line at the offset at that is "$" and a number, not negative, with at least LINE_END bytes
 * behind it. hot: of three digits at most. */
static inline __attribute__((always_inline)) struct number
take_size(struct brd_bytes input, uint64_t at, bool hot)
{
    const uint8_t *line = input.data + at;
    unsigned value;
    unsigned digit;

    if (BRD_UNLIKELY(at + ARG_BYTES_MIN > input.size) || BRD_UNLIKELY(line[0] != '$'))
        return no_number;
    value = (unsigned)line[1] - '0';
    if (BRD_UNLIKELY(value > 9))
        return no_number;
    if (line[2] == '\r')
        return (struct number){ at + 2 + LINE_END, value };
    digit = (unsigned)line[2] - '0';
    if (BRD_UNLIKELY(digit > 9) || BRD_UNLIKELY(value == 0))
        return no_number;
    value = value * 10 + digit;
    if (line[3] == '\r')
        return (struct number){ at + 3 + LINE_END, value };
    digit = (unsigned)line[3] - '0';
    if (BRD_LIKELY(digit <= 9) && BRD_LIKELY(line[4] == '\r'))
        return (struct number){ at + 4 + LINE_END, value * 10 + digit };
    return hot ? no_number : take_long_number(input, at + 1);
}

/* Collect count arguments, not 0, from at on. Returns what is behind them, or 0 where they are not
 * all there, or not as usual. (A bulk that is cut off has no next one, so only the last end is
 * looked at.) */
static inline __attribute__((always_inline)) uint64_t
take_args(struct brd_bytes input, uint64_t at, uint64_t bulk_max, bool hot,
          const struct brd_wire_apart *apart, struct brd_bytes *args, uint64_t count,
          size_t *out_apart_arg)
{
    const struct brd_bytes *args_end = args + count;
    struct brd_bytes *arg = args;

    do {
        struct number size = take_size(input, at, hot);

        if (BRD_UNLIKELY(size.value > bulk_max))
            return 0;
        at = size.behind;
        *arg = brd_bytes(input.data + at, (size_t)size.value);
        if (apart != NULL && at == apart->place.begin) {
            BRD_CHECK(size.value == apart->place.size);
            *arg = brd_blob_bytes(apart->value);
            *out_apart_arg = (size_t)(arg - args);
            size.value = 0;
        }
        at += size.value + LINE_END;
    } while (++arg < args_end);
    return BRD_LIKELY(at <= input.size) ? at : 0;
}

/* Of the limits, those that count. */
struct caps {
    uint64_t args_max;
    uint64_t bulk_max;
};

static inline uint64_t
smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline struct caps
caps_of(const struct brd_resp_limits *limits, bool known)
{
    if (known)
        return (struct caps){ limits->args_max, limits->bulk_max };
    return (struct caps){ smaller(limits->args_max, limits->args_stranger_max),
                          smaller(limits->bulk_max, limits->bulk_stranger_max) };
}

static inline void
tell(struct brd_resp_request *out, const struct brd_bytes *args, uint64_t count, size_t apart_arg,
     uint64_t used)
{
    out->args = args;
    out->count = (size_t)count;
    out->apart_arg = apart_arg;
    out->used = (size_t)used;
}

static_assert(sizeof(struct brd_bytes) % alignof(max_align_t) == 0, "an arena stays aligned");

/* What nearly all arrays are: of one to nine short arguments, where the arena's block has room for
 * them. Calls nothing, so that all of it is in registers; takes the room only when the array is
 * whole. */
static inline __attribute__((always_inline)) bool
take_hot_array(const struct brd_resp_limits *limits, struct brd_wire_arena *arena,
               struct brd_bytes input, struct brd_resp_request *out)
{
    struct brd_bytes *args = (struct brd_bytes *)(void *)arena->at;
    size_t apart_arg = BRD_RESP_NO_ARG;
    uint64_t count;
    uint64_t room;
    uint64_t used;

    if (BRD_UNLIKELY(input.size < 2 + LINE_END) || BRD_UNLIKELY(input.data[0] != '*') ||
        BRD_UNLIKELY(input.data[2] != '\r'))
        return false;
    count = (uint64_t)input.data[1] - '0';
    room = count * sizeof(*args);
    if (BRD_UNLIKELY(count - 1 >= 9) || BRD_UNLIKELY(count > limits->args_max) ||
        BRD_UNLIKELY(room > arena->left))
        return false;
    input.size = smaller(input.size, limits->bytes_max);
    used = take_args(input, 2 + LINE_END, limits->bulk_max, true, NULL, args, count, &apart_arg);
    if (BRD_UNLIKELY(used == 0))
        return false;
    arena->at += room;
    arena->left -= (size_t)room;
    tell(out, args, count, apart_arg, used);
    return true;
}

/* The array at the front, where it is whole and within its limits. One that is not costs the
 * arena what its arguments would, which is no more than thrice the input. */
static __attribute__((noinline)) bool
take_array(const struct brd_resp_limits *limits, bool known, struct brd_wire_arena *arena,
           struct brd_bytes input, const struct brd_wire_apart *apart, struct brd_resp_request *out)
{
    struct caps caps = caps_of(limits, known);
    size_t apart_arg = BRD_RESP_NO_ARG;
    struct number count;
    struct brd_bytes *args;
    uint64_t used;

    if (input.size == 0 || input.data[0] != '*')
        return false;
    count = take_long_number(input, 1);
    if (count.value - 1 >= caps.args_max || count.value * ARG_BYTES_MIN > input.size - count.behind)
        return false;
    args = wire_arena_alloc_array(arena, (size_t)count.value, sizeof(*args));
    if (args == NULL)
        return false;
    input.size = smaller(input.size, limits->bytes_max);
    used =
        take_args(input, count.behind, caps.bulk_max, false, apart, args, count.value, &apart_arg);
    if (used == 0)
        return false;
    tell(out, args, count.value, apart_arg, used);
    return true;
}

/* ---- Reading on ---- */

/* What brd_resp_parse was called with; the input from the first byte of a request on. */
struct reader {
    struct brd_resp_parser *parser;
    const struct brd_resp_limits *limits;
    struct brd_wire_arena *arena;
    struct brd_bytes input;
    const struct brd_wire_apart *apart;
    struct brd_resp_request *out;
};

/* Functions below answer as brd_resp_parse does. Where they read a part, this means that it was
 * there and that reading goes on. */
#define GO_ON BRD_RESP_REQUEST

static void
restart(struct brd_resp_parser *parser)
{
    *parser = (struct brd_resp_parser){ .known = parser->known };
}

static enum brd_resp_result
refuse(struct reader *reader, enum brd_status status, const char *text)
{
    restart(reader->parser);
    reader->out->status = status;
    snprintf(reader->out->error, sizeof(reader->out->error), "%s", text);
    return BRD_RESP_ERROR;
}

static enum brd_resp_result
refuse_protocol(struct reader *reader, const char *text)
{
    return refuse(reader, BRD_PROTOCOL_ERROR, text);
}

static enum brd_resp_result
refuse_size(struct reader *reader)
{
    return refuse(reader, BRD_TOO_LARGE, "Protocol error: too big request");
}

/* The arena has no room. */
static enum brd_resp_result
refuse_room(struct reader *reader)
{
    BRD_CHECK(reader->arena->failure != BRD_OK);
    if (reader->arena->failure == BRD_TOO_LARGE)
        return refuse_size(reader);
    return refuse(reader, reader->arena->failure, "out of memory");
}

static enum brd_resp_result
ask_more(struct reader *reader, uint64_t needed)
{
    reader->out->needed = needed;
    return BRD_RESP_MORE;
}

/* Look for the byte that ends the line at parser->at, from where the last look ended. too_long:
 * what to say of a line that is. */
static enum brd_resp_result
find_line_end(struct reader *reader, int end, const char *too_long, uint64_t *out_end)
{
    struct brd_resp_parser *parser = reader->parser;
    struct brd_bytes input = reader->input;
    uint64_t size_max = reader->limits->inline_max;
    uint64_t behind = smaller(input.size, parser->at + size_max + 1);

    if (parser->seen < behind) {
        const uint8_t *from = input.data + parser->seen;
        size_t size = (size_t)(behind - parser->seen);
        const uint8_t *nul = memchr(from, '\0', size);
        const uint8_t *hit;

        if (nul != NULL)
            size = (size_t)(nul - from);
        hit = memchr(from, end, size);
        if (hit != NULL) {
            parser->seen += (size_t)(hit - from);
            *out_end = parser->seen;
            return GO_ON;
        }
        parser->seen += size;
    }
    if (input.size - parser->at > size_max)
        return refuse_protocol(reader, too_long);
    return ask_more(reader, input.size + 1);
}

/* ---- Lines with words ---- */

/* What is left of a line. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* The white space of the C locale; within words '\v' and '\f' are none (ends_word). */
static bool
is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
ends_word(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t
unescape(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* What stands between quotes, and the closing one, which only white space or the end may follow.
 * text: where it goes, moved behind it; NULL: nowhere. False where it is not closed so. */
static bool
take_quoted(struct cursor *in, uint8_t quote, uint8_t **text)
{
    const uint8_t *at = in->at;

    while (at < in->end && *at != quote) {
        uint8_t c = *at++;

        if (c == '\\' && quote == '\'') {
            if (at < in->end && *at == '\'')
                c = *at++;
        } else if (c == '\\') {
            if (in->end - at >= 3 && at[0] == 'x' && hex_digit(at[1]) >= 0 &&
                hex_digit(at[2]) >= 0) {
                c = (uint8_t)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
                at += 3;
            } else if (at < in->end) {
                c = unescape(*at++);
            }
        }
        if (*text != NULL)
            *(*text)++ = c;
    }
    if (at == in->end || (in->end - at > 1 && !is_space(at[1])))
        return false;
    in->at = at + 1;
    return true;
}

/* The next word; in stands on its first byte. text as in take_quoted, if the word has quotes: a
 * word without them stays where it is. */
static bool
take_word(struct cursor *in, uint8_t **text, struct brd_bytes *out, bool *out_quoted)
{
    const uint8_t *begin = in->at;
    uint8_t *text_begin = *text;

    while (in->at < in->end && *in->at != '"' && *in->at != '\'' && !ends_word(*in->at))
        in->at++;
    *out_quoted = in->at < in->end && !ends_word(*in->at);
    if (!*out_quoted) {
        *out = brd_bytes(begin, (size_t)(in->at - begin));
        return true;
    }
    if (*text != NULL) {
        memcpy(*text, begin, (size_t)(in->at - begin));
        *text += in->at - begin;
    }
    in->at++;
    if (!take_quoted(in, in->at[-1], text))
        return false;
    *out = brd_bytes(text_begin, *text != NULL ? (size_t)(*text - text_begin) : 0);
    return true;
}

static void
skip_space(struct cursor *in)
{
    while (in->at < in->end && is_space(*in->at))
        in->at++;
}

struct words {
    size_t count;
    bool quoted; /* some of them */
};

/* Split a line. args, text: where to, or NULL to count. False: quotes that are not closed. */
static bool
split(struct brd_bytes line, struct brd_bytes *args, uint8_t *text, struct words *out)
{
    struct cursor in = { .at = line.data, .end = line.data + line.size };
    struct brd_bytes word;
    bool quoted;

    *out = (struct words){ 0 };
    for (skip_space(&in); in.at < in.end; skip_space(&in)) {
        if (!take_word(&in, &text, &word, &quoted))
            return false;
        if (args != NULL)
            args[out->count] = word;
        out->count++;
        out->quoted |= quoted;
    }
    return true;
}

/* A line without its end. One without words is a request without arguments. */
static enum brd_resp_result
take_line(struct reader *reader, struct brd_bytes line)
{
    struct brd_wire_arena *arena = reader->arena;
    struct brd_resp_request *out = reader->out;
    struct brd_bytes *args;
    uint8_t *text = NULL;
    struct words words;
    struct words again;
    bool split_again;

    if (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    if (!split(line, NULL, NULL, &words))
        return refuse_protocol(reader, "Protocol error: unbalanced quotes in request");
    out->count = words.count;
    if (words.count == 0)
        return BRD_RESP_REQUEST;
    args = wire_arena_alloc_array(arena, words.count, sizeof(*args));
    if (args != NULL && words.quoted)
        text = wire_arena_alloc(arena, line.size);
    if (args == NULL || (words.quoted && text == NULL))
        return refuse_room(reader);
    split_again = split(line, args, text, &again);
    BRD_CHECK(split_again && again.count == words.count);
    out->args = args;
    out->apart_arg = BRD_RESP_NO_ARG;
    return BRD_RESP_REQUEST;
}

static enum brd_resp_result
read_line(struct reader *reader)
{
    enum brd_resp_result result;
    uint64_t end;

    result = find_line_end(reader, '\n', "Protocol error: too big inline request", &end);
    if (result != GO_ON)
        return result;
    reader->out->used = (size_t)end + 1;
    return take_line(reader, brd_bytes(reader->input.data, (size_t)end));
}

/* ---- Arrays in pieces ---- */

/* A decimal number of 64 bits in its one spelling. */
static bool
parse_integer(struct brd_bytes text, int64_t *out)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0; /* or its negative: below zero there is one number more */

    if (i == text.size || (text.data[i] == '0' && text.size > 1))
        return false;
    for (; i < text.size; i++) {
        int digit = text.data[i] - '0';

        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value))
            return false;
    }
    if (!negative && __builtin_sub_overflow(0, value, &value))
        return false;
    *out = value;
    return true;
}

/* The line at parser->at, and over it. */
static enum brd_resp_result
read_length_line(struct reader *reader, const char *too_long, struct brd_bytes *out_line)
{
    struct brd_resp_parser *parser = reader->parser;
    enum brd_resp_result result;
    uint64_t end;

    result = find_line_end(reader, '\r', too_long, &end);
    if (result != GO_ON)
        return result;
    if (end + LINE_END > reader->input.size)
        return ask_more(reader, end + LINE_END);
    *out_line = brd_bytes(reader->input.data + parser->at, (size_t)(end - parser->at));
    parser->at = end + LINE_END;
    parser->seen = parser->at;
    return GO_ON;
}

/* "*N". args_left stays 0 where nothing is to come. */
static enum brd_resp_result
read_count(struct reader *reader)
{
    const struct brd_resp_limits *limits = reader->limits;
    enum brd_resp_result result;
    struct brd_bytes line;
    int64_t count;

    result = read_length_line(reader, "Protocol error: too big mbulk count string", &line);
    if (result != GO_ON)
        return result;
    if (!parse_integer(brd_bytes(line.data + 1, line.size - 1), &count) ||
        count > (int64_t)limits->args_max)
        return refuse_protocol(reader, "Protocol error: invalid multibulk length");
    if (!reader->parser->known && count > (int64_t)limits->args_stranger_max)
        return refuse_protocol(reader, "Protocol error: unauthenticated multibulk length");
    reader->parser->args_left = count > 0 ? (uint32_t)count : 0;
    return GO_ON;
}

/* An answer is one line, so an end of it is a space there. */
static enum brd_resp_result
refuse_sign(struct reader *reader, uint8_t sign)
{
    char text[BRD_RESP_ERROR_TEXT_MAX];

    snprintf(text, sizeof(text), "Protocol error: expected '$', got '%c'",
             sign == '\r' || sign == '\n' ? ' ' : sign);
    return refuse_protocol(reader, text);
}

/* "$N" */
static enum brd_resp_result
read_bulk_size(struct reader *reader)
{
    const struct brd_resp_limits *limits = reader->limits;
    struct brd_resp_parser *parser = reader->parser;
    uint64_t apart_bytes = parser->apart ? reader->apart->place.size : 0;
    enum brd_resp_result result;
    struct brd_bytes line;
    int64_t size;

    result = read_length_line(reader, "Protocol error: too big bulk count string", &line);
    if (result != GO_ON)
        return result;
    if (line.data[0] != '$') /* the line's end, where the line is empty */
        return refuse_sign(reader, line.data[0]);
    if (!parse_integer(brd_bytes(line.data + 1, line.size - 1), &size) || size < 0 ||
        (uint64_t)size > limits->bulk_max)
        return refuse_protocol(reader, "Protocol error: invalid bulk length");
    if (!parser->known && (uint64_t)size > limits->bulk_stranger_max)
        return refuse_protocol(reader, "Protocol error: unauthenticated bulk length");
    if (parser->at + apart_bytes + (uint64_t)size + LINE_END > limits->bytes_max)
        return refuse_size(reader);
    parser->in_bulk = true;
    parser->bulk = (uint64_t)size;
    return GO_ON;
}

/* Over the bulk, if it is all there. */
static enum brd_resp_result
read_bulk(struct reader *reader)
{
    struct brd_resp_parser *parser = reader->parser;
    uint64_t end = parser->at + parser->bulk;

    if (reader->input.size < end && parser->bulk >= reader->limits->apart_min && !parser->apart)
        reader->out->place = (struct brd_span){ .begin = parser->at, .size = parser->bulk };
    if (reader->input.size < end + LINE_END)
        return ask_more(reader, end + LINE_END);
    parser->at = end + LINE_END;
    parser->seen = parser->at;
    parser->in_bulk = false;
    parser->args_left--;
    return GO_ON;
}

/* The bulk that is being read has been received apart. */
static void
leave_apart(struct brd_resp_parser *parser, const struct brd_wire_apart *apart)
{
    BRD_CHECK(parser->in_bulk);
    BRD_CHECK(parser->at == apart->place.begin && parser->bulk == apart->place.size);
    BRD_CHECK(apart->value->size == apart->place.size);
    parser->bulk = 0;
    parser->apart = true;
}

/* All arguments are there. */
static enum brd_resp_result
collect(struct reader *reader)
{
    struct brd_bytes whole = brd_bytes(reader->input.data, (size_t)reader->parser->at);

    reader->arena->failure = BRD_OK;
    if (!take_array(reader->limits, reader->parser->known, reader->arena, whole, reader->apart,
                    reader->out))
        return refuse_room(reader);
    BRD_CHECK(reader->out->used == whole.size);
    return BRD_RESP_REQUEST;
}

static enum brd_resp_result
read_array(struct reader *reader)
{
    struct brd_resp_parser *parser = reader->parser;
    enum brd_resp_result result;

    BRD_CHECK(reader->apart != NULL || !parser->apart);
    if (reader->apart != NULL && !parser->apart)
        leave_apart(parser, reader->apart);
    if (parser->args_left == 0) {
        result = read_count(reader);
        if (result != GO_ON)
            return result;
        if (parser->args_left == 0) {
            reader->out->used = (size_t)parser->at;
            reader->out->count = 0;
            return BRD_RESP_REQUEST;
        }
    }
    while (parser->args_left > 0) {
        result = parser->in_bulk ? GO_ON : read_bulk_size(reader);
        if (result == GO_ON)
            result = read_bulk(reader);
        if (result != GO_ON)
            return result;
    }
    return collect(reader);
}

/* What is not whole, or not an array, or not to be. */
static enum brd_resp_result
read_on(struct reader *reader)
{
    struct brd_resp_request *out = reader->out;
    size_t skipped = 0;

    BRD_CHECK(reader->limits->args_max <= INT32_MAX && reader->limits->apart_min > 0);
    BRD_CHECK(reader->parser->seen <= reader->input.size);
    out->place = (struct brd_span){ 0 };
    while (reader->input.size > 0) {
        bool array = reader->input.data[0] == '*';
        enum brd_resp_result result = array ? read_array(reader) : read_line(reader);

        if (result != BRD_RESP_REQUEST) {
            out->used = skipped;
            return result;
        }
        restart(reader->parser);
        if (out->count > 0) {
            out->used += skipped;
            return result;
        }
        skipped += out->used;
        reader->input.data += out->used;
        reader->input.size -= out->used;
    }
    out->used = skipped;
    return ask_more(reader, 1);
}

/* A function of its own, with the same arguments: the hot way needs neither a reader on the stack
 * nor to save registers for it. */
static __attribute__((noinline)) enum brd_resp_result
parse_unusual(struct brd_resp_parser *parser, const struct brd_resp_limits *limits,
              struct brd_wire_arena *arena, struct brd_bytes input,
              const struct brd_wire_apart *apart, struct brd_resp_request *out)
{
    struct reader reader = { parser, limits, arena, input, apart, out };

    BRD_CHECK(apart == NULL || parser->seen > 0);
    if (parser->seen == 0 && take_array(limits, parser->known, arena, input, NULL, out))
        return BRD_RESP_REQUEST;
    return read_on(&reader);
}

enum brd_resp_result
brd_resp_parse(struct brd_resp_parser *parser, const struct brd_resp_limits *limits,
               struct brd_wire_arena *arena, struct brd_bytes input,
               const struct brd_wire_apart *apart, struct brd_resp_request *out)
{
    if (BRD_LIKELY(parser->seen == 0) && BRD_LIKELY(parser->known) &&
        BRD_LIKELY(take_hot_array(limits, arena, input, out)))
        return BRD_RESP_REQUEST;
    return parse_unusual(parser, limits, arena, input, apart, out);
}

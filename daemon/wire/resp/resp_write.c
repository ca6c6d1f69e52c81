/* Replies of the Redis protocol.
 *
 *   +text \r\n              simple      -CODE text \r\n     error       :number \r\n    integer
 *   $size \r\n bytes \r\n   bulk        =size \r\n txt: ... verbatim    *count \r\n     array
 *   %pairs ~count >count    map, set, push                  _ #t ,number (digits        the rest
 *
 * A short element is one reservation in the queue and a few stores. A long one is its head, its
 * bytes over as many chunks as they take, and its end; one that is a blob goes by reference, and
 * its end and the head of what follows fit behind it (base/outq.c).
 *
 * Failure: the queue remembers that memory ran out, and takes nothing more; so nothing is checked
 * here but a reservation. */
#include "wire/resp/resp_write.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>

/* Up to this many bytes a string is written in one piece with what is around it. A chunk may lose
 * as many at its end. */
#define PIECE_MAX ((size_t)2048)

/* A sign, 20 digits and the end of the line. */
#define HEAD_ROOM 24

/* "-1.7976931348623157e+308" and its NUL. */
#define DOUBLE_ROOM 32

static inline uint8_t *
put_end(uint8_t *at)
{
    at[0] = '\r';
    at[1] = '\n';
    return at + 2;
}

static inline uint8_t *
put_number(uint8_t *at, uint64_t value)
{
    uint8_t digits[20];
    size_t n = sizeof(digits);

    do {
        digits[--n] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    memcpy(at, digits + n, sizeof(digits) - n);
    return at + (sizeof(digits) - n);
}

/* A sign, a number and the end of the line: at most HEAD_ROOM bytes. */
static inline uint8_t *
put_head(uint8_t *at, char sign, uint64_t value)
{
    *at++ = (uint8_t)sign;
    if (BRD_LIKELY(value < 10))
        *at++ = (uint8_t)('0' + value);
    else
        at = put_number(at, value);
    return put_end(at);
}

static inline uint8_t *
put_bytes(uint8_t *at, struct brd_bytes bytes)
{
    if (bytes.size > 0)
        memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

static inline void
write_head(struct brd_outq *out, char sign, uint64_t value)
{
    uint8_t *begin = brd_outq_reserve(out, HEAD_ROOM);

    if (BRD_LIKELY(begin != NULL))
        brd_outq_commit(out, (size_t)(put_head(begin, sign, value) - begin));
}

static void
write_text(struct brd_outq *out, const char *text)
{
    brd_outq_append(out, brd_bytes_of(text));
}

/* Text in which no line ends: copied in pieces, with spaces in place of CR and LF. */
static void
write_line_of(struct brd_outq *out, struct brd_bytes text)
{
    while (text.size > 0) {
        size_t size = text.size < PIECE_MAX ? text.size : PIECE_MAX;
        uint8_t *to = brd_outq_reserve(out, size);
        size_t i;

        if (to == NULL)
            return;
        for (i = 0; i < size; i++)
            to[i] = text.data[i] == '\r' || text.data[i] == '\n' ? ' ' : text.data[i];
        brd_outq_commit(out, size);
        text.data += size;
        text.size -= size;
    }
    write_text(out, "\r\n");
}

void
brd_resp_write_simple(struct brd_outq *out, struct brd_bytes text)
{
    write_text(out, "+");
    write_line_of(out, text);
}

void
brd_resp_write_error(struct brd_outq *out, const char *code, struct brd_bytes text)
{
    write_text(out, "-");
    write_text(out, code);
    write_text(out, " ");
    write_line_of(out, text);
}

void
brd_resp_write_integer(struct brd_outq *out, int64_t value)
{
    uint8_t *begin = brd_outq_reserve(out, 1 + HEAD_ROOM);
    uint8_t *at = begin;

    if (BRD_UNLIKELY(begin == NULL))
        return;
    *at++ = ':';
    if (value < 0)
        *at++ = '-';
    at = put_number(at, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    brd_outq_commit(out, (size_t)(put_end(at) - begin));
}

void
brd_resp_write_bulk(struct brd_outq *out, struct brd_bytes value)
{
    if (BRD_LIKELY(value.size <= PIECE_MAX)) {
        uint8_t *begin = brd_outq_reserve(out, HEAD_ROOM + value.size + 2);
        uint8_t *at;

        if (BRD_UNLIKELY(begin == NULL))
            return;
        at = put_head(begin, '$', value.size);
        at = put_bytes(at, value);
        brd_outq_commit(out, (size_t)(put_end(at) - begin));
        return;
    }
    write_head(out, '$', value.size);
    brd_outq_append(out, value);
    write_text(out, "\r\n");
}

void
brd_resp_write_blob(struct brd_outq *out, struct brd_blob *blob)
{
    write_head(out, '$', blob->size);
    brd_outq_append_blob(out, blob);
    write_text(out, "\r\n");
}

void
brd_resp_write_array(struct brd_outq *out, size_t count)
{
    write_head(out, '*', count);
}

void
brd_resp_write_null(struct brd_outq *out, enum brd_resp_protocol protocol)
{
    write_text(out, protocol == BRD_RESP2 ? "$-1\r\n" : "_\r\n");
}

void
brd_resp_write_null_array(struct brd_outq *out, enum brd_resp_protocol protocol)
{
    write_text(out, protocol == BRD_RESP2 ? "*-1\r\n" : "_\r\n");
}

void
brd_resp_write_map(struct brd_outq *out, enum brd_resp_protocol protocol, size_t pairs)
{
    BRD_CHECK(pairs <= SIZE_MAX / 2);
    if (protocol == BRD_RESP2)
        write_head(out, '*', 2 * pairs);
    else
        write_head(out, '%', pairs);
}

void
brd_resp_write_set(struct brd_outq *out, enum brd_resp_protocol protocol, size_t count)
{
    write_head(out, protocol == BRD_RESP2 ? '*' : '~', count);
}

void
brd_resp_write_push(struct brd_outq *out, enum brd_resp_protocol protocol, size_t count)
{
    write_head(out, protocol == BRD_RESP2 ? '*' : '>', count);
}

void
brd_resp_write_double(struct brd_outq *out, enum brd_resp_protocol protocol, double value)
{
    char text[DOUBLE_ROOM];

    if (isnan(value)) /* without the sign that it may have */
        snprintf(text, sizeof(text), "nan");
    else
        snprintf(text, sizeof(text), "%.17g", value);
    if (protocol == BRD_RESP2) {
        brd_resp_write_bulk(out, brd_bytes_of(text));
        return;
    }
    write_text(out, ",");
    write_text(out, text);
    write_text(out, "\r\n");
}

void
brd_resp_write_boolean(struct brd_outq *out, enum brd_resp_protocol protocol, bool value)
{
    if (protocol == BRD_RESP2)
        brd_resp_write_integer(out, value ? 1 : 0);
    else
        write_text(out, value ? "#t\r\n" : "#f\r\n");
}

void
brd_resp_write_verbatim(struct brd_outq *out, enum brd_resp_protocol protocol, const char *format,
                        struct brd_bytes text)
{
    if (protocol == BRD_RESP2) {
        brd_resp_write_bulk(out, text);
        return;
    }
    BRD_CHECK(strlen(format) == 3);
    write_head(out, '=', text.size + 4);
    write_text(out, format);
    write_text(out, ":");
    brd_outq_append(out, text);
    write_text(out, "\r\n");
}

void
brd_resp_write_big_number(struct brd_outq *out, enum brd_resp_protocol protocol,
                          struct brd_bytes digits)
{
    if (protocol == BRD_RESP2) {
        brd_resp_write_bulk(out, digits);
        return;
    }
    write_text(out, "(");
    brd_outq_append(out, digits);
    write_text(out, "\r\n");
}

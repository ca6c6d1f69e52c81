/* What the two text protocols share: buffers, numbers, lines. Only for
 * codec_resp.c and codec_memcached.c. */
#ifndef BENCH_CODEC_TEXT_H
#define BENCH_CODEC_TEXT_H

#include "buffer.h"
#include "codec.h"

#include <string.h>

/* One recv asks for at least this much. */
#define TEXT_INPUT_BYTES 65536
/* A value or status line longer than this is no reply of ours. */
#define TEXT_LINE_MAX 8192

struct codec_text {
    struct codec codec; /* first */
    struct buffer in;
    struct buffer out;
    size_t scanned;     /* STATS of memcached: bytes already looked at */
    uint32_t many_left; /* values of a GET_MANY still to come */
    uint32_t many_index;
    uint32_t many_hits;
    bool many_open; /* between the first and the last part of a GET_MANY */
};

bool codec_text_create(struct codec **out_codec, struct bench_error *error);
void codec_text_destroy(struct codec *codec);
struct span codec_text_output(struct codec *codec);
void codec_text_output_sent(struct codec *codec, size_t len);
uint8_t *codec_text_input_space(struct codec *codec, size_t *out_len);
void codec_text_input_added(struct codec *codec, size_t len);

/* CODEC_BROKEN with a sentence that shows what came. */
enum codec_result codec_text_broken(struct codec_text *text, const char *why, struct span line);

static inline struct codec_text *
codec_text_of(struct codec *codec)
{
    return (struct codec_text *)codec;
}

/* Decimal digits at p; returns behind them. At most 20. */
static inline uint8_t *
text_put_number(uint8_t *p, uint64_t number)
{
    uint8_t digits[20];
    size_t n = 0;
    do {
        digits[n++] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (n > 0)
        *p++ = digits[--n];
    return p;
}

static inline uint8_t *
text_put(uint8_t *p, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(p, bytes, len);
    return p + len;
}

#define TEXT_PUT(p, literal) text_put((p), (literal), sizeof(literal) - 1)

/* The line at the front of the input, without its CRLF. MORE: it is not there
 * yet; BROKEN: it is longer than TEXT_LINE_MAX or a LF stands alone. On REPLY
 * nothing is taken yet: the line occupies out_line->len + 2 bytes. */
enum codec_result codec_text_line(struct codec_text *text, size_t at, struct span *out_line);

/* All of `digits` as a decimal number up to max. */
bool text_number(struct span digits, uint64_t max, uint64_t *out_number);

#endif

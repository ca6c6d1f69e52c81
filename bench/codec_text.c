/* Shared parts of the text codecs. Received bytes stay where they are until
 * the reply that they hold was handed out and the next is asked for. */
#include "codec_text.h"

#include <stdlib.h>

bool
codec_text_create(struct codec **out_codec, struct bench_error *error)
{
    struct codec_text *text = calloc(1, sizeof(*text));
    if (text == NULL)
        return bench_error_set(error, "no memory for a connection");
    *out_codec = &text->codec;
    return true;
}

void
codec_text_destroy(struct codec *codec)
{
    struct codec_text *text = codec_text_of(codec);
    buffer_fini(&text->in);
    buffer_fini(&text->out);
    free(text);
}

struct span
codec_text_output(struct codec *codec)
{
    struct codec_text *text = codec_text_of(codec);
    return (struct span){ text->out.data + text->out.start, buffer_len(&text->out) };
}

void
codec_text_output_sent(struct codec *codec, size_t len)
{
    buffer_take(&codec_text_of(codec)->out, len);
}

uint8_t *
codec_text_input_space(struct codec *codec, size_t *out_len)
{
    struct codec_text *text = codec_text_of(codec);
    uint8_t *space = buffer_reserve(&text->in, TEXT_INPUT_BYTES);
    if (space == NULL) {
        bench_error_set(&codec->error, "a reply is larger than this program can hold");
        return NULL;
    }
    *out_len = text->in.capacity - text->in.end;
    return space;
}

void
codec_text_input_added(struct codec *codec, size_t len)
{
    struct codec_text *text = codec_text_of(codec);
    BENCH_CHECK(len <= text->in.capacity - text->in.end);
    text->in.end += len;
}

enum codec_result
codec_text_broken(struct codec_text *text, const char *why, struct span line)
{
    char shown[48];
    size_t n = 0;
    for (; n < line.len && n < sizeof(shown) - 1; n++)
        shown[n] = line.data[n] >= 0x20 && line.data[n] < 0x7f ? (char)line.data[n] : '?';
    shown[n] = '\0';
    bench_error_set(&text->codec.error, "not understood: %s: '%s'", why, shown);
    return CODEC_BROKEN;
}

enum codec_result
codec_text_line(struct codec_text *text, size_t at, struct span *out_line)
{
    const uint8_t *data = text->in.data + text->in.start + at;
    size_t len = buffer_len(&text->in) - at;
    size_t look = len < TEXT_LINE_MAX ? len : TEXT_LINE_MAX;
    const uint8_t *end = look == 0 ? NULL : memchr(data, '\n', look);

    if (end == NULL) {
        if (len >= TEXT_LINE_MAX)
            return codec_text_broken(text, "a line without an end", (struct span){ data, len });
        return CODEC_MORE;
    }
    if (end == data || end[-1] != '\r')
        return codec_text_broken(text, "a line that does not end in CR LF",
                                 (struct span){ data, (size_t)(end - data) });
    out_line->data = data;
    out_line->len = (size_t)(end - data) - 1;
    return CODEC_REPLY;
}

bool
text_number(struct span digits, uint64_t max, uint64_t *out_number)
{
    uint64_t number = 0;
    if (digits.len == 0 || digits.len > 19)
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(digits.data[i] - '0');
    }
    if (number > max)
        return false;
    *out_number = number;
    return true;
}

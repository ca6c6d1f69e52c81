/* Reading a trace file: bytes -> (xz) -> lines -> fields.
 *
 * One window of plain bytes; a line is handed out as a view into it. The window
 * grows where a line does not fit, up to WINDOW_BYTES_MAX: most traces have short
 * keys and never need it. A line longer than TRACE_LINE_MAX is reported once and
 * skipped up to its newline, so memory stays bounded whatever the file holds. xz
 * streams may be concatenated; the decoder's own memory is limited, so that a
 * hostile header cannot ask for more. */
#include "trace.h"

#include <assert.h>
#include <errno.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#define PACKED_BYTES     65536
#define WINDOW_BYTES_MIN (4 * 65536)
#define WINDOW_BYTES_MAX (2 * 1024 * 1024)
#define XZ_MEMORY_MAX    (UINT64_C(256) << 20)
#define NAME_SHOWN       120
#define NUMBER_DIGITS    19

static_assert(WINDOW_BYTES_MAX > TRACE_LINE_MAX, "a line that is too long must be seen");
static_assert(WINDOW_BYTES_MIN >= PACKED_BYTES, "what was peeked at must fit");
static_assert(TRACE_LINE_MAX - TRACE_KEY_MAX >= 5 * NUMBER_DIGITS + 7 + 6 + 1,
              "the longest key needs room for numbers, operation, commas and CR beside it");

struct trace_reader {
    FILE *file;
    char *name;
    uint64_t line_number;
    bool is_xz;
    bool file_ended; /* no more packed bytes */
    bool ended;      /* no more plain bytes */
    bool skipping;   /* inside a line that was too long */
    lzma_stream xz;
    size_t start; /* of the plain bytes not yet handed out */
    size_t end;
    uint8_t *window; /* owned */
    size_t capacity; /* of window */
    uint8_t packed[PACKED_BYTES];
};

static const char *const operation_names[] = {
#define TRACE_OPERATION_NAME(name, text) text,
    TRACE_OPERATIONS(TRACE_OPERATION_NAME)
#undef TRACE_OPERATION_NAME
};

const char *
trace_operation_name(enum trace_operation operation)
{
    return operation < TRACE_OPERATION_COUNT ? operation_names[operation] : "?";
}

static const char too_long_sentence[] =
    "the line is longer than 1048704 bytes, of which a key has at most 1048576";
static_assert(TRACE_LINE_MAX == 1048704 && TRACE_KEY_MAX == 1048576, "as the sentences say");

/* ---- One line ---- */

/* Cuts the field before the next comma off the front of *rest. */
static bool
cut_field(struct span *rest, struct span *out_field)
{
    const uint8_t *comma = rest->len == 0 ? NULL : memchr(rest->data, ',', rest->len);
    if (comma == NULL)
        return false;
    out_field->data = rest->data;
    out_field->len = (size_t)(comma - rest->data);
    rest->data = comma + 1;
    rest->len -= out_field->len + 1;
    return true;
}

static bool
parse_number(struct span field, uint64_t max, uint64_t *out_number)
{
    uint64_t number = 0;
    if (field.len == 0 || field.len > NUMBER_DIGITS)
        return false;
    for (size_t i = 0; i < field.len; i++) {
        if (field.data[i] < '0' || field.data[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(field.data[i] - '0');
    }
    if (number > max)
        return false;
    *out_number = number;
    return true;
}

static bool
parse_operation(struct span field, enum trace_operation *out_operation)
{
    for (unsigned i = 0; i < TRACE_OPERATION_COUNT; i++) {
        if (strlen(operation_names[i]) == field.len &&
            memcmp(operation_names[i], field.data, field.len) == 0) {
            *out_operation = (enum trace_operation)i;
            return true;
        }
    }
    return false;
}

static bool
is_clean(struct span key)
{
    for (size_t i = 0; i < key.len; i++) {
        if (key.data[i] <= 0x20 || key.data[i] == 0x7f)
            return false;
    }
    return true;
}

const char *
trace_parse_line(struct span line, struct trace_line *out)
{
    struct trace_line parsed = { .timestamp_s = 0 };
    struct span rest = line;
    struct span field[6];
    uint64_t key_bytes = 0;
    uint64_t value_bytes = 0;
    uint64_t ttl_s = 0;

    if (rest.len > 0 && rest.data[rest.len - 1] == '\r')
        rest.len--;
    if (rest.len == 0)
        return "the line is empty";
    for (unsigned i = 0; i < 6; i++) {
        if (!cut_field(&rest, &field[i]))
            return "there are fewer than 7 fields";
    }
    if (memchr(rest.data, ',', rest.len) != NULL)
        return "there are more than 7 fields";
    if (!parse_number(field[0], UINT64_MAX, &parsed.timestamp_s))
        return "the timestamp is not a number of seconds";
    parsed.key = field[1];
    if (parsed.key.len == 0)
        return "the key is empty";
    if (parsed.key.len > TRACE_KEY_MAX)
        return "the key is longer than 1048576 bytes";
    if (!is_clean(parsed.key))
        return "the key holds a space or a control character";
    if (!parse_number(field[2], UINT32_MAX, &key_bytes))
        return "the size of the key is not a number";
    if (!parse_number(field[3], TRACE_VALUE_MAX, &value_bytes))
        return "the size of the value is not a number up to 67108864";
    if (!parse_number(field[4], UINT64_MAX, &parsed.client_id))
        return "the client is not a number";
    if (!parse_operation(field[5], &parsed.operation))
        return "the operation is none of get gets set add replace cas append prepend delete incr "
               "decr";
    if (!parse_number(rest, UINT32_MAX, &ttl_s))
        return "the time to live is not a number of seconds";
    parsed.key_bytes = (uint32_t)key_bytes;
    parsed.value_bytes = (uint32_t)value_bytes;
    parsed.ttl_s = (uint32_t)ttl_s;
    *out = parsed;
    return NULL;
}

/* ---- File ---- */

/* Packed bytes into `packed` or, for plain files, straight into the window.
 * Returns how many; 0 at the end; sets *out_failed on a read error. */
static size_t
read_bytes(struct trace_reader *reader, uint8_t *into, size_t len, bool *out_failed)
{
    size_t n = fread(into, 1, len, reader->file);
    *out_failed = n == 0 && ferror(reader->file) != 0;
    return n;
}

static const char *
xz_sentence(lzma_ret ret)
{
    switch (ret) {
    case LZMA_MEM_ERROR:
        return "no memory to unpack it";
    case LZMA_MEMLIMIT_ERROR:
        return "unpacking it needs more than 256 MiB";
    case LZMA_FORMAT_ERROR:
        return "this is no .xz data";
    case LZMA_OPTIONS_ERROR:
        return "it uses .xz options that this liblzma does not know";
    case LZMA_BUF_ERROR:
        return "the .xz data end early";
    default:
        return "the .xz data are damaged";
    }
}

static bool
fill_unpacking(struct trace_reader *reader, struct bench_error *error)
{
    lzma_stream *xz = &reader->xz;

    xz->next_out = reader->window + reader->end;
    xz->avail_out = reader->capacity - reader->end;
    while (xz->avail_out > 0) {
        if (xz->avail_in == 0 && !reader->file_ended) {
            bool failed = false;
            xz->next_in = reader->packed;
            xz->avail_in = read_bytes(reader, reader->packed, PACKED_BYTES, &failed);
            if (failed)
                return bench_error_set(error, "%.*s: %s", NAME_SHOWN, reader->name,
                                       strerror(errno));
            reader->file_ended = xz->avail_in == 0;
        }
        lzma_ret ret = lzma_code(xz, reader->file_ended ? LZMA_FINISH : LZMA_RUN);
        if (ret == LZMA_STREAM_END) {
            reader->ended = true;
            break;
        }
        if (ret != LZMA_OK)
            return bench_error_set(error, "%.*s: after line %llu: %s", NAME_SHOWN, reader->name,
                                   (unsigned long long)reader->line_number, xz_sentence(ret));
    }
    reader->end = reader->capacity - xz->avail_out;
    return true;
}

/* Room in the window behind the bytes that are there. */
static bool
make_room(struct trace_reader *reader)
{
    if (reader->start > 0) {
        memmove(reader->window, reader->window + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    if (reader->end < reader->capacity)
        return true;
    BENCH_CHECK(reader->capacity >= WINDOW_BYTES_MIN);
    BENCH_CHECK(reader->capacity < WINDOW_BYTES_MAX);
    uint8_t *bigger = realloc(reader->window, 2 * reader->capacity);
    if (bigger == NULL)
        return false;
    reader->window = bigger;
    reader->capacity *= 2;
    return true;
}

/* More plain bytes behind those that are there. */
static bool
fill(struct trace_reader *reader, struct bench_error *error)
{
    bool failed = false;

    if (!make_room(reader))
        return bench_error_set(error, "%.*s:%llu: no memory for the line", NAME_SHOWN, reader->name,
                               (unsigned long long)reader->line_number + 1);
    if (reader->is_xz)
        return fill_unpacking(reader, error);
    size_t n =
        read_bytes(reader, reader->window + reader->end, reader->capacity - reader->end, &failed);
    if (failed)
        return bench_error_set(error, "%.*s: %s", NAME_SHOWN, reader->name, strerror(errno));
    reader->end += n;
    reader->ended = n == 0;
    return true;
}

/* Peeks for the .xz magic; what was read stays for the decoder or the window. */
static bool
detect(struct trace_reader *reader, struct bench_error *error)
{
    static const uint8_t magic[6] = { 0xfd, '7', 'z', 'X', 'Z', 0x00 };
    bool failed = false;
    size_t n = read_bytes(reader, reader->packed, PACKED_BYTES, &failed);

    if (failed)
        return bench_error_set(error, "%.*s: %s", NAME_SHOWN, reader->name, strerror(errno));
    if (n >= sizeof(magic) && memcmp(reader->packed, magic, sizeof(magic)) == 0) {
        lzma_ret ret = lzma_stream_decoder(&reader->xz, XZ_MEMORY_MAX, LZMA_CONCATENATED);
        if (ret != LZMA_OK)
            return bench_error_set(error, "%.*s: %s", NAME_SHOWN, reader->name, xz_sentence(ret));
        reader->is_xz = true;
        reader->xz.next_in = reader->packed;
        reader->xz.avail_in = n;
    } else {
        memcpy(reader->window, reader->packed, n);
        reader->end = n;
    }
    return true;
}

bool
trace_open_file(struct trace_reader **out_reader, FILE *file, const char *name,
                struct bench_error *error)
{
    struct trace_reader *reader = calloc(1, sizeof(*reader));
    uint8_t *window = malloc(WINDOW_BYTES_MIN);
    char *copy = strdup(name);

    if (reader == NULL || window == NULL || copy == NULL) {
        free(reader);
        free(window);
        free(copy);
        fclose(file);
        return bench_error_set(error, "no memory to read a trace");
    }
    reader->file = file;
    reader->name = copy;
    reader->window = window;
    reader->capacity = WINDOW_BYTES_MIN;
    reader->xz = (lzma_stream)LZMA_STREAM_INIT;
    if (!detect(reader, error)) {
        trace_close(&reader);
        return false;
    }
    *out_reader = reader;
    return true;
}

bool
trace_open(struct trace_reader **out_reader, const char *path, struct bench_error *error)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (file == NULL)
        return bench_error_set(error, "%.*s: %s", NAME_SHOWN, path, strerror(errno));
    return trace_open_file(out_reader, file, path, error);
}

void
trace_close(struct trace_reader **reader)
{
    if (*reader == NULL)
        return;
    lzma_end(&(*reader)->xz);
    fclose((*reader)->file);
    free((*reader)->name);
    free((*reader)->window);
    free(*reader);
    *reader = NULL;
}

void
trace_blame_line(const struct trace_reader *reader, const char *why, struct bench_error *error)
{
    bench_error_set(error, "%.*s:%llu: %s", NAME_SHOWN, reader->name,
                    (unsigned long long)reader->line_number, why);
}

static enum trace_result
bad_line(const struct trace_reader *reader, const char *why, struct bench_error *error)
{
    trace_blame_line(reader, why, error);
    return TRACE_BAD_LINE;
}

enum trace_result
trace_next(struct trace_reader *reader, struct trace_line *out_line, struct bench_error *error)
{
    for (;;) {
        uint8_t *data = reader->window + reader->start;
        size_t len = reader->end - reader->start;
        uint8_t *newline = len == 0 ? NULL : memchr(data, '\n', len);

        if (newline == NULL && !reader->ended) {
            bool too_long = !reader->skipping && len > TRACE_LINE_MAX;
            if (too_long || reader->skipping)
                reader->start = reader->end;
            if (too_long) {
                reader->skipping = true;
                reader->line_number++;
                return bad_line(reader, too_long_sentence, error);
            }
            if (!fill(reader, error))
                return TRACE_FAILED;
            continue;
        }
        if (newline == NULL && (len == 0 || reader->skipping))
            return TRACE_END;

        struct span line = { data, newline != NULL ? (size_t)(newline - data) : len };
        reader->start += line.len + (newline != NULL ? 1 : 0);
        if (reader->skipping) {
            reader->skipping = false;
            continue;
        }
        reader->line_number++;
        if (line.len > TRACE_LINE_MAX)
            return bad_line(reader, too_long_sentence, error);
        const char *why = trace_parse_line(line, out_line);
        return why == NULL ? TRACE_LINE : bad_line(reader, why, error);
    }
}

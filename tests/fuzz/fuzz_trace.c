/* The trace reader over arbitrary files: plain, .xz, or something else.
 *
 * Whatever the bytes are, reading ends, memory stays bounded, and what is
 * accepted keeps what the reader promises: a clean key of a legal length, a
 * known operation, a value that can be made. A file in memory holds exactly the
 * lines that were accepted one by one. */
#include "trace.h"

#include <stdlib.h>

static void
require(bool condition)
{
    if (!condition)
        abort();
}

static struct trace_reader *
open_bytes(const uint8_t *data, size_t size)
{
    struct trace_reader *reader = NULL;
    struct bench_error error;
    FILE *file = fmemopen((void *)(uintptr_t)data, size, "r");

    if (file == NULL || !trace_open_file(&reader, file, "input", &error))
        return NULL;
    return reader;
}

static void
check_line(const struct trace_line *line)
{
    require(line->key.len >= 1 && line->key.len <= TRACE_KEY_MAX);
    for (size_t i = 0; i < line->key.len; i++)
        require(line->key.data[i] > 0x20 && line->key.data[i] != 0x7f && line->key.data[i] != ',');
    require(line->operation < TRACE_OPERATION_COUNT);
    require(line->value_bytes <= TRACE_VALUE_MAX);
}

static void
check_loaded(const uint8_t *data, size_t size, uint64_t lines, uint64_t bad)
{
    struct trace trace;
    struct bench_error error;
    struct trace_options options = { .key_bytes_max = TRACE_KEY_MAX, .skip_bad_lines = true };
    struct trace_reader *reader = open_bytes(data, size);

    require(reader != NULL);
    require(trace_load(&trace, reader, &options, &error));
    require(trace.request_count == lines);
    require(trace.skipped_lines == bad);
    require(trace.key_count <= trace.request_count);
    for (uint32_t i = 0; i < trace.request_count; i++)
        require(trace_key(&trace, trace.requests[i].key).len >= 1);
    trace_fini(&trace);
    trace_close(&reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace_reader *reader;
    struct trace_line line;
    struct bench_error error;
    enum trace_result result;
    uint64_t lines = 0;
    uint64_t bad = 0;

    if (size == 0)
        return 0;
    reader = open_bytes(data, size);
    if (reader == NULL)
        return 0;
    while ((result = trace_next(reader, &line, &error)) != TRACE_END) {
        if (result == TRACE_FAILED)
            break;
        if (result == TRACE_LINE) {
            check_line(&line);
            lines++;
        } else {
            bad++;
        }
        if (lines + bad > 100000)
            break; /* a small .xz may hold very many */
    }
    trace_close(&reader);
    if (result == TRACE_END)
        check_loaded(data, size, lines, bad);
    return 0;
}

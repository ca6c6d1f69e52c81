/* Traces of cache requests: plain CSV or .xz, one request a line, no header:
 *
 *   timestamp_s,key,key_bytes,value_bytes,client_id,operation,ttl_s
 *
 * the order of columns of Twitter's published cache traces. Three levels: one
 * line, a file line by line, a file as a whole in memory. Traces are foreign
 * bytes: every field is checked, and an error names file and line. */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include "base.h"

#include <stdio.h>

#define TRACE_KEY_MAX      1048576               /* no brindled takes a longer one */
#define TRACE_LINE_MAX     (TRACE_KEY_MAX + 128) /* bytes, without the newline */
#define TRACE_VALUE_MAX    UINT32_C(67108864)
#define TRACE_REQUESTS_MAX UINT32_C(2000000000)

/* X(name of the constant, operation in the file) */
#define TRACE_OPERATIONS(X) \
    X(GET, "get")           \
    X(GETS, "gets")         \
    X(SET, "set")           \
    X(ADD, "add")           \
    X(REPLACE, "replace")   \
    X(CAS, "cas")           \
    X(APPEND, "append")     \
    X(PREPEND, "prepend")   \
    X(DELETE, "delete")     \
    X(INCR, "incr")         \
    X(DECR, "decr")

enum trace_operation {
#define TRACE_OPERATION_ENUM(name, text) TRACE_##name,
    TRACE_OPERATIONS(TRACE_OPERATION_ENUM)
#undef TRACE_OPERATION_ENUM
        TRACE_OPERATION_COUNT
};

struct trace_line {
    uint64_t timestamp_s;
    struct span key; /* borrowed from the line */
    uint32_t key_bytes;
    uint32_t value_bytes; /* 0: the trace does not say */
    uint64_t client_id;
    enum trace_operation operation;
    uint32_t ttl_s; /* 0: none */
};

/* One line without its newline (a CR before it is cut off). NULL: *out is
 * filled. Otherwise what is wrong, in static storage. */
BENCH_MUST_CHECK const char *trace_parse_line(struct span line, struct trace_line *out);

const char *trace_operation_name(enum trace_operation operation);

/* ---- A file, line by line -------------------------------------------------- */

struct trace_reader;

enum trace_result {
    TRACE_LINE,
    TRACE_END,
    TRACE_BAD_LINE, /* error says which and why; the next call goes on behind it */
    TRACE_FAILED,   /* the file cannot be read further: damaged, cut, not readable */
};

/* Opens path; whether it is .xz is seen from its first bytes. `-` is stdin. */
BENCH_MUST_CHECK bool
trace_open(struct trace_reader **out_reader, const char *path, struct bench_error *error);
/* The same on an open file, which the reader closes; name is for errors. */
BENCH_MUST_CHECK bool trace_open_file(struct trace_reader **out_reader, FILE *file,
                                      const char *name, struct bench_error *error);
void trace_close(struct trace_reader **reader);

/* out_line's key lives until the next call. */
BENCH_MUST_CHECK enum trace_result
trace_next(struct trace_reader *reader, struct trace_line *out_line, struct bench_error *error);

/* An error that names the line which was read last, and the file. */
void
trace_blame_line(const struct trace_reader *reader, const char *why, struct bench_error *error);

/* ---- A file in memory ------------------------------------------------------ */

struct trace_request {
    uint32_t key;
    uint32_t value_bytes;
    uint32_t ttl_s;
    uint8_t operation; /* enum trace_operation */
};

struct trace {
    struct trace_request *requests;
    uint32_t request_count;
    uint32_t key_count; /* distinct */
    uint32_t skipped_lines;
    uint64_t *key_offsets; /* into key_bytes; one more than keys */
    uint8_t *key_bytes;
};

struct trace_options {
    uint32_t requests_max; /* 0: all */
    size_t key_bytes_max;  /* a longer key is a bad line */
    bool skip_bad_lines;   /* count them instead of failing */
};

BENCH_MUST_CHECK bool trace_load(struct trace *trace, struct trace_reader *reader,
                                 const struct trace_options *options, struct bench_error *error);
void trace_fini(struct trace *trace);

static inline struct span
trace_key(const struct trace *trace, uint32_t key)
{
    BENCH_CHECK(key < trace->key_count);
    uint64_t start = trace->key_offsets[key];
    return (struct span){ trace->key_bytes + start, trace->key_offsets[key + 1] - start };
}

#endif

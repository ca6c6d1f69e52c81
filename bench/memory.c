/* Bytes for each key.
 *
 * Tables grow in jumps or a little at a time, and an allocator has its classes:
 * one reading says little. So the server is filled in steps, and the worst of
 * them counts.
 *
 * What is divided is the resident memory of the whole process, its code and its
 * empty tables included: as the kernel tells it where the server is on this
 * machine, else as the server does. */
#include "memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

uint64_t
memory_keys(const struct options *options, unsigned step)
{
    uint64_t span = options->to - options->from;

    BENCH_CHECK(step < options->steps);
    if (options->steps == 1)
        return options->to;
    return options->from +
           (uint64_t)((double)span * (double)step / (double)(options->steps - 1) + 0.5);
}

bool
memory_note(struct memory_result *result, uint64_t keys, const struct server_sample *sample,
            struct bench_error *error)
{
    result->server = *sample;
    if (!sample->has_resident)
        return bench_error_set(error, "the server's resident memory is unknown: %.200s",
                               sample->why.text[0] != '\0' ? sample->why.text : "it does not say");
    if (sample->has_items && sample->items != keys)
        return bench_error_set(error,
                               keys == 0 ? "the server has %" PRIu64 " keys; it must be empty"
                                         : "the server has %" PRIu64 " keys of %" PRIu64
                                           " that were written: it evicts, or they expire",
                               sample->items, keys);
    if (keys == 0) {
        result->empty_bytes = sample->resident_bytes;
        return true;
    }
    BENCH_CHECK(result->count < MEMORY_STEPS_MAX);
    result->steps[result->count++] = (struct memory_step){ .keys = keys,
                                                           .resident_bytes = sample->resident_bytes,
                                                           .has_memory = sample->has_memory,
                                                           .memory_bytes = sample->memory_bytes };
    return true;
}

double
memory_per_key(const struct memory_step *step)
{
    return (double)step->resident_bytes / (double)step->keys;
}

const struct memory_step *
memory_worst(const struct memory_result *result)
{
    const struct memory_step *worst = NULL;

    for (unsigned i = 0; i < result->count; i++) {
        if (worst == NULL || memory_per_key(&result->steps[i]) > memory_per_key(worst))
            worst = &result->steps[i];
    }
    return worst;
}

/* ---- Text ---- */

static void
write_sizes(FILE *file, const char *what, const struct sizes *sizes)
{
    if (sizes->kind == SIZES_FIXED)
        fprintf(file, ", %s %u B", what, sizes->min);
    else
        fprintf(file, ", %s %u-%u B (mean %.1f)", what, sizes->min, sizes->max, sizes_mean(sizes));
}

static void
write_text(const struct memory_result *result, FILE *file)
{
    const struct options *options = result->options;
    const struct memory_step *worst = memory_worst(result);

    fprintf(file, "server      %s %s, version %s\n", options->connect,
            protocol_name((enum protocol)options->protocol),
            result->server.version[0] != '\0' ? result->server.version : "unknown");
    fprintf(file, "load        %" PRIu64 " to %" PRIu64 " keys", options->from, options->to);
    write_sizes(file, "key", &options->key_size);
    write_sizes(file, "value", &options->value_size);
    if (options->ttl_ms != 0)
        fprintf(file, ", ttl %" PRIu64 " ms", options->ttl_ms);
    fprintf(file, "\nempty       %.1f MB resident\n", (double)result->empty_bytes / 1e6);
    fprintf(file, "        keys   resident MB  bytes per key  server's own per key\n");
    for (unsigned i = 0; i < result->count; i++) {
        const struct memory_step *step = &result->steps[i];

        fprintf(file, "%12" PRIu64 "  %12.1f  %13.2f", step->keys,
                (double)step->resident_bytes / 1e6, memory_per_key(step));
        if (step->has_memory)
            fprintf(file, "  %20.2f", (double)step->memory_bytes / (double)step->keys);
        fputc('\n', file);
    }
    if (worst != NULL)
        fprintf(file, "worst       %.2f bytes per key, at %" PRIu64 " keys\n",
                memory_per_key(worst), worst->keys);
}

/* ---- JSON ---- */

static json_t *
make_sizes(const struct sizes *sizes)
{
    return json_pack("{s:I, s:I, s:f}", "min", (json_int_t)sizes->min, "max",
                     (json_int_t)sizes->max, "mean", sizes_mean(sizes));
}

static json_t *
make_step(const struct memory_step *step)
{
    json_t *object =
        json_pack("{s:I, s:I, s:f}", "keys", (json_int_t)step->keys, "resident_bytes",
                  (json_int_t)step->resident_bytes, "bytes_per_key", memory_per_key(step));

    if (step->has_memory)
        json_object_set_new(object, "memory_bytes", json_integer((json_int_t)step->memory_bytes));
    return object;
}

static bool
write_json(const struct memory_result *result, FILE *file)
{
    const struct options *options = result->options;
    const struct server_sample *server = &result->server;
    const struct memory_step *worst = memory_worst(result);
    json_t *steps = json_array();
    json_t *root;

    for (unsigned i = 0; i < result->count; i++)
        json_array_append_new(steps, make_step(&result->steps[i]));
    root = json_pack(
        "{s:s, s:s, s:{s:I, s:I, s:I, s:o, s:o, s:I}, s:{s:s, s:s, s:s, s:I}, s:I, s:o, s:o}",
        "program", "brindle-bench", "mode", "memory", "settings", "from", (json_int_t)options->from,
        "to", (json_int_t)options->to, "steps", (json_int_t)options->steps, "key_bytes",
        make_sizes(&options->key_size), "value_bytes", make_sizes(&options->value_size), "ttl_ms",
        (json_int_t)options->ttl_ms, "server", "address", options->connect, "protocol",
        protocol_name((enum protocol)options->protocol), "version", server->version, "pid",
        (json_int_t)server->pid, "empty_bytes", (json_int_t)result->empty_bytes, "steps", steps,
        "worst", worst != NULL ? make_step(worst) : json_null());
    bool ok = root != NULL &&
              json_dumpf(root, file, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) == 0 &&
              fputc('\n', file) != EOF;
    json_decref(root);
    return ok;
}

bool
memory_write(const struct memory_result *result, FILE *file)
{
    bool ok = true;

    if (result->options->format == FORMAT_JSON)
        ok = write_json(result, file);
    else
        write_text(result, file);
    return fflush(file) == 0 && ok && ferror(file) == 0;
}

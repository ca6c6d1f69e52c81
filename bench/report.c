/* Text for people, JSON for programs. Both show the same numbers; the keys of
 * the JSON are documented in brindle-bench(1) and only ever get more. */
#include "report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static const struct {
    double percent;
    const char *key;
} percentiles[] = { { 50.0, "p50" }, { 90.0, "p90" }, { 99.0, "p99" }, { 99.9, "p99_9" } };

#define PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

uint64_t
report_answers(const struct report *report)
{
    uint64_t answers = 0;
    for (unsigned kind = 0; kind < REQUEST_KINDS; kind++)
        answers += report->stats.answers[kind];
    return answers;
}

static double
per(double amount, double count)
{
    return count > 0.0 ? amount / count : 0.0;
}

static double
hit_ratio(const struct report *report)
{
    const struct driver_stats *stats = &report->stats;
    return per((double)stats->hits, (double)(stats->hits + stats->misses));
}

/* ---- Text ---- */

/* The right form of a word behind a number. */
static const char *
plural(uint64_t count, const char *one, const char *many)
{
    return count == 1 ? one : many;
}

static void
text_sizes(FILE *file, const char *what, const struct sizes *sizes)
{
    if (sizes->kind == SIZES_FIXED)
        fprintf(file, ", %s %u B", what, sizes->min);
    else
        fprintf(file, ", %s %u-%u B (mean %.1f)", what, sizes->min, sizes->max, sizes_mean(sizes));
}

static void
text_settings(const struct report *report, FILE *file)
{
    const struct options *options = report->options;

    fprintf(file, "server      %s %s, version %s\n", options->connect,
            protocol_name((enum protocol)options->protocol),
            report->server.version[0] != '\0' ? report->server.version : "unknown");
    fprintf(file, "load        %" PRIu64 " %s, %" PRIu64 " %s, depth %" PRIu64, options->threads,
            plural(options->threads, "thread", "threads"), options->connections,
            plural(options->connections, "connection", "connections"), options->depth);
    if (options->rate > 0.0)
        fprintf(file, ", open loop at %.15g/s, %s arrivals\n", options->rate,
                options->trace != NULL ? "uniform" : options_arrivals_name(options->arrivals));
    else
        fprintf(file, ", closed loop, refill %s\n",
                options->trace != NULL ? "each" : options_refill_name(options->refill));
    if (options->trace != NULL) {
        fprintf(file, "trace       %s: %" PRIu64 " %s, %" PRIu64 " %s", options->trace,
                report->trace_requests, plural(report->trace_requests, "request", "requests"),
                report->trace_keys, plural(report->trace_keys, "key", "keys"));
        if (report->trace_skipped > 0)
            fprintf(file, ", %" PRIu64 " bad %s skipped", report->trace_skipped,
                    plural(report->trace_skipped, "line", "lines"));
    } else {
        fprintf(file, "workload    %s", options_workload_name(options->workload));
        if (options->workload == WORKLOAD_MIXED)
            fprintf(file, " (%.4g %% reads)", options->read_ratio * 100.0);
        if (options->workload == WORKLOAD_GETMANY)
            fprintf(file, " of %" PRIu64 " %s", options->many,
                    plural(options->many, "key", "keys"));
        fprintf(file, ", %" PRIu64 " %s", options->key_count,
                plural(options->key_count, "key", "keys"));
        if (options->key_pattern == KEYS_ZIPF)
            fprintf(file, " zipf %.6g", options->key_exponent);
        else
            fprintf(file, " %s", options->key_pattern == KEYS_UNIFORM ? "uniform" : "in order");
        text_sizes(file, "key", &options->key_size);
    }
    text_sizes(file, "value", &options->value_size);
    if (options->ttl_ms != 0)
        fprintf(file, ", ttl %" PRIu64 " ms", options->ttl_ms);
    fputc('\n', file);
}

static void
text_latency(FILE *file, const char *name, const struct histogram *histogram)
{
    if (histogram_count(histogram) == 0)
        return;
    fprintf(file, "  %-10s", name);
    for (size_t i = 0; i < PERCENTILES; i++)
        fprintf(file, " %10.1f",
                (double)histogram_percentile(histogram, percentiles[i].percent) / 1e3);
    fprintf(file, " %10.1f %10.1f %12" PRIu64 "\n", (double)histogram_max(histogram) / 1e3,
            histogram_mean(histogram) / 1e3, histogram_count(histogram));
}

static void
text_results(const struct report *report, FILE *file)
{
    const struct driver_stats *stats = &report->stats;
    uint64_t answers = report_answers(report);

    if (report->fill_requests > 0)
        fprintf(file, "filled      %" PRIu64 " %s in %.3f s\n", report->fill_requests,
                plural(report->fill_requests, "key", "keys"), report->fill_seconds);
    fprintf(file, "requests    %" PRIu64 " in %.3f s%s\n", answers, report->seconds,
            report->interrupted ? " (interrupted)" : "");
    fprintf(file, "throughput  %.0f requests/s, %.1f MB/s in, %.1f MB/s out\n",
            per((double)answers, report->seconds),
            per((double)stats->bytes_in / 1e6, report->seconds),
            per((double)stats->bytes_out / 1e6, report->seconds));
    fprintf(file, "latency us         p50        p90        p99      p99.9        max       mean"
                  "        count\n");
    text_latency(file, "read", stats->reads);
    text_latency(file, "write", stats->writes);
    text_latency(file, "sent late", stats->lag);
    if (stats->hits + stats->misses > 0)
        fprintf(file, "hit ratio   %.6f (%" PRIu64 " hits, %" PRIu64 " misses)\n",
                hit_ratio(report), stats->hits, stats->misses);
    if (report->options->trace != NULL)
        fprintf(file,
                "look-aside  %" PRIu64 " of the trace answered, %" PRIu64 " gets, %" PRIu64
                " sets after a miss\n",
                report->trace_answered, report->trace_gets, report->trace_fills);
    if (stats->refused > 0)
        fprintf(file, "refused     %" PRIu64 " writes whose condition did not hold\n",
                stats->refused);
    if (report->unsent > 0)
        fprintf(file,
                "unsent      %" PRIu64 " requests were due and not sent: the server or this "
                "program cannot keep up\n",
                report->unsent);
}

static void
text_costs(const struct report *report, FILE *file)
{
    double answers = (double)report_answers(report);
    const struct server_sample *server = &report->server;

    if (report->server_cpu.known)
        fprintf(file, "server cpu  %.3f us per request (%.3f s; %s)\n",
                per((double)report->server_cpu.us, answers), (double)report->server_cpu.us / 1e6,
                report->server_cpu.source);
    else
        fprintf(file, "server cpu  unknown: %s\n", report->server_cpu.why.text);
    fprintf(file, "bench cpu   %.3f us per request (%.3f s)\n",
            per((double)report->bench_cpu_us, answers), (double)report->bench_cpu_us / 1e6);
    fprintf(file, "sleeps      %.4f per request (%" PRIu64 ")\n",
            per((double)report->bench_sleeps, answers), report->bench_sleeps);
    if (server->has_memory && server->has_items && server->items > 0)
        fprintf(file, "memory      %.1f bytes per item (%" PRIu64 " bytes, %" PRIu64 " items)\n",
                per((double)server->memory_bytes, (double)server->items), server->memory_bytes,
                server->items);
    if (server->durability[0] != '\0')
        fprintf(file, "durability  %s\n", server->durability);
}

static void
text_errors(const struct report *report, FILE *file)
{
    const struct driver_stats *stats = &report->stats;
    fprintf(file, "errors      %" PRIu64 "\n", stats->errors);
    if (stats->wrong_values > 0)
        fprintf(file, "  wrong values  %" PRIu64 "\n", stats->wrong_values);
    if (stats->unanswered > 0)
        fprintf(file, "  unanswered    %" PRIu64 "\n", stats->unanswered);
    if (stats->first_error.text[0] != '\0')
        fprintf(file, "  the first     %s\n", stats->first_error.text);
}

/* ---- JSON ---- */

static void
put_count(json_t *object, const char *key, uint64_t count)
{
    json_object_set_new(object, key, json_integer((json_int_t)count));
}

/* Text from the server may be no UTF-8; then what is shown is a question mark. */
static void
put_text(json_t *object, const char *key, const char *text)
{
    json_t *value = text[0] == '\0' ? json_null() : json_string(text);
    json_object_set_new(object, key, value != NULL ? value : json_string("?"));
}

static json_t *
json_sizes(const struct sizes *sizes)
{
    json_t *object = json_object();
    put_count(object, "min", sizes->min);
    put_count(object, "max", sizes->max);
    json_object_set_new(object, "mean", json_real(sizes_mean(sizes)));
    return object;
}

static json_t *
json_latency(const struct histogram *histogram)
{
    json_t *object = json_object();
    put_count(object, "count", histogram_count(histogram));
    json_object_set_new(object, "min", json_real((double)histogram_min(histogram) / 1e3));
    json_object_set_new(object, "mean", json_real(histogram_mean(histogram) / 1e3));
    for (size_t i = 0; i < PERCENTILES; i++)
        json_object_set_new(
            object, percentiles[i].key,
            json_real((double)histogram_percentile(histogram, percentiles[i].percent) / 1e3));
    json_object_set_new(object, "max", json_real((double)histogram_max(histogram) / 1e3));
    return object;
}

static json_t *
json_settings(const struct report *report)
{
    static const char *const patterns[] = { "uniform", "zipf", "seq" };
    const struct options *options = report->options;
    json_t *object = json_object();

    put_count(object, "threads", options->threads);
    put_count(object, "connections", options->connections);
    put_count(object, "depth", options->depth);
    put_text(object, "refill",
             options->trace != NULL ? "each" : options_refill_name(options->refill));
    json_object_set_new(object, "rate_per_s", json_real(options->rate));
    put_text(object, "arrivals", options_arrivals_name(options->arrivals));
    put_count(object, "ttl_ms", options->ttl_ms);
    put_count(object, "seed", options->seed);
    json_object_set_new(object, "value_bytes", json_sizes(&options->value_size));
    if (options->trace != NULL)
        return object;
    put_text(object, "workload", options_workload_name(options->workload));
    json_object_set_new(object, "read_ratio", json_real(options->read_ratio));
    put_count(object, "getmany_keys", options->many);
    put_count(object, "keys", options->key_count);
    put_text(object, "key_pattern", patterns[options->key_pattern]);
    json_object_set_new(object, "zipf_exponent", json_real(options->key_exponent));
    json_object_set_new(object, "key_bytes", json_sizes(&options->key_size));
    return object;
}

static json_t *
json_server(const struct report *report)
{
    const struct server_sample *server = &report->server;
    double answers = (double)report_answers(report);
    json_t *object = json_object();

    put_text(object, "address", report->options->connect);
    put_text(object, "protocol", protocol_name((enum protocol)report->options->protocol));
    put_text(object, "version", server->version);
    put_text(object, "durability", server->durability);
    if (server->pid != 0)
        put_count(object, "pid", server->pid);
    else
        json_object_set_new(object, "pid", json_null());
    if (report->server_cpu.known) {
        json_object_set_new(object, "cpu_us_per_request",
                            json_real(per((double)report->server_cpu.us, answers)));
        put_count(object, "cpu_us", report->server_cpu.us);
        put_text(object, "cpu_source", report->server_cpu.source);
    } else {
        json_object_set_new(object, "cpu_us_per_request", json_null());
        put_text(object, "cpu_unknown", report->server_cpu.why.text);
    }
    if (server->has_memory)
        put_count(object, "memory_bytes", server->memory_bytes);
    if (server->has_items)
        put_count(object, "items", server->items);
    return object;
}

static json_t *
json_trace(const struct report *report)
{
    json_t *object = json_object();
    put_text(object, "file", report->options->trace);
    put_count(object, "requests", report->trace_requests);
    put_count(object, "keys", report->trace_keys);
    put_count(object, "skipped_lines", report->trace_skipped);
    put_count(object, "answered", report->trace_answered);
    put_count(object, "gets", report->trace_gets);
    put_count(object, "sets_after_miss", report->trace_fills);
    return object;
}

static json_t *
make_json(const struct report *report)
{
    const struct driver_stats *stats = &report->stats;
    uint64_t answers = report_answers(report);
    json_t *root = json_object();
    json_t *latency = json_object();

    put_text(root, "program", "brindle-bench " BRINDLE_VERSION);
    put_text(root, "mode", report->options->trace != NULL ? "replay" : "load");
    json_object_set_new(root, "settings", json_settings(report));
    json_object_set_new(root, "server", json_server(report));
    json_object_set_new(root, "interrupted", json_boolean(report->interrupted));
    json_object_set_new(root, "seconds", json_real(report->seconds));
    put_count(root, "requests", answers);
    json_object_set_new(root, "requests_per_s", json_real(per((double)answers, report->seconds)));
    put_count(root, "bytes_in", stats->bytes_in);
    put_count(root, "bytes_out", stats->bytes_out);
    json_object_set_new(latency, "read", json_latency(stats->reads));
    json_object_set_new(latency, "write", json_latency(stats->writes));
    json_object_set_new(latency, "sent_late", json_latency(stats->lag));
    json_object_set_new(root, "latency_us", latency);
    put_count(root, "hits", stats->hits);
    put_count(root, "misses", stats->misses);
    json_object_set_new(root, "hit_ratio", json_real(hit_ratio(report)));
    put_count(root, "refused", stats->refused);
    put_count(root, "unsent", report->unsent);
    put_count(root, "errors", stats->errors);
    put_count(root, "wrong_values", stats->wrong_values);
    put_count(root, "unanswered", stats->unanswered);
    put_text(root, "first_error", stats->first_error.text);
    json_object_set_new(root, "bench_cpu_us_per_request",
                        json_real(per((double)report->bench_cpu_us, (double)answers)));
    put_count(root, "bench_cpu_us", report->bench_cpu_us);
    put_count(root, "bench_sleeps", report->bench_sleeps);
    put_count(root, "fill_requests", report->fill_requests);
    json_object_set_new(root, "fill_seconds", json_real(report->fill_seconds));
    if (report->options->trace != NULL)
        json_object_set_new(root, "trace", json_trace(report));
    return root;
}

bool
report_write(const struct report *report, FILE *file)
{
    if (report->options->format == FORMAT_JSON) {
        json_t *root = make_json(report);
        bool ok = json_dumpf(root, file, JSON_INDENT(2)) == 0;
        json_decref(root);
        fputc('\n', file);
        return ok && fflush(file) == 0;
    }
    text_settings(report, file);
    text_results(report, file);
    text_costs(report, file);
    text_errors(report, file);
    return fflush(file) == 0 && ferror(file) == 0;
}

/* Phases and threads.
 *
 * The connections are made once; each phase (fill, warm-up, measured) starts its
 * threads anew and ends when all answers are in, so that what is counted, and
 * the CPU time read before and after, belongs to the phase exactly. */
#include "run.h"

#include "driver.h"
#include "load.h"
#include "memory.h"
#include "replay.h"
#include "report.h"
#include "server.h"
#include "trace.h"
#include "values.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 5000
#define FILL_DEPTH         64
#define PROGRESS_NS        UINT64_C(500000000)
#define START_DELAY_NS     UINT64_C(2000000) /* open loop: until all threads run */

struct worker {
    struct run *run;
    struct driver *driver;
    struct load *load; /* one of these two */
    struct replay *replay;
    unsigned first; /* connection */
    unsigned count;
    pthread_t thread;
    struct phase phase;
    uint64_t started_ns;
    uint64_t ended_ns;
    uint64_t cpu_ns;
    uint64_t sleeps;
};

struct run {
    const struct options *options;
    const atomic_bool *interrupted;
    struct address address;
    struct server *server;
    struct keys keys;
    struct values values;
    struct trace trace;
    struct worker *workers;
    unsigned worker_count;
    bool show_progress;
    FILE *histogram; /* NULL: none is wanted, or it is written */
    pthread_mutex_t lock;
    pthread_cond_t done; /* a worker has ended */
    unsigned running;    /* guarded by lock */
    struct bench_error error;
};

static bool
is_interrupted(const struct run *run)
{
    return atomic_load_explicit(run->interrupted, memory_order_relaxed);
}

/* ---- Threads of a phase ---- */

static uint64_t
thread_cpu_ns(void)
{
    struct timespec ts = { 0, 0 };
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* Voluntary context switches: how often this thread gave its CPU up. */
static uint64_t
thread_sleeps(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nvcsw : 0;
}

static void *
worker_main(void *argument)
{
    struct worker *worker = argument;
    struct run *run = worker->run;

    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* due times are kept to the us */
    uint64_t sleeps = thread_sleeps();
    uint64_t cpu_ns = thread_cpu_ns();
    worker->started_ns = bench_now_ns();
    driver_run(worker->driver, &worker->phase);
    worker->ended_ns = bench_now_ns();
    worker->cpu_ns = thread_cpu_ns() - cpu_ns;
    worker->sleeps = thread_sleeps() - sleeps;

    pthread_mutex_lock(&run->lock);
    run->running--;
    pthread_cond_signal(&run->done);
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

static void
print_progress(const struct run *run, const char *name, uint64_t start_ns, uint64_t *last,
               uint64_t *last_ns)
{
    uint64_t now = bench_now_ns();
    uint64_t answers = 0;
    for (unsigned i = 0; i < run->worker_count; i++)
        answers += driver_progress(run->workers[i].driver);
    double seconds = (double)(now - *last_ns) / 1e9;
    fprintf(stderr, "\r%-8s %7.1f s  %12" PRIu64 " requests  %10.0f/s ", name,
            (double)(now - start_ns) / 1e9, answers,
            answers > *last ? (double)(answers - *last) / seconds : 0.0);
    *last = answers;
    *last_ns = now;
}

static void
wait_for_workers(struct run *run, const char *name)
{
    uint64_t start_ns = bench_now_ns();
    uint64_t last_ns = start_ns;
    uint64_t last = 0;
    bool printed = false;

    pthread_mutex_lock(&run->lock);
    while (run->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)PROGRESS_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        int rc = pthread_cond_timedwait(&run->done, &run->lock, &until);
        if (rc == ETIMEDOUT && run->show_progress) {
            print_progress(run, name, start_ns, &last, &last_ns);
            printed = true;
        }
    }
    pthread_mutex_unlock(&run->lock);
    if (printed)
        fprintf(stderr, "\r%70s\r", "");
}

/* Runs the workers' loads or replays to their end. */
static bool
run_phase(struct run *run, const char *name)
{
    unsigned started = 0;
    int rc = 0;

    run->running = 0;
    for (; started < run->worker_count; started++) {
        struct worker *worker = &run->workers[started];
        worker->phase = (struct phase){ .ops = worker->replay != NULL ? &replay_ops : &load_ops,
                                        .self = worker->replay != NULL ? (void *)worker->replay
                                                                       : (void *)worker->load,
                                        .timeout_ns = run->options->timeout_ms * 1000000,
                                        .interrupted = run->interrupted };
        pthread_mutex_lock(&run->lock);
        run->running++;
        pthread_mutex_unlock(&run->lock);
        rc = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (rc != 0) {
            pthread_mutex_lock(&run->lock);
            run->running--;
            pthread_mutex_unlock(&run->lock);
            bench_error_set(&run->error, "no thread: %s", strerror(rc));
            break;
        }
    }
    wait_for_workers(run, name);
    for (unsigned i = 0; i < started; i++)
        pthread_join(run->workers[i].thread, NULL);
    return rc == 0;
}

static double
phase_seconds(const struct run *run)
{
    uint64_t start_ns = UINT64_MAX;
    uint64_t end_ns = 0;
    for (unsigned i = 0; i < run->worker_count; i++) {
        const struct worker *worker = &run->workers[i];
        if (worker->started_ns < start_ns)
            start_ns = worker->started_ns;
        if (worker->ended_ns > end_ns)
            end_ns = worker->ended_ns;
    }
    return (double)(end_ns - start_ns) / 1e9;
}

static uint64_t
total_errors(const struct run *run)
{
    uint64_t errors = 0;
    for (unsigned i = 0; i < run->worker_count; i++)
        errors += driver_stats(run->workers[i].driver)->errors;
    return errors;
}

/* ---- Made-up load ---- */

static struct load_plan
plan_load(const struct run *run)
{
    const struct options *options = run->options;
    struct load_plan plan = {
        .keys = &run->keys,
        .values = &run->values,
        .value_size = &options->value_size,
        .read_ratio = options->read_ratio,
        .many = 1,
        .ttl_ms = options->ttl_ms,
        .refill = (enum refill)options->refill,
        .arrivals = (enum arrivals)options->arrivals,
        .rate = options->rate,
        .verify = options->verify,
        .depth = (unsigned)options->depth,
        .thread_count = run->worker_count,
        .seed = options->seed,
        .requests = options->requests,
    };
    if (options->workload == WORKLOAD_GET || options->workload == WORKLOAD_GETMANY)
        plan.read_ratio = 1.0;
    if (options->workload == WORKLOAD_SET)
        plan.read_ratio = 0.0;
    if (options->workload == WORKLOAD_GETMANY)
        plan.many = (unsigned)options->many;
    return plan;
}

static bool
run_load(struct run *run, struct load_plan *plan, const char *name, uint64_t duration_ms,
         uint64_t *out_unsent)
{
    bool ok = true;

    plan->start_ns = bench_now_ns() + (plan->rate > 0.0 ? START_DELAY_NS : 0);
    plan->end_ns = duration_ms == 0 ? 0 : plan->start_ns + duration_ms * 1000000;
    for (unsigned i = 0; ok && i < run->worker_count; i++)
        ok = load_create(&run->workers[i].load, plan, i, run->workers[i].count, &run->error);
    ok = ok && run_phase(run, name);
    *out_unsent = 0;
    for (unsigned i = 0; i < run->worker_count; i++) {
        if (run->workers[i].load != NULL)
            *out_unsent += load_unsent(run->workers[i].load);
        load_destroy(&run->workers[i].load);
    }
    return ok;
}

/* Write each of count keys from the first one on, once. */
static bool
write_keys(struct run *run, uint64_t first, uint64_t count)
{
    struct keys in_order = run->keys;
    struct load_plan plan = plan_load(run);
    uint64_t unsent;

    in_order.pattern = KEYS_SEQUENTIAL;
    plan.keys = &in_order;
    plan.read_ratio = 0.0;
    plan.rate = 0.0;
    plan.verify = false;
    plan.sequential = true;
    plan.first = first;
    plan.depth = plan.depth > FILL_DEPTH ? plan.depth : FILL_DEPTH;
    plan.requests = count;
    plan.seed = run->options->seed ^ UINT64_C(0x66696c6c);
    return run_load(run, &plan, "fill", 0, &unsent);
}

static bool
fill(struct run *run, struct report *report)
{
    if (!write_keys(run, 0, run->keys.count))
        return false;
    report->fill_seconds = phase_seconds(run);
    report->fill_requests = run->keys.count;
    return true;
}

/* Errors of phases that are not the measured one do not get lost. */
static bool
no_errors(struct run *run)
{
    for (unsigned i = 0; total_errors(run) > 0 && i < run->worker_count; i++) {
        const struct driver_stats *stats = driver_stats(run->workers[i].driver);
        if (stats->first_error.text[0] != '\0')
            return bench_error_set(&run->error, "before measuring: %.250s",
                                   stats->first_error.text);
    }
    return true;
}

/* Phases before the one that counts. */
static bool
prepare_load(struct run *run, struct report *report)
{
    uint64_t unsent;

    if (run->options->fill && !fill(run, report))
        return false;
    if (run->options->warmup_ms != 0 && !is_interrupted(run) && total_errors(run) == 0) {
        struct load_plan plan = plan_load(run);
        plan.requests = 0;
        plan.seed = run->options->seed ^ UINT64_C(0x7761726d);
        if (!run_load(run, &plan, "warm-up", run->options->warmup_ms, &unsent))
            return false;
    }
    return no_errors(run);
}

static bool
measure_load(struct run *run, struct report *report)
{
    struct load_plan plan = plan_load(run);
    return run_load(run, &plan, "measure", run->options->duration_ms, &report->unsent);
}

/* ---- Replay ---- */

static bool
load_trace(struct run *run)
{
    const struct options *options = run->options;
    struct trace_options trace_options = {
        .requests_max = (uint32_t)options->requests,
        .key_bytes_max = protocol_key_bytes_max((enum protocol)options->protocol),
        .skip_bad_lines = options->skip_bad_lines,
    };
    struct trace_reader *reader = NULL;

    if (!trace_open(&reader, options->trace, &run->error))
        return false;
    bool ok = trace_load(&run->trace, reader, &trace_options, &run->error);
    trace_close(&reader);
    if (ok && run->trace.request_count == 0)
        ok = run->trace.skipped_lines == 0
                 ? bench_error_set(&run->error, "%.200s: the trace is empty", options->trace)
                 : bench_error_set(&run->error, "%.200s: all %u lines of the trace are bad",
                                   options->trace, run->trace.skipped_lines);
    return ok;
}

static bool
measure_replay(struct run *run, struct report *report)
{
    const struct options *options = run->options;
    bool ok = true;
    struct replay_plan plan = {
        .trace = &run->trace,
        .values = &run->values,
        .value_size = &options->value_size,
        .ttl_from_trace = options->ttl_from_trace,
        .ttl_ms = options->ttl_ms,
        .verify = options->verify,
        .rate = options->rate,
        .depth = (unsigned)options->depth,
        .thread_count = run->worker_count,
        .connections = (unsigned)options->connections,
    };

    for (unsigned i = 0; ok && i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        ok = replay_create(&worker->replay, &plan, worker->first, worker->count, &run->error);
    }
    plan.start_ns = bench_now_ns() + (plan.rate > 0.0 ? START_DELAY_NS : 0);
    plan.end_ns = options->duration_ms == 0 ? 0 : plan.start_ns + options->duration_ms * 1000000;
    ok = ok && run_phase(run, "replay");
    for (unsigned i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        if (worker->replay != NULL) {
            const struct replay_counts *counts = replay_counts(worker->replay);
            report->trace_answered += counts->requests;
            report->trace_gets += counts->gets;
            report->trace_fills += counts->fills;
        }
        replay_destroy(&worker->replay);
    }
    report->trace_requests = run->trace.request_count;
    report->trace_keys = run->trace.key_count;
    report->trace_skipped = run->trace.skipped_lines;
    return ok;
}

/* ---- Connections ---- */

/* As many files as the system lets us have; a failure shows when connecting. */
static void
raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool
open_all(struct run *run)
{
    const struct options *options = run->options;
    unsigned first = 0;
    struct server_options server_options = { .protocol = (enum protocol)options->protocol,
                                             .address = &run->address,
                                             .pid = options->server_pid,
                                             .timeout_ms = CONNECT_TIMEOUT_MS };

    raise_file_limit();
    if (!address_resolve(&run->address, options->connect, &run->error) ||
        !server_open(&run->server, &server_options, &run->error))
        return false;
    run->workers = calloc(options->threads, sizeof(*run->workers));
    if (run->workers == NULL)
        return bench_error_set(&run->error, "no memory for %" PRIu64 " threads", options->threads);
    for (unsigned i = 0; i < options->threads; i++) {
        struct worker *worker = &run->workers[i];
        unsigned depth = (unsigned)options->depth;
        worker->run = run;
        worker->first = first;
        worker->count = (unsigned)(options->connections / options->threads +
                                   (i < options->connections % options->threads ? 1 : 0));
        first += worker->count;
        struct driver_options driver_options = {
            .protocol = (enum protocol)options->protocol,
            .address = &run->address,
            .connections = worker->count,
            .depth = (options->fill || options->memory) && depth < FILL_DEPTH ? FILL_DEPTH : depth,
            .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        };
        if (!driver_create(&worker->driver, &driver_options, &run->error))
            return false;
        run->worker_count++;
    }
    return true;
}

static void
close_all(struct run *run)
{
    for (unsigned i = 0; i < run->worker_count; i++)
        driver_destroy(&run->workers[i].driver);
    free(run->workers);
    server_close(&run->server);
    trace_fini(&run->trace);
}

/* ---- Memory ---- */

static bool
measure_memory(struct run *run, struct memory_result *result)
{
    struct server_sample sample;
    uint64_t written = 0;

    server_sample(run->server, &sample);
    if (!memory_note(result, 0, &sample, &run->error))
        return false;
    for (unsigned i = 0; i < run->options->steps; i++) {
        uint64_t keys = memory_keys(run->options, i);

        if (!write_keys(run, written, keys - written) || !no_errors(run))
            return false;
        if (is_interrupted(run))
            return bench_error_set(&run->error, "interrupted");
        written = keys;
        server_sample(run->server, &sample);
        if (!memory_note(result, keys, &sample, &run->error))
            return false;
    }
    return true;
}

static enum bench_exit
run_memory(struct run *run)
{
    struct memory_result *result = calloc(1, sizeof(*result));
    enum bench_exit status = BENCH_EXIT_FAILED;

    if (result == NULL) {
        fprintf(stderr, "brindle-bench: no memory\n");
        return status;
    }
    result->options = run->options;
    if (!open_all(run) || !measure_memory(run, result))
        fprintf(stderr, "brindle-bench: %s: %s\n", run->options->connect, run->error.text);
    else if (!memory_write(result, stdout))
        fprintf(stderr, "brindle-bench: the result could not be written\n");
    else
        status = BENCH_EXIT_OK;
    free(result);
    return status;
}

/* ---- The result ---- */

static void
merge_stats(struct driver_stats *into, const struct driver_stats *from)
{
    for (unsigned kind = 0; kind < REQUEST_KINDS; kind++)
        into->answers[kind] += from->answers[kind];
    into->hits += from->hits;
    into->misses += from->misses;
    into->refused += from->refused;
    into->errors += from->errors;
    into->unanswered += from->unanswered;
    into->wrong_values += from->wrong_values;
    into->bytes_in += from->bytes_in;
    into->bytes_out += from->bytes_out;
    histogram_merge(into->reads, from->reads);
    histogram_merge(into->writes, from->writes);
    histogram_merge(into->lag, from->lag);
    if (into->first_error.text[0] == '\0')
        into->first_error = from->first_error;
}

static bool
measure(struct run *run, struct report *report)
{
    struct server_sample before;
    bool replaying = run->options->trace != NULL;

    for (unsigned i = 0; i < run->worker_count; i++)
        driver_reset_stats(run->workers[i].driver);
    server_sample(run->server, &before);
    if (replaying ? !measure_replay(run, report) : !measure_load(run, report))
        return false;
    server_sample(run->server, &report->server);
    server_cpu_between(&before, &report->server, &report->server_cpu);
    report->seconds = phase_seconds(run);
    report->interrupted = is_interrupted(run);
    for (unsigned i = 0; i < run->worker_count; i++) {
        merge_stats(&report->stats, driver_stats(run->workers[i].driver));
        report->bench_cpu_us += run->workers[i].cpu_ns / 1000;
        report->bench_sleeps += run->workers[i].sleeps;
    }
    return true;
}

/* Opened before the load: a wrong path is not worth an hour of measuring. */
static bool
open_histogram(struct run *run)
{
    const char *path = run->options->histogram;

    if (path == NULL)
        return true;
    run->histogram = fopen(path, "we");
    return run->histogram != NULL ||
           bench_error_set(&run->error, "--histogram %.200s: %s", path, strerror(errno));
}

static bool
write_histogram(struct run *run, const struct report *report)
{
    bool ok = histogram_dump(report->stats.reads, "reads", run->histogram) &&
              histogram_dump(report->stats.writes, "writes", run->histogram);

    ok &= fclose(run->histogram) == 0;
    run->histogram = NULL;
    return ok || bench_error_set(&run->error, "--histogram %.200s: %s", run->options->histogram,
                                 strerror(errno));
}

static enum bench_exit
run_and_report(struct run *run, struct report *report)
{
    bool ok = open_all(run) && prepare_load(run, report) && measure(run, report);

    if (!ok) {
        fprintf(stderr, "brindle-bench: %s: %s\n", run->options->connect, run->error.text);
        return BENCH_EXIT_FAILED;
    }
    if (!report_write(report, stdout)) {
        fprintf(stderr, "brindle-bench: the result could not be written\n");
        return BENCH_EXIT_FAILED;
    }
    if (run->histogram != NULL && !write_histogram(run, report)) {
        fprintf(stderr, "brindle-bench: %s\n", run->error.text);
        return BENCH_EXIT_FAILED;
    }
    return report->stats.errors == 0 ? BENCH_EXIT_OK : BENCH_EXIT_FAILED;
}

/* What can be wrong before anything is connected. */
static bool
check_settings(struct run *run, enum bench_exit *out_exit)
{
    const struct options *options = run->options;
    size_t key_bytes_max = protocol_made_key_bytes_max((enum protocol)options->protocol);

    *out_exit = BENCH_EXIT_USAGE;
    if (options->key_size.max > key_bytes_max)
        return bench_error_set(&run->error, "keys of %u bytes: with --protocol %s at most %zu",
                               options->key_size.max,
                               protocol_name((enum protocol)options->protocol), key_bytes_max);
    if (!keys_init(&run->keys, options->key_pattern, options->key_exponent, options->key_count,
                   &options->key_size, &run->error))
        return false;
    *out_exit = BENCH_EXIT_FAILED;
    return open_histogram(run) && (options->trace == NULL || load_trace(run));
}

enum bench_exit
run(const struct options *options, const atomic_bool *interrupted)
{
    struct options settings = *options;
    struct run state = { .options = &settings, .interrupted = interrupted };
    struct report report = { .options = &settings };
    pthread_condattr_t monotonic;
    enum bench_exit status = BENCH_EXIT_FAILED;

    keys_cut_sizes(&settings.key_size, settings.key_count,
                   protocol_made_key_bytes_max((enum protocol)settings.protocol));
    pthread_mutex_init(&state.lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&state.done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    state.show_progress = options->progress == PROGRESS_YES ||
                          (options->progress == PROGRESS_AUTO && isatty(STDERR_FILENO) == 1);
    values_init(&state.values);
    report.stats.reads = histogram_create();
    report.stats.writes = histogram_create();
    report.stats.lag = histogram_create();
    if (report.stats.reads == NULL || report.stats.writes == NULL || report.stats.lag == NULL)
        fprintf(stderr, "brindle-bench: no memory\n");
    else if (!check_settings(&state, &status))
        fprintf(stderr, "brindle-bench: %s\n", state.error.text);
    else
        status = options->memory ? run_memory(&state) : run_and_report(&state, &report);
    close_all(&state);
    if (state.histogram != NULL)
        fclose(state.histogram);
    histogram_destroy(&report.stats.reads);
    histogram_destroy(&report.stats.writes);
    histogram_destroy(&report.stats.lag);
    pthread_cond_destroy(&state.done);
    pthread_mutex_destroy(&state.lock);
    return status;
}

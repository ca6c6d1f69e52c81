#include "process_stats.h"

#include "base/allocator.h"
#include "host.h"

#include <sys/resource.h>
#include <unistd.h>

/* X(name, unit, expression, help): numbers, as of now. */
#define PROCESS_GAUGES(X)                                                                          \
    X(process_id, "", getpid(), "id of the daemon's process")                                      \
    X(uptime_ms, "ms", (brd_clock_mono_ns(stats->clock) - stats->started_mono_ns) / BRD_NS_PER_MS, \
      "time since the start")                                                                      \
    X(process_cpu_user_us, "us", microseconds(&usage.ru_utime), "CPU time in user mode")           \
    X(process_cpu_system_us, "us", microseconds(&usage.ru_stime), "CPU time in the kernel")        \
    X(process_rss_bytes, "bytes", host_rss(), "memory of the process that is resident")            \
    X(process_max_rss_bytes, "bytes", host_rss_max(), "the most it has been")                      \
    X(process_minor_faults, "1", usage.ru_minflt, "page faults without input or output")           \
    X(process_major_faults, "1", usage.ru_majflt, "page faults with input or output")              \
    X(process_switches_voluntary, "1", usage.ru_nvcsw, "times a thread waited")                    \
    X(process_switches_involuntary, "1", usage.ru_nivcsw, "times a thread was interrupted")

/* The same, of struct brd_allocator_stats. */
#define ALLOCATOR_GAUGES(X)                                                                     \
    X(allocator_allocated, "bytes", memory.allocated, "handed out, in the allocator's classes") \
    X(allocator_cached, "bytes", memory.cached, "of these, freed and kept by threads")          \
    X(allocator_active, "bytes", memory.active, "pages with something allocated in them")       \
    X(allocator_metadata, "bytes", memory.metadata, "the allocator's own")                      \
    X(allocator_resident, "bytes", memory.resident, "what it has in memory")                    \
    X(allocator_mapped, "bytes", memory.mapped, "addresses with pages")                         \
    X(allocator_retained, "bytes", memory.retained, "addresses without pages")

/* X(name, expression, help): texts. */
#define PROCESS_TEXTS(X)                                                 \
    X(version, BRINDLE_VERSION, "version of the daemon")                 \
    X(compiler, process_compiler(), "what the daemon was compiled with") \
    X(allocator, brd_allocator_name(), "what allocates the daemon's memory")

const char *
process_compiler(void)
{
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

static uint64_t
microseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

void
process_stats_collect(void *arg, void (*emit)(void *to, const struct brd_stat *stat), void *to)
{
    const struct process_stats *stats = arg;
    struct rusage usage = { 0 };
    struct brd_allocator_stats memory;
    struct brd_stat stat;

    (void)brd_allocator_get_stats(&memory);
    (void)getrusage(RUSAGE_SELF, &usage);
#define EMIT_GAUGE(stat_name, stat_unit, value, help)                                              \
    stat = (struct brd_stat){ .name = #stat_name, .unit = stat_unit, .number = (int64_t)(value) }; \
    emit(to, &stat);
    PROCESS_GAUGES(EMIT_GAUGE)
    ALLOCATOR_GAUGES(EMIT_GAUGE)
#undef EMIT_GAUGE
#define EMIT_TEXT(stat_name, value, help)                                      \
    stat = (struct brd_stat){ .name = #stat_name, .unit = "", .text = value }; \
    emit(to, &stat);
    PROCESS_TEXTS(EMIT_TEXT)
#undef EMIT_TEXT
}

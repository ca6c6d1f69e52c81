/* Statistics of the server.
 *
 * Sources of CPU time, best first:
 *   1. The CPU clock of the process (clock_getcpuclockid): nanoseconds, of all
 *      threads that are or were, with what those that run have used until now.
 *      (schedstat in /proc is in nanoseconds too, but of running threads as of
 *      the last tick, and threads that ended take their time with them.)
 *   2. /proc/PID/stat: ticks of 10 ms, all threads that ever were.
 *   3. The server's own report: getrusage, in all servers that we know.
 *
 * A pid that the server told may be one of another pid namespace. It is taken
 * only if the kernel's total for it agrees with the server's own report. */
#include "server.h"

#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AGREE_US UINT64_C(200000) /* and a tenth */

struct server {
    struct server_options options;
    struct codec *codec;
    int fd;
    struct bench_error broken; /* set: no more calls */
};

/* ---- Text of many lines ---- */

bool
server_find(struct span text, const char *name, char *out_value, size_t size)
{
    size_t name_len = strlen(name);
    const char *p = (const char *)text.data;
    const char *end = p + text.len;

    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline != NULL ? newline : end;
        const char *next = newline != NULL ? newline + 1 : end;
        if (stop > p && stop[-1] == '\r')
            stop--;
        if (stop - p > 5 && memcmp(p, "STAT ", 5) == 0)
            p += 5;
        if ((size_t)(stop - p) > name_len && memcmp(p, name, name_len) == 0 &&
            (p[name_len] == ':' || p[name_len] == ' ')) {
            size_t len = (size_t)(stop - p) - name_len - 1;
            if (len >= size)
                len = size - 1;
            memcpy(out_value, p + name_len + 1, len);
            out_value[len] = '\0';
            return true;
        }
        p = next;
    }
    return false;
}

bool
server_parse_seconds(const char *text, uint64_t *out_us)
{
    uint64_t us = 0;
    unsigned digits = 0;

    for (; *text >= '0' && *text <= '9' && digits < 12; text++, digits++)
        us = us * 10 + (uint64_t)(*text - '0');
    if (digits == 0)
        return false;
    us *= 1000000;
    if (*text == '.') {
        uint64_t unit = 100000;
        for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10)
            us += (uint64_t)(*text - '0') * unit;
    }
    if (*text != '\0')
        return false;
    *out_us = us;
    return true;
}

static bool
find_number(struct span text, const char *name, uint64_t *out_number)
{
    char value[64];
    char *end = NULL;
    if (!server_find(text, name, value, sizeof(value)) || value[0] < '0' || value[0] > '9')
        return false;
    unsigned long long number = strtoull(value, &end, 10);
    *out_number = number;
    return *end == '\0';
}

static bool
find_seconds(struct span text, const char *name, uint64_t *out_us)
{
    char value[64];
    return server_find(text, name, value, sizeof(value)) && server_parse_seconds(value, out_us);
}

static bool
find_first_number(struct span text, const char *const *names, uint64_t *out_number)
{
    for (; *names != NULL; names++) {
        if (find_number(text, *names, out_number))
            return true;
    }
    return false;
}

static bool
find_first_text(struct span text, const char *const *names, char *out_value, size_t size)
{
    for (; *names != NULL; names++) {
        if (server_find(text, *names, out_value, size))
            return true;
    }
    return false;
}

/* ---- What the server says ---- */

static void
read_stats(struct span text, struct server_sample *sample)
{
    /* Names of Brindle, Redis, memcached, in this order. */
    static const char *const versions[] = { "version", "brindle_version", "redis_version",
                                            "server_version", NULL };
    static const char *const pids[] = { "process_id", "pid", NULL };
    static const char *const memories[] = { "memory_used", "memory_used_bytes", "used_memory",
                                            "bytes", NULL };
    static const char *const residents[] = { "process_rss_bytes", "used_memory_rss", NULL };
    static const char *const items[] = { "keys", "entries", "curr_items", NULL };
    static const char *const durabilities[] = { "durability", NULL };
    uint64_t user_us = 0;
    uint64_t system_us = 0;
    char value[128];

    (void)find_first_text(text, versions, sample->version, sizeof(sample->version));
    (void)find_first_number(text, pids, &sample->pid);
    sample->has_memory = find_first_number(text, memories, &sample->memory_bytes);
    sample->has_resident = find_first_number(text, residents, &sample->resident_bytes);
    sample->has_items = find_first_number(text, items, &sample->items);
    if (!sample->has_items && server_find(text, "db0", value, sizeof(value))) /* keys=N,... */
        sample->has_items = sscanf(value, "keys=%" SCNu64, &sample->items) == 1;
    if (!find_first_text(text, durabilities, sample->durability, sizeof(sample->durability)) &&
        server_find(text, "aof_enabled", value, sizeof(value)))
        snprintf(sample->durability, sizeof(sample->durability), "append-only file %s",
                 strcmp(value, "0") == 0 ? "off" : "on");

    sample->has_own_cpu = (find_number(text, "process_cpu_user_us", &user_us) &&
                           find_number(text, "process_cpu_system_us", &system_us)) ||
                          (find_seconds(text, "used_cpu_user", &user_us) &&
                           find_seconds(text, "used_cpu_sys", &system_us)) ||
                          (find_seconds(text, "rusage_user", &user_us) &&
                           find_seconds(text, "rusage_system", &system_us));
    sample->own_cpu_us = user_us + system_us;
}

static void
ask(struct server *server, struct server_sample *sample)
{
    struct request request = { .kind = REQUEST_STATS };
    struct reply reply;
    struct bench_error error;

    if (server->broken.text[0] != '\0') {
        sample->why = server->broken;
        return;
    }
    if (!driver_call(server->fd, server->codec, &request, server->options.timeout_ms, &reply,
                     &error)) {
        bench_error_set(&server->broken, "no statistics from the server: %.200s", error.text);
        sample->why = server->broken;
        return;
    }
    if (reply.kind != REPLY_HIT) {
        bench_error_set(&sample->why, "no statistics from the server: %.*s",
                        reply.value.len > 200 ? 200 : (int)reply.value.len,
                        reply.value.len == 0 ? "" : (const char *)reply.value.data);
        return;
    }
    read_stats(reply.value, sample);
}

/* ---- What the kernel says ---- */

static bool
read_ticks(uint64_t pid, uint64_t *out_us)
{
    char path[64];
    char text[1024];
    uint64_t user = 0;
    uint64_t system = 0;

    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *after_name = strrchr(text, ')'); /* a name may hold anything */
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
               &user, &system) != 2)
        return false;
    *out_us = (user + system) * (UINT64_C(1000000) / (uint64_t)sysconf(_SC_CLK_TCK));
    return true;
}

static bool
read_clock(uint64_t pid, uint64_t *out_ns)
{
    struct timespec now;
    clockid_t clock;

    if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &now) != 0)
        return false;
    *out_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    return true;
}

static bool
read_resident(uint64_t pid, uint64_t *out_bytes)
{
    char path[64];
    uint64_t pages = 0;

    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/statm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool ok = fscanf(file, "%*u %" SCNu64, &pages) == 1;
    fclose(file);
    *out_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return ok;
}

static void
look_into_proc(const struct server *server, struct server_sample *sample)
{
    bool told = server->options.pid != 0;
    uint64_t pid = told ? server->options.pid : sample->pid;
    uint64_t resident_bytes = 0;

    if (!told && !server->options.address->local) {
        bench_error_set(&sample->why, "the server is not on this machine");
        return;
    }
    if (pid == 0) {
        if (sample->why.text[0] == '\0')
            bench_error_set(&sample->why, "the server does not say its process id; give it with "
                                          "--server-pid");
        return;
    }
    if (!read_ticks(pid, &sample->proc_ticks_us)) {
        bench_error_set(&sample->why, "/proc/%" PRIu64 " cannot be read", pid);
        return;
    }
    if (!told && sample->has_own_cpu) {
        uint64_t own = sample->own_cpu_us;
        uint64_t proc = sample->proc_ticks_us;
        uint64_t apart = own > proc ? own - proc : proc - own;
        if (apart > AGREE_US + own / 10) {
            bench_error_set(&sample->why, "process %" PRIu64 " here is not the server", pid);
            return;
        }
    }
    sample->has_proc = true;
    if (read_resident(pid, &resident_bytes)) {
        sample->has_resident = true;
        sample->resident_bytes = resident_bytes;
    }
    sample->pid = pid;
    sample->has_clock = read_clock(pid, &sample->clock_ns);
}

void
server_sample(struct server *server, struct server_sample *sample)
{
    memset(sample, 0, sizeof(*sample));
    ask(server, sample);
    look_into_proc(server, sample);
}

void
server_cpu_between(const struct server_sample *before, const struct server_sample *after,
                   struct server_cpu *out_cpu)
{
    memset(out_cpu, 0, sizeof(*out_cpu));
    if (before->has_proc && after->has_proc && before->pid == after->pid) {
        if (before->has_clock && after->has_clock && after->clock_ns >= before->clock_ns) {
            out_cpu->known = true;
            out_cpu->us = (after->clock_ns - before->clock_ns) / 1000;
            out_cpu->source = "clock";
            return;
        }
        if (after->proc_ticks_us >= before->proc_ticks_us) {
            out_cpu->known = true;
            out_cpu->us = after->proc_ticks_us - before->proc_ticks_us;
            out_cpu->source = "ticks";
            return;
        }
    }
    if (before->has_own_cpu && after->has_own_cpu && after->own_cpu_us >= before->own_cpu_us) {
        out_cpu->known = true;
        out_cpu->us = after->own_cpu_us - before->own_cpu_us;
        out_cpu->source = "server";
        return;
    }
    out_cpu->why = after->why.text[0] != '\0' ? after->why : before->why;
    if (out_cpu->why.text[0] == '\0')
        bench_error_set(&out_cpu->why, "the server restarted during the run");
}

/* ---- Opening ---- */

bool
server_open(struct server **out_server, const struct server_options *options,
            struct bench_error *error)
{
    struct server *server = calloc(1, sizeof(*server));
    struct request hello = { .kind = REQUEST_HELLO };
    struct reply reply = { .kind = REPLY_DONE };

    if (server == NULL)
        return bench_error_set(error, "no memory for a connection");
    server->options = *options;
    server->fd = -1;
    bool ok = codec_create(&server->codec, options->protocol, error);
    if (ok) {
        server->fd = address_connect(options->address, options->timeout_ms, error);
        ok = server->fd >= 0;
    }
    if (ok && server->codec->ops->has_hello)
        ok = driver_call(server->fd, server->codec, &hello, options->timeout_ms, &reply, error);
    if (ok && reply.kind == REPLY_ERROR)
        ok = bench_error_set(error, "the server refuses a connection: %.*s", (int)reply.value.len,
                             (const char *)reply.value.data);
    if (!ok) {
        server_close(&server);
        return false;
    }
    *out_server = server;
    return true;
}

void
server_close(struct server **server)
{
    if (*server == NULL)
        return;
    if ((*server)->fd >= 0)
        close((*server)->fd);
    codec_destroy(&(*server)->codec);
    free(*server);
    *server = NULL;
}

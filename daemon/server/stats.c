/* What the server tells about itself: the counters of all threads summed, less
 * what they were at the last ResetStats, and a few gauges. The order of the
 * counters is that of the table below, made of the tables of counters. */
#include "server/core.h"

#include <stddef.h>
#include <stdlib.h>

enum of { OF_WORKER, OF_SESSION, OF_ACCEPTOR };

struct counter {
    const char *name;
    const char *unit;
    enum of of;
    size_t offset;
};

#define CLOSED_OFFSET offsetof(struct worker_counters, closed)
#define BY_OP_OFFSET  offsetof(struct brd_session_counters, by_op)

#define ROW_WORKER(name, unit, help) \
    { #name, unit, OF_WORKER, offsetof(struct worker_counters, name) },
#define ROW_CLOSED(NAME, name, help)               \
    { "connections_closed_" #name, "1", OF_WORKER, \
      CLOSED_OFFSET + CLOSE_##NAME * sizeof(brd_counter) },
#define ROW_SESSION(name, unit, help) \
    { #name, unit, OF_SESSION, offsetof(struct brd_session_counters, name) },
#define ROW_OP(NAME, text) \
    { "requests_" text, "1", OF_SESSION, BY_OP_OFFSET + BRD_OP_##NAME * sizeof(brd_counter) },
#define ROW_ACCEPT(name, unit, help) \
    { #name, unit, OF_ACCEPTOR, offsetof(struct accept_counters, name) },

/* clang-format off */
static const struct counter table[] = {
    WORKER_COUNTERS(ROW_WORKER)
    CLOSE_REASONS(ROW_CLOSED)
    BRD_SESSION_COUNTERS(ROW_SESSION)
    BRD_OPS(ROW_OP)
    ACCEPT_COUNTERS(ROW_ACCEPT)
};
/* clang-format on */

#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

static uint64_t
read_counter(const void *block, size_t offset)
{
    return brd_counter_get((const brd_counter *)((const char *)block + offset));
}

static uint64_t
sum(const struct brd_server *server, const struct counter *counter)
{
    uint64_t total = 0;
    uint32_t i;

    if (counter->of == OF_ACCEPTOR)
        return read_counter(&server->accept_counters, counter->offset);
    for (i = 0; i < server->options.workers; i++) {
        const struct worker *worker = &server->workers[i];

        total += read_counter(counter->of == OF_WORKER
                                  ? (const void *)&worker->counters
                                  : (const void *)brd_session_env_counters(worker->env),
                              counter->offset);
    }
    return total;
}

void
brd_server_collect_stats(void *arg, void (*emit)(void *to, const struct brd_stat *stat), void *to)
{
    struct brd_server *server = arg;
    struct brd_stat stat;
    uint64_t held = 0;
    uint64_t awaited = 0;
    uint64_t output = 0;
    uint32_t i;
    size_t k;

    if (!server->started)
        return;
    for (k = 0; k < TABLE_COUNT; k++) {
        uint64_t zero;

        brd_mutex_lock(&server->lock);
        zero = server->zero != NULL ? server->zero[k] : 0;
        brd_mutex_unlock(&server->lock);
        stat = (struct brd_stat){ .name = table[k].name,
                                  .unit = table[k].unit,
                                  .number = (int64_t)(sum(server, &table[k]) - zero),
                                  .counter = true };
        emit(to, &stat);
    }
    for (i = 0; i < server->options.workers; i++) {
        held += brd_counter_get(&server->workers[i].held_bytes);
        awaited += brd_counter_get(&server->workers[i].awaited_bytes);
        output += brd_counter_get(&server->workers[i].output_bytes);
    }
#define GAUGE(stat_name, stat_unit, value)                      \
    do {                                                        \
        stat = (struct brd_stat){ .name = (stat_name),          \
                                  .unit = (stat_unit),          \
                                  .number = (int64_t)(value) }; \
        emit(to, &stat);                                        \
    } while (0)
    GAUGE("connections", "1", brd_server_connections(server));
    GAUGE("connections_max", "1",
          atomic_load_explicit(&server->connections_max, memory_order_relaxed));
    GAUGE("workers", "1", server->options.workers);
    GAUGE("input_buffer_bytes", "bytes", held + server->options.workers * (uint64_t)WORKER_BUFFER);
    GAUGE("input_awaited_bytes", "bytes", awaited);
    GAUGE("output_buffer_bytes", "bytes", output);
#undef GAUGE
}

void
brd_server_reset_stats(void *arg)
{
    struct brd_server *server = arg;
    uint64_t *zero = malloc(TABLE_COUNT * sizeof(*zero));
    uint64_t *old;
    size_t k;

    if (!server->started || zero == NULL) {
        free(zero);
        return; /* the counters go on */
    }
    for (k = 0; k < TABLE_COUNT; k++)
        zero[k] = sum(server, &table[k]);
    brd_mutex_lock(&server->lock);
    old = server->zero;
    server->zero = zero;
    brd_mutex_unlock(&server->lock);
    free(old);
}

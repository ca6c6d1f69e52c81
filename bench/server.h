/* What the server says of itself, and what the kernel says of its process:
 * version, memory, and the CPU time that a run has cost it. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include "address.h"
#include "codec.h"

struct server;

struct server_options {
    enum protocol protocol;
    const struct address *address;
    uint64_t pid; /* 0: as the server says, if it is on this machine */
    unsigned timeout_ms;
};

struct server_sample {
    char version[64]; /* "" where unknown; so are the others if not has_ */
    char durability[64];
    uint64_t pid; /* 0: unknown */
    bool has_memory;
    uint64_t memory_bytes;
    bool has_resident; /* the kernel's word where the server is here, else its own */
    uint64_t resident_bytes;
    bool has_items;
    uint64_t items;
    bool has_own_cpu; /* the server's own report (getrusage) */
    uint64_t own_cpu_us;
    bool has_proc; /* the kernel's */
    uint64_t proc_ticks_us;
    bool has_clock; /* the kernel's, exact */
    uint64_t clock_ns;
    struct bench_error why; /* why something is missing */
};

struct server_cpu {
    bool known;
    uint64_t us;
    const char *source; /* static */
    struct bench_error why;
};

/* A connection of its own, so that it disturbs none. */
BENCH_MUST_CHECK bool server_open(struct server **out_server, const struct server_options *options,
                                  struct bench_error *error);
void server_close(struct server **server);

/* Never fails: what could not be learned is left out, and `why` says so. */
void server_sample(struct server *server, struct server_sample *sample);

/* CPU time between two samples. */
void server_cpu_between(const struct server_sample *before, const struct server_sample *after,
                        struct server_cpu *out_cpu);

/* A line "name:value", "name value" or "STAT name value" in a text of many:
 * copies the value. false: it is not there. */
bool server_find(struct span text, const char *name, char *out_value, size_t size);

/* "1.25" seconds as microseconds, or a whole number of them. */
bool server_parse_seconds(const char *text, uint64_t *out_us);

#endif

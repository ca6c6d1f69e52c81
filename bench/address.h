/* Where a server listens: HOST:PORT, [v6]:PORT, unix:PATH. */
#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include "base.h"

#include <sys/socket.h>

struct address {
    struct sockaddr_storage storage;
    socklen_t len;
    bool local; /* this machine: loopback or a Unix socket */
};

/* Names are resolved here, once; the first address is taken. */
BENCH_MUST_CHECK bool
address_resolve(struct address *address, const char *text, struct bench_error *error);

/* A connected, non-blocking socket without Nagle's delay, or -1. */
BENCH_MUST_CHECK int
address_connect(const struct address *address, unsigned timeout_ms, struct bench_error *error);

#endif

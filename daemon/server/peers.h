/* How many connections each remote address has.
 *
 * Unix sockets and loopback addresses are not counted: everything behind a
 * local proxy would be one peer. Threads: any. */
#ifndef BRD_SERVER_PEERS_H
#define BRD_SERVER_PEERS_H

#include "base/hash.h"
#include "base/lock.h"
#include "base/status.h"

#include <sys/socket.h>

/* A remote address without its port. */
struct peer {
    uint8_t address[16]; /* IPv4 mapped into IPv6; all zero: not counted */
};

struct peers;

struct peer peer_of(const struct sockaddr_storage *address);
bool peer_is_counted(const struct peer *peer);

/* NULL where memory is out. */
struct peers *peers_create(void);
void peers_destroy(struct peers **peers);

/* One connection more, where there are fewer than max (0: no limit).
 * Returns BRD_OK, BRD_LIMIT_EXCEEDED, BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
peers_add(struct peers *peers, const struct peer *peer, uint32_t max);
void peers_remove(struct peers *peers, const struct peer *peer);

#endif

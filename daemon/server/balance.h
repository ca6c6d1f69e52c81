/* Connections go to another worker where the load is lopsided.
 *
 * The acceptor gives each worker as many connections as the others, but some
 * connections are busy and most are not, and nobody knows beforehand which. */
#ifndef BRD_SERVER_BALANCE_H
#define BRD_SERVER_BALANCE_H

#include "server/server.h"

struct worker;

/* What one worker knows of all; its own thread's. */
struct balance {
    uint64_t next_ns;   /* look again then */
    uint64_t since_ns;  /* when from_ns was read; 0: not at the last look */
    uint64_t own_ns;    /* how busy it had been in all at the last look */
    uint64_t looked_ns; /* when that was */
    uint64_t *from_ns;  /* owned: the same of each worker at since_ns */
};

/* Returns BRD_OK or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status balance_init(struct balance *balance, uint32_t workers);
void balance_fini(struct balance *balance);

/* Which worker should take some of what own has, and how much: a share of its
 * busy connections in thousandths. Pure.
 *
 * busy_ns   of each of count workers in the last wall_ns; UINT64_MAX: not known.
 * Returns   an index; own where all is well. */
uint32_t balance_choose(const uint64_t *busy_ns, uint32_t count, uint32_t own, uint64_t wall_ns,
                        const struct brd_server_balance *rules, uint32_t *out_share);

/* Look, if it is time, and hand connections over. Between two rounds, when no
 * event that names a connection is left. */
void balance_check(struct worker *worker);

#endif

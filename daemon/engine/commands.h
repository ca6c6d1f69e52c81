/* One handler for each kind of request; the table is in commands.c.
 *
 * Each executes a request that has been checked, into a reply that is empty but
 * for status OK. BRD_OK: there is a reply; BRD_BUSY: the log's queue is full and
 * nothing has happened, or the request's job is under way or has a ticket. Threads:
 * the caller's. */
#ifndef BRD_ENGINE_COMMANDS_H
#define BRD_ENGINE_COMMANDS_H

#include "engine/core.h"

#define COMMAND_HANDLER(name)                                                              \
    enum brd_status command_##name(struct brd_caller *caller, struct brd_request *request, \
                                   struct brd_reply *reply)

COMMAND_HANDLER(get);
COMMAND_HANDLER(ttl);
COMMAND_HANDLER(get_many);
COMMAND_HANDLER(exists);
COMMAND_HANDLER(count);
COMMAND_HANDLER(purge);
COMMAND_HANDLER(put);
COMMAND_HANDLER(incr);
COMMAND_HANDLER(expire); /* and persist */
COMMAND_HANDLER(append);
COMMAND_HANDLER(delete);
COMMAND_HANDLER(put_many);
COMMAND_HANDLER(clear);
COMMAND_HANDLER(sync);
COMMAND_HANDLER(reset_stats);
COMMAND_HANDLER(stats);
COMMAND_HANDLER(checkpoint);

#undef COMMAND_HANDLER

#endif

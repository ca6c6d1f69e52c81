/* Replies on stdout, as text for people or as JSON for programs. */
#ifndef BRINDLE_CLI_OUTPUT_H
#define BRINDLE_CLI_OUTPUT_H

#include "cli.h"

/* Which members of a reply the text shows, where they are there. JSON always
 * shows all that are there. */
enum output_member {
    SHOW_VALUE = 1,
    SHOW_NUMBER = 2,
    SHOW_VERSION = 4,
    SHOW_TTL = 8,
    SHOW_ITEMS = 16,
    SHOW_STATS = 32,
    SHOW_OK = 64, /* the word OK, where nothing else tells */
    SHOW_CHECKPOINT = 128,
};

/* Print a reply; complain on stderr where it is not BRD_OK.
 *
 * context   the verb, for complaints.
 * status    what the call returned; the reply itself is in cli->result.
 * keys      of a getmany, for its items; else NULL.
 * Returns   OUTCOME_DONE, OUTCOME_NOT_FOUND, OUTCOME_FAILED. */
enum outcome output_reply(const struct cli *cli, const char *context, enum brd_status status,
                          unsigned members, const struct brd_bytes *keys);

/* The bytes of the value and nothing else; complaints as above. */
enum outcome output_raw(const struct cli *cli, const char *context, enum brd_status status);

/* The answer to a ping: how long it took. */
enum outcome
output_ping(const struct cli *cli, const char *context, enum brd_status status, double seconds);

/* What the server says of itself. */
enum outcome output_hello(const struct cli *cli, const struct brd_server_info *hello);

/* A failure without a reply, such as no connection: for JSON only, since the
 * complaint is elsewhere. */
void output_failure(const struct cli *cli, enum brd_status status, const char *message);

/* Push out what has been printed. False: it could not be written; complains. */
bool output_flush(void);

#endif

/* What all parts of the command line tool share. */
#ifndef BRINDLE_CLI_CLI_H
#define BRINDLE_CLI_CLI_H

#include <brindle.h>

/* What a command came to, and the exit status of the program. */
enum outcome {
    OUTCOME_DONE = 0,
    OUTCOME_FAILED = 1,    /* a condition that was not met is this, too */
    OUTCOME_NOT_FOUND = 2, /* no live key */
    OUTCOME_USAGE = 64,    /* not understood; nothing was sent */
};

enum format { FORMAT_TEXT, FORMAT_JSON };

/* One run of the program. */
struct cli {
    const char *address; /* NULL: the library's choice */
    const char *name_space;
    uint32_t timeout_ms; /* 0: the library's choice */
    enum format format;
    bool stdin_has_commands; /* then no value can be read from there */
    bool stdout_is_terminal;
    struct brd_client *client; /* owned; NULL until it is needed */
    struct brd_result *result; /* owned; the same */
};

/* "brindle: CONTEXT: message" on stderr; context may be NULL. */
void
cli_complain(const char *context, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Connect if there is no connection yet. Complains. */
enum outcome cli_connect(struct cli *cli, const char *context);

void cli_fini(struct cli *cli);

#endif

/* The table of verbs. Running, usage, help and completion derive from it. */
#ifndef BRINDLE_CLI_VERBS_H
#define BRINDLE_CLI_VERBS_H

#include "args.h"
#include "cli.h"

#define OPERANDS_ANY SIZE_MAX

struct verb {
    const char *name;
    const char *operands; /* for the usage line */
    size_t min, max;      /* how many operands; max may be OPERANDS_ANY */
    unsigned options;     /* ARG_BIT of those it knows; --help is always known */
    const char *summary;  /* half a line */
    const char *details;  /* whole sentences; may be NULL */
    enum outcome (*run)(struct cli *cli, struct args *args);
};

extern const struct verb verbs[];
extern const size_t verb_count;

/* NULL: there is none of this name. */
const struct verb *verb_find(const char *name);

/* Run one command: the verb and what follows it. Complains on stderr. */
enum outcome verb_run(struct cli *cli, const struct brd_bytes *words, size_t count);

/* Help on stdout: all verbs, or one. */
void verb_print_all(void);
void verb_print_help(const struct verb *verb);

#endif

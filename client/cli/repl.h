/* Commands from standard input: typed at a terminal, or one on each line of a
 * pipe or file. */
#ifndef BRINDLE_CLI_REPL_H
#define BRINDLE_CLI_REPL_H

#include "cli.h"

/* With editing, history and completion, until quit or end of input. The outcome
 * is OUTCOME_DONE, whatever the commands came to: a person has seen it. */
enum outcome repl_interactive(struct cli *cli);

/* Every line is run, also after failures. The outcome is the worst of all:
 * OUTCOME_USAGE, then OUTCOME_FAILED, then OUTCOME_NOT_FOUND. */
enum outcome repl_lines(struct cli *cli);

#endif

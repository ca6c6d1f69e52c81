/* Commands from standard input: see repl.h.
 *
 * libedit keeps the terminal and its state for itself; we give it a prompt, the
 * verbs to complete, and lines to remember. The history is kept in $HOME, readable
 * by nobody else since it holds keys and values; BRINDLE_HISTORY names another
 * file, or none where it is empty. */
#include "repl.h"

#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "output.h"
#include "verbs.h"

#define HISTORY_LINES_MAX 1000
#define HISTORY_FILE      ".brindle_history"

static bool
is_quit(const struct words *words)
{
    const char *word = words->count == 1 ? words->list[0].data : "";

    return strcmp(word, "quit") == 0 || strcmp(word, "exit") == 0;
}

/* Run one line. *quit becomes true where it asks for the end. */
static enum outcome
run_line(struct cli *cli, struct brd_bytes line, bool *quit)
{
    struct words words;
    const char *error;
    enum outcome outcome = OUTCOME_DONE;

    if (words_split(line, &words, &error) != BRD_OK) {
        cli_complain(NULL, "%s", error);
        return OUTCOME_USAGE;
    }
    if (is_quit(&words))
        *quit = true;
    else if (words.count != 0)
        outcome = verb_run(cli, words.list, words.count);
    words_fini(&words);
    if (!output_flush() && outcome == OUTCOME_DONE)
        outcome = OUTCOME_FAILED;
    return outcome;
}

/* ---- From a pipe -------------------------------------------------------- */

static enum outcome
worse(enum outcome a, enum outcome b)
{
    static const enum outcome order[] = { OUTCOME_USAGE, OUTCOME_FAILED, OUTCOME_NOT_FOUND };
    size_t i;

    for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (a == order[i] || b == order[i])
            return order[i];
    }
    return OUTCOME_DONE;
}

enum outcome
repl_lines(struct cli *cli)
{
    enum outcome outcome = OUTCOME_DONE;
    char *line = NULL;
    size_t capacity = 0;
    bool quit = false;
    ssize_t size;

    cli->stdin_has_commands = true;
    while (!quit && (size = getline(&line, &capacity, stdin)) >= 0)
        outcome = worse(outcome, run_line(cli, brd_bytes(line, (size_t)size), &quit));
    if (ferror(stdin)) {
        cli_complain(NULL, "standard input cannot be read");
        outcome = worse(outcome, OUTCOME_FAILED);
    }
    free(line);
    return outcome;
}

/* ---- At a terminal ------------------------------------------------------ */

/* The next verb that starts so; state is 0 for the first call. */
static char *
next_verb(const char *text, int state)
{
    static size_t at; /* libedit gives us nowhere else to keep it */

    if (state == 0)
        at = 0;
    while (at < verb_count) {
        const char *name = verbs[at++].name;

        if (strncmp(name, text, strlen(text)) == 0)
            return strdup(name);
    }
    return NULL;
}

/* Verbs are completed where a verb stands: first, and after help. */
static char **
complete(const char *text, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1; /* never file names */
    if (start == 0 || (start == 5 && strncmp(rl_line_buffer, "help ", 5) == 0))
        return rl_completion_matches(text, next_verb);
    return NULL;
}

/* Where the history is kept. False: nowhere. */
static bool
history_path(char *path, size_t size)
{
    const char *chosen = getenv("BRINDLE_HISTORY");
    const char *home = getenv("HOME");
    int length;

    if (chosen != NULL)
        length = snprintf(path, size, "%s", chosen);
    else if (home != NULL && home[0] == '/')
        length = snprintf(path, size, "%s/" HISTORY_FILE, home);
    else
        return false;
    return length > 0 && (size_t)length < size;
}

static void
save_history(const char *path)
{
    mode_t before = umask(S_IRWXG | S_IRWXO);

    (void)write_history(path); /* a history that cannot be kept is no failure */
    umask(before);
    (void)chmod(path, S_IRUSR | S_IWUSR);
}

enum outcome
repl_interactive(struct cli *cli)
{
    char prompt[BRD_ADDRESS_BYTES_MAX + 8];
    char path[4096];
    bool has_path = history_path(path, sizeof(path));
    bool quit = false;

    if (cli_connect(cli, NULL) != OUTCOME_DONE)
        return OUTCOME_FAILED;
    cli->stdin_has_commands = true;
    snprintf(prompt, sizeof(prompt), "%.60s> ", brd_client_address(cli->client));
    rl_readline_name = "brindle";
    rl_attempted_completion_function = complete;
    using_history();
    stifle_history(HISTORY_LINES_MAX);
    if (has_path)
        (void)read_history(path);
    while (!quit) {
        char *line = readline(prompt);

        if (line == NULL) {
            putchar('\n');
            break;
        }
        if (line[0] != '\0')
            add_history(line);
        if (line[0] != '\0' && has_path)
            save_history(path); /* now: Ctrl-C or a closed terminal may be the end */
        (void)run_line(cli, brd_bytes_of(line), &quit);
        free(line);
    }
    return OUTCOME_DONE;
}

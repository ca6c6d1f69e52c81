/* What the files of brindle-wal share: the arguments, and how a command ends. */
#ifndef BRD_TOOLS_WAL_TOOL_H
#define BRD_TOOLS_WAL_TOOL_H

#include "files.h"
#include "filter.h"
#include "print.h"

/* Exit statuses. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_DAMAGED = 3,
    EXIT_WRONG_KEY = 4, /* as of brindled */
    EXIT_TOO_EARLY = 5,
};

struct tool {
    struct print print;
    struct filter filter;     /* owned */
    const char *key_file;     /* NULL: none */
    struct brd_keyring *keys; /* owned; NULL: none */
    const char *command;
    const char *operands[2];
    int operand_count;
    bool records_only;
    bool snapshot;
    bool yes;
    bool to_given;
    bool force;
};

/* The commands; each returns an exit status. */
int look_dump(struct tool *tool);
int look_verify(struct tool *tool);
int look_stat(struct tool *tool);
int repair_run(struct tool *tool);
int recover_run(struct tool *tool);
int backup_run(struct tool *tool);
int restore_run(struct tool *tool);

/* Say what went wrong, on stderr (and in JSON). Returns the exit status. */
int tool_fail(const struct tool *tool, enum brd_status status, const struct brd_wal_error *error);

/* The same for what no library says. */
int tool_complain(const struct tool *tool, enum brd_status status, const char *path,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same for a failed disk call: "cannot ACTION PATH: REASON". */
int tool_fail_io(const struct tool *tool, int result, const char *action, const char *path);

/* The same for files_place_take. */
int tool_fail_place(const struct tool *tool, const struct files_place *place, int result,
                    const char *dir);

/* Write out what was printed. A reader that went away is no failure. */
int tool_end(const struct tool *tool);

/* Nobody reads any more: a visit may end. */
bool tool_is_deaf(const struct tool *tool);

#endif

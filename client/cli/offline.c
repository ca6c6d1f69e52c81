/* The verbs that need no server but the files of one: they run brindle-wal, which lies beside
 * this program or is found in $PATH. It does the work, because it knows the files; what it
 * prints goes where ours goes. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "output.h"

#define TOOL           "brindle-wal"
#define TOOL_USAGE     2
#define ARGV_MAX       12
#define TOOL_PATH_MAX  4096
#define DATA_DIR       "./brindle-data"
#define DATA_DIR_GIVEN "BRINDLE_DATA_DIR"
#define KEY_FILE_GIVEN "BRINDLE_KEY_FILE"

extern char **environ;

/* Where it lies beside this program, or only its name. */
static void
find_tool(char path[TOOL_PATH_MAX])
{
    ssize_t size = readlink("/proc/self/exe", path, TOOL_PATH_MAX - sizeof(TOOL) - 1);

    while (size > 0 && path[size - 1] != '/')
        size--;
    if (size > 0) {
        memcpy(path + size, TOOL, sizeof(TOOL));
        if (access(path, X_OK) == 0)
            return;
    }
    memcpy(path, TOOL, sizeof(TOOL));
}

/* argv[0] is the name to be found. */
static enum outcome
run_tool(const char *context, char *const *argv)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    int error = posix_spawn_file_actions_init(&actions);

    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", 0, 0);
    if (error == 0) {
        (void)output_flush();
        error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (error != 0) {
        cli_complain(context,
                     "cannot run " TOOL ": %s; it comes with the server, and has to lie beside "
                     "this program or in $PATH",
                     strerror(error));
        return OUTCOME_FAILED;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return OUTCOME_FAILED;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return OUTCOME_DONE;
    return WIFEXITED(status) && WEXITSTATUS(status) == TOOL_USAGE ? OUTCOME_USAGE : OUTCOME_FAILED;
}

/* Of the option, or what the server is told too; NULL: none. */
static const char *
key_file(const struct args *args)
{
    const char *path =
        args->given[ARG_KEY_FILE] ? args->values[ARG_KEY_FILE] : getenv(KEY_FILE_GIVEN);

    return path == NULL || path[0] == '\0' || strcmp(path, "none") == 0 ? NULL : path;
}

/* brindle-wal COMMAND [--format json] [OPTION] [--key-file FILE] -- A B */
static enum outcome
run(struct cli *cli, struct args *args, const char *option, const char *a, const char *b)
{
    char path[TOOL_PATH_MAX];
    const char *words[ARGV_MAX] = { path, args->verb };
    size_t count = 2;

    find_tool(path);
    if (cli->format == FORMAT_JSON)
        words[count++] = "--format=json";
    if (option != NULL)
        words[count++] = option;
    if (key_file(args) != NULL) {
        words[count++] = "--key-file";
        words[count++] = key_file(args);
    }
    words[count++] = "--";
    words[count++] = a;
    words[count++] = b;
    words[count] = NULL;
    return run_tool(args->verb, (char *const *)(uintptr_t)words);
}

enum outcome
command_backup(struct cli *cli, struct args *args)
{
    const char *dir = getenv(DATA_DIR_GIVEN);

    if (args->given[ARG_DATA_DIR])
        dir = args->values[ARG_DATA_DIR];
    else if (dir == NULL || dir[0] == '\0')
        dir = DATA_DIR;
    return run(cli, args, NULL, dir, args->operands[0].data);
}

enum outcome
command_restore(struct cli *cli, struct args *args)
{
    return run(cli, args, args->given[ARG_FORCE] ? "--force" : NULL, args->operands[0].data,
               args->operands[1].data);
}

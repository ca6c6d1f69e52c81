/* What the verbs do; each is an entry of the table in verbs.c. */
#ifndef BRINDLE_CLI_COMMANDS_H
#define BRINDLE_CLI_COMMANDS_H

#include "args.h"
#include "cli.h"

enum outcome command_ping(struct cli *cli, struct args *args);
enum outcome command_hello(struct cli *cli, struct args *args);
enum outcome command_get(struct cli *cli, struct args *args);
enum outcome command_put(struct cli *cli, struct args *args);
enum outcome command_delete(struct cli *cli, struct args *args);
enum outcome command_exists(struct cli *cli, struct args *args);
enum outcome command_getmany(struct cli *cli, struct args *args);
enum outcome command_putmany(struct cli *cli, struct args *args);
enum outcome command_ttl(struct cli *cli, struct args *args);
enum outcome command_expire(struct cli *cli, struct args *args);
enum outcome command_persist(struct cli *cli, struct args *args);
enum outcome command_incr(struct cli *cli, struct args *args);
enum outcome command_append(struct cli *cli, struct args *args);
enum outcome command_count(struct cli *cli, struct args *args);
enum outcome command_clear(struct cli *cli, struct args *args);
enum outcome command_purge(struct cli *cli, struct args *args);
enum outcome command_sync(struct cli *cli, struct args *args);
enum outcome command_checkpoint(struct cli *cli, struct args *args);
enum outcome command_stats(struct cli *cli, struct args *args);
enum outcome command_resetstats(struct cli *cli, struct args *args);
enum outcome command_backup(struct cli *cli, struct args *args);
enum outcome command_restore(struct cli *cli, struct args *args);
enum outcome command_help(struct cli *cli, struct args *args);

#endif

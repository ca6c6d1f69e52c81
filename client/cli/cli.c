/* The connection of one run, and complaints. A connection is made by the first
 * command that needs one, so that help and mistakes need no server. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>

#include "output.h"

static const char advice[] =
    "is brindled running there? Choose another address with --connect or $" BRD_ADDRESS_VARIABLE;

void
cli_complain(const char *context, const char *format, ...)
{
    va_list arguments;

    fflush(stdout); /* keep the order where both go to one place */
    fputs("brindle: ", stderr);
    if (context != NULL)
        fprintf(stderr, "%s: ", context);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

enum outcome
cli_connect(struct cli *cli, const char *context)
{
    char error[BRD_ERROR_BYTES_MAX] = "";
    struct brd_client_options opts = { .size = sizeof(opts),
                                       .address = cli->address,
                                       .client_name = "brindle",
                                       .namespace_name = cli->name_space,
                                       .timeout_ms = cli->timeout_ms,
                                       .connect_timeout_ms = cli->timeout_ms,
                                       .error = error,
                                       .error_size = sizeof(error) };
    enum brd_status status = BRD_OK;

    if (cli->result == NULL)
        status = brd_result_create(&cli->result);
    if (status == BRD_OK && cli->client == NULL)
        status = brd_client_open(&opts, &cli->client);
    if (status == BRD_OK)
        return OUTCOME_DONE;
    if (error[0] == '\0')
        snprintf(error, sizeof(error), "%s", brd_status_text(status));
    output_failure(cli, status, error);
    cli_complain(context, "%s (%s)", error, brd_status_name(status));
    if (status == BRD_CONNECTION_FAILED || status == BRD_TIMEOUT)
        cli_complain(context, "%s", advice);
    return status == BRD_INVALID_ARGUMENT ? OUTCOME_USAGE : OUTCOME_FAILED;
}

void
cli_fini(struct cli *cli)
{
    brd_client_close(&cli->client);
    brd_result_destroy(&cli->result);
}

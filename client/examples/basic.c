/* The blocking client: put, get, a condition, a counter, a time to live.
 *
 *     basic [ADDRESS]
 *
 * Returns 0 if everything went as it should. */
#include <brindle.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Print why the last call failed. */
static int
complain(const char *what, const struct brd_client *client)
{
    fprintf(stderr, "basic: %s: %s\n", what, brd_client_error(client));
    return EXIT_FAILURE;
}

static int
use(struct brd_client *client, struct brd_result *result)
{
    const struct brd_reply *reply = brd_result_reply(result); /* of each call in turn */
    struct brd_bytes key = brd_bytes_of("example:greeting");
    struct brd_bytes counter = brd_bytes_of("example:counter");
    struct brd_put_options opts;
    enum brd_status status;

    if (brd_client_put(client, key, brd_bytes_of("hello"), NULL, result) != BRD_OK)
        return complain("put", client);
    printf("put %s as version %" PRIu64 "\n", "example:greeting", reply->version);

    if (brd_client_get(client, key, result) != BRD_OK)
        return complain("get", client);
    printf("get: %.*s\n", (int)reply->value.size, (const char *)reply->value.data);

    /* Replace it only if nobody else has, and let it expire. */
    BRD_OPTIONS_INIT(&opts);
    opts.condition = BRD_IF_VERSION;
    opts.if_version = reply->version;
    opts.ttl_ms = 60 * 1000;
    if (brd_client_put(client, key, brd_bytes_of("good-bye"), &opts, result) != BRD_OK)
        return complain("conditional put", client);
    status = brd_client_put(client, key, brd_bytes_of("too late"), &opts, result);
    printf("the same condition again: %s\n", brd_status_name(status));
    if (status != BRD_VERSION_MISMATCH)
        return complain("second conditional put", client);

    if (brd_client_ttl(client, key, result) != BRD_OK || !reply->has_ttl)
        return complain("ttl", client);
    printf("expires in about %" PRIu64 " s\n", (reply->ttl_ms + 999) / 1000);

    if (brd_client_incr(client, counter, 5, NULL, result) != BRD_OK)
        return complain("incr", client);
    printf("counter: %" PRId64 "\n", reply->number);

    if (brd_client_delete(client, (struct brd_bytes[]){ key, counter }, 2, NULL, result) != BRD_OK)
        return complain("delete", client);
    printf("deleted %" PRId64 " keys\n", reply->number);

    status = brd_client_get(client, key, result);
    printf("get: %s\n", brd_status_name(status));
    return status == BRD_NOT_FOUND ? EXIT_SUCCESS : complain("get after delete", client);
}

int
main(int argc, char **argv)
{
    char error[BRD_ERROR_BYTES_MAX];
    struct brd_client_options opts = { .size = sizeof(opts),
                                       .address = argc > 1 ? argv[1] : NULL,
                                       .client_name = "example basic",
                                       .error = error,
                                       .error_size = sizeof(error) };
    struct brd_client *client;
    struct brd_result *result;
    int exit_status;

    if (brd_client_open(&opts, &client) != BRD_OK) {
        fprintf(stderr, "basic: %s\n", error);
        return EXIT_FAILURE;
    }
    if (brd_result_create(&result) != BRD_OK) {
        brd_client_close(&client);
        return EXIT_FAILURE;
    }
    exit_status = use(client, result);
    brd_result_destroy(&result);
    brd_client_close(&client);
    return exit_status;
}

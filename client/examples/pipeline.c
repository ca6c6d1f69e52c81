/* A pipeline: many requests in one round trip.
 *
 *     pipeline [ADDRESS]
 *
 * Stores some keys, reads them back, deletes them; each step is one round trip.
 * Returns 0 if everything went as it should. */
#include <brindle.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS 1000

static struct brd_bytes
key_of(int i, char *text, size_t size)
{
    snprintf(text, size, "example:pipeline:%d", i);
    return brd_bytes_of(text);
}

/* Run what has been added; all of it must have succeeded. */
static bool
run(struct brd_pipeline *pipeline, struct brd_client *client)
{
    size_t i;

    if (brd_pipeline_run(pipeline, client, 0) != BRD_OK) {
        fprintf(stderr, "pipeline: %s\n", brd_client_error(client));
        return false;
    }
    for (i = 0; i < brd_pipeline_size(pipeline); i++) {
        const struct brd_reply *reply = brd_pipeline_reply(pipeline, i);

        if (reply->status != BRD_OK) {
            fprintf(stderr, "pipeline: request %zu: %s\n", i, brd_status_text(reply->status));
            return false;
        }
    }
    return true;
}

static bool
store_keys(struct brd_pipeline *pipeline, struct brd_client *client)
{
    char key[64];
    char value[64];
    int i;

    for (i = 0; i < KEYS; i++) {
        snprintf(value, sizeof(value), "%d squared is %d", i, i * i);
        if (brd_pipeline_put(pipeline, key_of(i, key, sizeof(key)), brd_bytes_of(value), NULL,
                             NULL) != BRD_OK)
            return false;
    }
    return run(pipeline, client);
}

static bool
read_keys(struct brd_pipeline *pipeline, struct brd_client *client)
{
    const struct brd_reply *reply;
    char key[64];
    int i;

    brd_pipeline_reset(pipeline);
    for (i = 0; i < KEYS; i++) {
        if (brd_pipeline_get(pipeline, key_of(i, key, sizeof(key)), NULL) != BRD_OK)
            return false;
    }
    if (!run(pipeline, client))
        return false;
    reply = brd_pipeline_reply(pipeline, 12);
    printf("%.*s\n", (int)reply->value.size, (const char *)reply->value.data);
    return true;
}

static bool
delete_keys(struct brd_pipeline *pipeline, struct brd_client *client)
{
    char key[64];
    int64_t deleted = 0;
    size_t i;

    brd_pipeline_reset(pipeline);
    for (i = 0; i < KEYS; i++) {
        struct brd_bytes one = key_of((int)i, key, sizeof(key));

        if (brd_pipeline_delete(pipeline, &one, 1, NULL, NULL) != BRD_OK)
            return false;
    }
    if (!run(pipeline, client))
        return false;
    for (i = 0; i < KEYS; i++)
        deleted += brd_pipeline_reply(pipeline, i)->number;
    printf("deleted %" PRId64 " keys\n", deleted);
    return deleted == KEYS;
}

int
main(int argc, char **argv)
{
    char error[BRD_ERROR_BYTES_MAX];
    struct brd_client_options opts = { .size = sizeof(opts),
                                       .address = argc > 1 ? argv[1] : NULL,
                                       .error = error,
                                       .error_size = sizeof(error) };
    struct brd_client *client;
    struct brd_pipeline *pipeline;
    bool good;

    if (brd_client_open(&opts, &client) != BRD_OK) {
        fprintf(stderr, "pipeline: %s\n", error);
        return EXIT_FAILURE;
    }
    if (brd_pipeline_create(NULL, &pipeline) != BRD_OK) {
        brd_client_close(&client);
        return EXIT_FAILURE;
    }
    good = store_keys(pipeline, client) && read_keys(pipeline, client) &&
           delete_keys(pipeline, client);
    brd_pipeline_destroy(&pipeline);
    brd_client_close(&client);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

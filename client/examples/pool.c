/* A pool: threads that share a few connections.
 *
 *     pool [ADDRESS]
 *
 * Eight threads count to a thousand each, over three connections.
 * Returns 0 if the sum is right. */
#include <brindle.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 8
#define STEPS   1000

static const char counter[] = "example:pool:counter";

/* Counts up; returns NULL if all went well. */
static void *
count_up(void *argument)
{
    struct brd_pool *pool = argument;
    int i;

    for (i = 0; i < STEPS; i++) {
        struct brd_client *client;
        enum brd_status status = brd_pool_acquire(pool, 0, &client);

        if (status != BRD_OK) {
            char error[BRD_ERROR_BYTES_MAX];

            brd_pool_error(pool, error, sizeof(error));
            fprintf(stderr, "pool: no connection: %s\n", error);
            return argument;
        }
        status = brd_client_incr(client, brd_bytes_of(counter), 1, NULL, NULL);
        if (status != BRD_OK)
            fprintf(stderr, "pool: incr: %s\n", brd_client_error(client));
        brd_pool_release(pool, &client);
        if (status != BRD_OK)
            return argument;
    }
    return NULL;
}

/* The counter's value, which is deleted; -1 if there is none. */
static int64_t
take_sum(struct brd_pool *pool)
{
    struct brd_client *client = NULL;
    struct brd_result *result = NULL;
    struct brd_bytes key = brd_bytes_of(counter);
    int64_t sum = -1;

    if (brd_pool_acquire(pool, 0, &client) == BRD_OK && brd_result_create(&result) == BRD_OK &&
        brd_client_incr(client, key, 0, NULL, result) == BRD_OK) {
        sum = brd_result_reply(result)->number;
        (void)brd_client_delete(client, &key, 1, NULL, NULL);
    }
    brd_result_destroy(&result);
    brd_pool_release(pool, &client);
    return sum;
}

int
main(int argc, char **argv)
{
    char error[BRD_ERROR_BYTES_MAX] = "";
    struct brd_client_options client = { .size = sizeof(client),
                                         .address = argc > 1 ? argv[1] : NULL,
                                         .error = error,
                                         .error_size = sizeof(error) };
    struct brd_pool_options opts = { .size = sizeof(opts),
                                     .client = &client,
                                     .connections_max = 3 };
    struct brd_pool *pool;
    pthread_t threads[THREADS];
    void *failed = NULL;
    int64_t sum;
    int started = 0;

    if (brd_pool_open(&opts, &pool) != BRD_OK) {
        fprintf(stderr, "pool: %s\n", error);
        return EXIT_FAILURE;
    }
    (void)take_sum(pool); /* from an earlier run */
    while (started < THREADS && pthread_create(&threads[started], NULL, count_up, pool) == 0)
        started++;
    for (int i = 0; i < started; i++) {
        void *outcome;

        pthread_join(threads[i], &outcome);
        if (outcome != NULL)
            failed = outcome;
    }
    sum = take_sum(pool);
    printf("%d threads counted to %" PRId64 "\n", started, sum);
    brd_pool_close(&pool);
    return failed == NULL && sum == (int64_t)started * STEPS ? EXIT_SUCCESS : EXIT_FAILURE;
}

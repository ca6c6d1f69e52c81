/* Nobody knows when the last thread has let go of a ring that was replaced, so all of
 * them are kept until the end: some hundred bytes for each change of the keys. */
#include "key_file.h"

#include <stdio.h>
#include <stdlib.h>

static enum brd_status
no_memory(struct config_error *error)
{
    snprintf(error->text, sizeof(error->text), "not enough memory for the keys");
    return BRD_OUT_OF_MEMORY;
}

/* *out_ring NULL: the configuration names no file. */
static enum brd_status
read_ring(const struct config *config, struct brd_keyring **out_ring, struct config_error *error)
{
    const char *path = config_key_file(config);
    const char *where = config->where[CONFIG_KEY_FILE];
    enum brd_status status;
    char text[768];

    *out_ring = NULL;
    if (path == NULL)
        return BRD_OK;
    status = brd_keyring_load(path, out_ring, text, sizeof(text));
    if (status == BRD_OK)
        return BRD_OK;
    if (status == BRD_OUT_OF_MEMORY)
        return no_memory(error);
    snprintf(error->text, sizeof(error->text), "%s: %s", where != NULL ? where : "key-file", text);
    return BRD_INVALID_ARGUMENT;
}

const struct brd_keyring *
key_file_ring(const struct key_rings *keys)
{
    return keys->count > 0 ? keys->rings[keys->count - 1] : NULL;
}

/* Room for one more; nothing can fail after it. */
static enum brd_status
make_room(struct key_rings *keys, struct config_error *error)
{
    struct brd_keyring **rings =
        realloc(keys->rings, (keys->count + 1) * sizeof(struct brd_keyring *));

    if (rings == NULL)
        return no_memory(error);
    keys->rings = rings;
    return BRD_OK;
}

enum brd_status
key_file_load(struct key_rings *keys, const struct config *config, struct config_error *error)
{
    enum brd_status status = make_room(keys, error);
    struct brd_keyring *ring = NULL;

    if (status == BRD_OK)
        status = read_ring(config, &ring, error);
    if (status == BRD_OK)
        keys->rings[keys->count++] = ring;
    return status;
}

enum brd_status
key_file_reload(struct key_rings *keys, const struct config *fresh, struct brd_engine *engine,
                struct config_error *error)
{
    struct brd_engine_error engine_error = { .text = "" };
    enum brd_status status = make_room(keys, error);
    struct brd_keyring *ring = NULL;

    if (status == BRD_OK)
        status = read_ring(fresh, &ring, error);
    if (status != BRD_OK || brd_keyring_same(ring, key_file_ring(keys))) {
        brd_keyring_close(&ring);
        return status;
    }
    status = brd_engine_set_keys(engine, ring, &engine_error);
    if (status != BRD_OK) {
        snprintf(error->text, sizeof(error->text), "the keys: %.900s", engine_error.text);
        brd_keyring_close(&ring);
        return status;
    }
    keys->rings[keys->count++] = ring;
    return BRD_OK;
}

void
key_file_close(struct key_rings *keys)
{
    while (keys->count > 0)
        brd_keyring_close(&keys->rings[--keys->count]);
    free(keys->rings);
    *keys = (struct key_rings){ .rings = NULL };
}

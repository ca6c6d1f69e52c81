/* The configuration file: any bytes are either read or refused with a sentence,
 * and what was read prints as a file that reads as the same. */
#include "base/check.h"
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static char *no_environment[] = { NULL };

/* Reads and finishes; addresses are left out, because names would be looked up. */
static bool
read_config(struct config *config, struct brd_bytes text)
{
    struct config_error error = { .text = "" };
    enum brd_status status = config_init(config, &error);

    BRD_CHECK(status == BRD_OK);
    status = config_read_text(config, "fuzz", text, &error);
    if (status == BRD_OK &&
        (config->where[CONFIG_LISTEN] != NULL || config->where[CONFIG_RESP_LISTEN] != NULL ||
         config->where[CONFIG_HTTP_LISTEN] != NULL))
        return false;
    if (status == BRD_OK)
        status = config_finish(config, no_environment, &error);
    BRD_CHECK(status == BRD_OK || strlen(error.text) > 10);
    return status == BRD_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config first;
    struct config second;
    struct brd_buf printed;
    struct brd_buf again;

    if (!read_config(&first, brd_bytes(data, size))) {
        config_fini(&first);
        return 0;
    }
    brd_buf_init(&printed);
    brd_buf_init(&again);
    config_print(&first, &printed);
    /* The printed default of listen counts as said; do without it. */
    BRD_CHECK(config_init(&second, &(struct config_error){ .text = "" }) == BRD_OK);
    BRD_CHECK(config_read_text(&second, "printed", brd_buf_bytes(&printed),
                               &(struct config_error){ .text = "" }) == BRD_OK);
    BRD_CHECK(memcmp(first.number, second.number, sizeof(first.number)) == 0);
    config_print(&second, &again);
    BRD_CHECK(brd_bytes_equal(brd_buf_bytes(&printed), brd_buf_bytes(&again)));
    brd_buf_fini(&printed);
    brd_buf_fini(&again);
    config_fini(&first);
    config_fini(&second);
    return 0;
}

/* "HOST:PORT", "[v6]:PORT" and "unix:PATH". Pure, but for one look at the
 * environment. */
#ifndef BRINDLE_CLIENT_ADDRESS_H
#define BRINDLE_CLIENT_ADDRESS_H

#include <brindle.h>

#define ADDRESS_PORT_BYTES_MAX 6 /* "65535" and its NUL */

struct address {
    bool is_unix;
    char host[BRD_ADDRESS_BYTES_MAX]; /* the path where is_unix */
    char port[ADDRESS_PORT_BYTES_MAX];
    char text[BRD_ADDRESS_BYTES_MAX]; /* as it was given */
};

/* Take an address apart.
 *
 * text       NULL: the environment's, then the default.
 * out_error  written on failure: what is wrong with it (static).
 * Returns    BRD_OK, BRD_INVALID_ARGUMENT. */
enum brd_status
address_parse(const char *text, struct address *out_address, const char **out_error);

#endif

/* Addresses: see address.h. The environment is foreign too: what is found there is
 * checked like everything else. */
#include "address.h"

#include <stdlib.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"
#define PORT_MAX    65535

static enum brd_status
refuse(const char *why, const char **out_error)
{
    *out_error = why;
    return BRD_INVALID_ARGUMENT;
}

static bool
is_port(const char *text)
{
    unsigned port = 0;
    size_t i;

    for (i = 0; text[i] != '\0'; i++) {
        if (text[i] < '0' || text[i] > '9' || i >= ADDRESS_PORT_BYTES_MAX - 1)
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port >= 1 && port <= PORT_MAX;
}

static enum brd_status
parse_unix(const char *path, struct address *address, const char **out_error)
{
    if (path[0] == '\0')
        return refuse("write unix:PATH with a path", out_error);
    if (path[0] == '@') /* elsewhere the abstract namespace; here it would be a file */
        return refuse("abstract sockets are not supported; write unix:./@NAME for a file named "
                      "@NAME",
                      out_error);
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return refuse("the path of a unix socket is at most 107 bytes long", out_error);
    address->is_unix = true;
    memcpy(address->host, path, strlen(path) + 1);
    return BRD_OK;
}

enum brd_status
address_parse(const char *text, struct address *out_address, const char **out_error)
{
    struct address address = { .is_unix = false };
    const char *host;
    const char *colon;
    size_t host_size;

    if (text == NULL)
        text = getenv(BRD_ADDRESS_VARIABLE);
    if (text == NULL || text[0] == '\0')
        text = BRD_ADDRESS_DEFAULT;
    if (strlen(text) >= sizeof(address.text))
        return refuse("the address is longer than 1023 bytes", out_error);
    memcpy(address.text, text, strlen(text) + 1);

    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        enum brd_status status = parse_unix(text + strlen(UNIX_PREFIX), &address, out_error);

        if (status == BRD_OK)
            *out_address = address;
        return status;
    }
    host = text;
    colon = strrchr(text, ':');
    if (text[0] == '[') {
        const char *bracket = strchr(text, ']');

        if (bracket == NULL || bracket[1] != ':')
            return refuse("write an IPv6 address as [ADDRESS]:PORT", out_error);
        host = text + 1;
        colon = bracket + 1;
        host_size = (size_t)(bracket - host);
    } else {
        if (colon == NULL)
            return refuse("write it as HOST:PORT, [v6]:PORT or unix:PATH", out_error);
        host_size = (size_t)(colon - host);
        if (memchr(host, ':', host_size) != NULL)
            return refuse("write an IPv6 address as [ADDRESS]:PORT", out_error);
    }
    if (host_size == 0)
        return refuse("write it as HOST:PORT with a host", out_error);
    if (!is_port(colon + 1))
        return refuse("the port is a number from 1 to 65535", out_error);
    memcpy(address.host, host, host_size);
    address.host[host_size] = '\0';
    memcpy(address.port, colon + 1, strlen(colon + 1) + 1);
    *out_address = address;
    return BRD_OK;
}

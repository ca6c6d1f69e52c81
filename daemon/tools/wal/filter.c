#include "filter.h"

#include <stdlib.h>

#define DEFAULT_NAMESPACE_ID 1

void
filter_init(struct filter *filter)
{
    *filter = (struct filter){ .to = UINT64_MAX };
    brd_buf_init(&filter->key);
}

void
filter_fini(struct filter *filter)
{
    brd_buf_fini(&filter->key);
}

/* The value of a hex digit, or -1. */
static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Take one byte from the front of *text. False: an escape that is none. */
static bool
take_byte(const char **text, uint8_t *out)
{
    const char *at = *text;

    *out = (uint8_t)at[0];
    *text = at + 1;
    if (at[0] != '\\')
        return true;
    if (at[1] == '\\' || at[1] == '"') {
        *out = (uint8_t)at[1];
        *text = at + 2;
        return true;
    }
    if (at[1] != 'x' || hex_digit(at[2]) < 0 || hex_digit(at[3]) < 0)
        return false;
    *out = (uint8_t)(hex_digit(at[2]) << 4 | hex_digit(at[3]));
    *text = at + 4;
    return true;
}

bool
filter_set_key(struct filter *filter, const char *text, bool prefix)
{
    filter->by_key = !prefix;
    filter->by_prefix = prefix;
    brd_buf_clear(&filter->key);
    while (*text != '\0') {
        uint8_t byte;

        if (!take_byte(&text, &byte))
            return false;
        brd_buf_append(&filter->key, &byte, 1);
    }
    return !filter->key.failed;
}

bool
filter_set_namespace(struct filter *filter, const char *text)
{
    char *end = NULL;

    filter->by_ns = true;
    filter->ns = DEFAULT_NAMESPACE_ID;
    if (strcmp(text, "default") == 0)
        return true;
    if (text[0] < '0' || text[0] > '9')
        return false;
    filter->ns = strtoull(text, &end, 10);
    return *end == '\0';
}

bool
filter_is_narrow(const struct filter *filter)
{
    return filter->by_key || filter->by_prefix || filter->by_ns;
}

bool
filter_passes(const struct filter *filter, const struct brd_change *change)
{
    struct brd_bytes wanted = brd_buf_bytes(&filter->key);
    struct brd_bytes key = change->key;

    if (filter->by_ns && change->ns != filter->ns)
        return false;
    if (strcmp(change->kind, "clear") == 0)
        return true;
    if (filter->by_prefix && key.size > wanted.size)
        key.size = wanted.size;
    return (!filter->by_key && !filter->by_prefix) || brd_bytes_equal(key, wanted);
}
